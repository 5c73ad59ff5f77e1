//! The nouns of Nesos: ids, time, resources, tasks, offers and the messages between the levels.
//!
//! Plain Rust without I/O and without protobuf. Every other crate speaks in these types; `nesos-api`
//! converts them to and from the wire.

pub mod agent;
pub mod bundle;
pub mod cell;
pub mod constraints;
pub mod executor;
pub mod framework;
mod hex;
pub mod ids;
pub mod limits;
pub mod message;
pub mod offer;
pub mod reservation;
pub mod resources;
pub mod role;
pub mod service;
pub mod task;
pub mod time;
