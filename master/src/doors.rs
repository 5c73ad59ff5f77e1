//! The doors: where protobuf ends. Each converts what it hears into the driver's inputs and what the
//! driver says into the wire, and decides nothing.

pub(crate) mod agents;
pub(crate) mod bundles;
mod conversation;
mod frames;
pub(crate) mod operator;
pub(crate) mod scheduler;
