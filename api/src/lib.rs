//! The wire of Nesos: protobuf definitions and every conversion between them and the domain types.
//!
//! The definitions in `proto/` are written for a reader who will write a client in another language.
//! Inside Nesos nobody but the doors sees a wire type: everything is converted here, on arrival and
//! on departure. Whatever arrives is checked while it is converted; a [`WireError`] names the field.

mod common;
mod constraints;
mod executor;
pub mod masters;
mod messages;
mod reservation;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod wire_error;

pub use common::to_micros;
pub use wire_error::WireError;

/// The generated types and services of the package `nesos.v1`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("nesos.v1");

    /// The encoded descriptors of the package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/nesos_v1_descriptor.bin"));
}

/// The port that a master listens on where nobody says otherwise (Mesos' own).
pub const DEFAULT_MASTER_PORT: u16 = 5050;

/// The port that an agent listens on where nobody says otherwise (Mesos' own).
pub const DEFAULT_AGENT_PORT: u16 = 5051;

/// The largest frame that either side sends or takes, in bytes.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// The most that a framework or an agent may say of itself, in bytes.
pub const MAX_INFO_BYTES: usize = 128 << 10;

/// The largest piece of a blob or of output in one message, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
