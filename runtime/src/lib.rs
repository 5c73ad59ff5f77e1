//! The Nesos sandbox: one Wasm guest from start to exit under its limits.
//!
//! [`Runtime::launch`] takes a compiled bundle and a task and runs the guest on threads of the
//! runtime's own, within the CPU, memory, fuel, disk, output and time that the task was given; an
//! [`Observer`] hears of its start and, exactly once, of its [`Exit`]. Bundles are looked into with
//! [`inspect`], compiled with [`compile`] in a process of their own, and kept in a [`ModuleCache`].
//!
//! Invariant: this crate does not know that agents or masters exist. Invariant: no other crate names
//! wasmtime or a WASI crate.

mod awaitable;
#[cfg(feature = "bench")]
pub mod bench_support;
mod compile;
mod cpu;
mod determinism;
mod engine;
mod exit;
mod fuel_rate;
mod guest;
mod guest_api;
mod inspect;
mod ledger;
mod limits;
mod mailbox;
mod module_cache;
mod policy;
mod program;
mod runtime;
mod sandbox;
mod service;
mod threads;
mod uplink;
mod wasi;

pub use compile::{CompileError, CompiledInfo, compile};
pub use determinism::Determinism;
pub use engine::{EngineError, compatibility, features, sandboxes_by_mappings};
pub use exit::Exit;
pub use fuel_rate::measure_fuel_rate;
pub use inspect::{
    BundleInfo, BundleKind, InspectError, MissingImport, WasiVersion, inspect, inspect_bytes,
    survey_bytes,
};
pub use mailbox::{GuestEvent, PostError};
pub use module_cache::{ModuleCache, ModuleCacheError};
pub use policy::{MAX_POLICY_BYTES, PolicyComponent, PolicyError, PolicyStop};
pub use runtime::{Runtime, RuntimeConfig, RuntimeError};
pub use sandbox::{Observer, Sandbox, SandboxSpec};
pub use uplink::{
    GuestUpdate, Identity, MAX_MESSAGE_BYTES, MAX_STATUS_BYTES, MAX_STATUS_MESSAGE_BYTES,
    MessageRefused, NoUplink, UpdateRefused, Uplink,
};
pub use wasi::{DiskQuota, PipeReader, PipeWriter, RetainedOutput, Stdin, Stdout};
