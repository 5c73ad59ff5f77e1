//! The Nesos master: doors, store and driver around the pure core.
//!
//! [`Master::start`] opens the store, recovers the core, binds the port and begins to serve; the
//! [`RunningMaster`] that it answers is stopped and waited for. It lives in whatever tokio runtime it
//! was started in, so that a whole cluster can live inside another program.
//!
//! Invariant: whatever a peer was told is durable, for a batch's effects are performed after its
//! records were committed. Invariant: nothing but the driver touches the core.

#[cfg(feature = "bench")]
pub mod bench;
mod clock;
mod collecting;
mod config;
mod doors;
mod driver;
mod master;
mod policy;
mod registry;
mod store;

pub use config::{
    AllocationConfig, BundlesConfig, HistoryConfig, LivenessConfig, MasterConfig, Secret,
    StreamsConfig,
};
pub use master::{Master, MasterError, RunningMaster, Shutdown, StartError};
pub use policy::load_policy;
pub use registry::error::BundleStoreError;
pub use store::StoreError;
pub use store::etcd::address::{EtcdAddress, StoreAddress, StoreAddressError};
