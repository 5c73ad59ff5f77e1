//! What a Nesos master decides, as a pure state machine.
//!
//! [`Master::handle`] takes an [`Event`] and a time and appends to [`Decisions`]: durable [`Record`]s
//! and [`Effect`]s. It is total and deterministic: it returns no error, waits for nothing, reads no
//! clock, and draws its randomness from the seed that it was given. Durable state changes only in
//! [`Registry::apply`], in live running and in recovery alike.
//!
//! This crate knows nothing of sockets, protobuf, disks or threads.

mod accept;
mod agents;
mod allocator;
pub mod config;
mod deadlines;
pub mod decision;
pub mod event;
mod executors;
pub mod explain;
mod frameworks;
mod ids;
mod invariants;
mod master;
mod offers;
mod policy;
mod preemption;
mod prewarm;
mod reconcile;
mod registry;
mod reservations;
mod revocable;
mod roles;
pub mod snapshot;
pub mod stats;
mod table;
mod tasks;
mod validate;

pub use allocator::plugin::{PolicyFault, PolicyGuest};
pub use config::{BuiltInPolicy, MasterConfig, Preemption, RemovalRate};
pub use decision::{Decisions, Effect, Happening, OperatorReply, Record, Subject};
pub use event::{AgentOrder, ConnectionId, Event, OperatorRequest, RequestId};
pub use explain::{Blocked, BlockedGroup, Explanation, Precedence, RoleExplanation};
pub use master::Master;
pub use nesos_types::role::Weight;
pub use policy::{NewPolicy, PolicyChoice};
pub use registry::Registry;
pub use snapshot::Snapshot;
pub use stats::Stats;
