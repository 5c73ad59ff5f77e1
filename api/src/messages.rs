//! What the levels say to one another, to and from the wire.

mod agent;
mod cell;
mod refusal;
mod scheduler;
