//! What a Nesos agent decides, as a pure state machine.
//!
//! [`Agent::handle`] takes one [`Event`] (what the master, a cell, the bundle cache or an operator
//! said) and writes [`Effect`]s (what is to leave). Nothing here waits, reads a clock, touches a file
//! or fails: time and randomness are handed in, so a driver runs it under tokio and a simulator runs a
//! thousand of them in one thread. The core does not know how a cell is started, where a bundle comes
//! from or what a disk is.

mod agent;
mod bundles;
mod cells;
pub mod checkpoint;
mod compiled;
mod config;
mod deadlines;
mod decision;
mod drain;
mod event;
mod executors;
mod groups;
mod health;
mod invariants;
mod journal;
mod kill;
mod launch;
mod reconcile;
mod registration;
mod sandboxes;
mod set_apart;
mod slack;
mod snapshot;
mod stats;
mod statuses;
mod tasks;
mod updates;
mod validate;

pub use agent::Agent;
pub use config::{AgentConfig, Oversubscription};
pub use decision::{Decisions, Effect, Stopped};
pub use event::{BundleKey, CellId, Event};
pub use health::{Health, Verdict};
pub use sandboxes::SandboxDir;
pub use snapshot::{CellView, Snapshot, TaskView};
pub use stats::Stats;
