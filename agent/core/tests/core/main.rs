//! Tables of events, and what an agent decides about them.

mod bundles;
mod compiled;
mod draining;
mod executors;
mod groups;
mod kills;
mod launches;
mod recovery;
mod registration;
mod rig;
mod set_apart;
mod slack;
mod speed;
mod statuses;
