//! Tables of events, and what an agent decides about them.

mod draining;
mod kills;
mod launches;
mod recovery;
mod registration;
mod rig;
mod speed;
mod statuses;
