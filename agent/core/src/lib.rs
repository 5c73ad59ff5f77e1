//! What a Nesos agent decides, as a pure state machine.

pub mod checkpoint;
mod config;
mod decision;
mod event;

pub use config::AgentConfig;
pub use decision::{Decisions, Effect, Stopped};
pub use event::{BundleKey, CellId, Event};
