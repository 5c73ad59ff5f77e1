//! The Nesos agent: cells, bundle cache, checkpoint and driver around the pure core.

mod agent;
pub mod bundle_cache;
mod causes;
pub mod cell;
pub mod cell_link;
mod checkpoint_log;
mod clock;
pub mod compile;
pub mod compiler;
pub mod config;
mod descriptors;
mod driver;
mod frames;
mod host_probe;
mod master_link;
mod sandbox_dirs;
mod single_flight;
pub mod task_io;
mod unix_socket;
mod volumes;

pub use agent::{Agent, AgentError, RunningAgent, Shutdown, StartError};
pub use checkpoint_log::CheckpointError;
pub use config::AgentConfig;
pub use descriptors::raise_descriptor_limit;
pub use host_probe::ProbeError;
pub use master_link::MasterUrlError;
