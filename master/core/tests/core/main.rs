//! The core, event by event: what goes in stands in the test, what comes out in its snapshot. Every
//! step checks the invariants.

mod agents;
mod explain;
mod frameworks;
mod offers;
mod policy;
mod reconcile;
mod recovery;
mod reservations;
mod roles;
mod script;
mod tasks;
mod wishes;
