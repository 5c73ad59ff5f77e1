//! The core, event by event: what goes in stands in the test, what comes out in its snapshot. Every
//! step checks the invariants.

mod agents;
mod allocation;
mod bad_input;
mod distrust;
mod draining;
mod executors;
mod explain;
mod frameworks;
mod offers;
mod policy;
mod preemption;
mod prewarm;
mod reconcile;
mod recovery;
mod refusals;
mod removal;
mod reservations;
mod revocable;
mod roles;
mod script;
mod shares;
mod tasks;
mod wishes;
mod withdrawals;
