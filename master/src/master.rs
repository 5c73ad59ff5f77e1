//! The running master: from a configuration to a port that is served, and to an orderly end.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nesos_master_core::Master as Core;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::config::MasterConfig;
use crate::driver::input::DriverHandle;
use crate::driver::{Driver, DriverError};
use crate::policy::{in_full, load_bundle};
use crate::registry::Registry;
use crate::registry::blobs::Blobs;
use crate::registry::error::BundleStoreError;
use crate::store::memory::MemoryStore;
use crate::store::redb::RedbStore;
use crate::store::{Store, StoreError};

mod server;

use server::Server;

/// Starts masters.
#[derive(Debug)]
pub struct Master;

/// Why a master could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("cannot use {path} as state directory; it must be a directory that can be written to")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(#[from] StoreError),
    /// The bundles cannot be used.
    #[error(transparent)]
    Bundles(#[from] BundleStoreError),
    /// Another program listens on the address.
    #[error(
        "{address} is in use by another program, perhaps another master; stop it or choose another address to listen on"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another cause.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness, without which ids could be guessed")]
    Randomness(#[source] io::Error),
    /// Something that should not fail did.
    #[error("the master failed while it started")]
    Lost(#[source] JoinError),
}

/// Why a master ended by itself.
#[derive(Debug, Error)]
pub enum MasterError {
    /// The registry could not be written. Nothing was told to anybody that is not in the registry.
    #[error("the master stopped because its registry cannot be written")]
    Registry(#[source] StoreError),
    /// A task of the master was lost: a bug.
    #[error("the master stopped because of a bug")]
    Lost(#[source] JoinError),
}

/// How a master ended that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether all streams ended within the grace period.
    pub graceful: bool,
}

/// A master that serves. Dropping it tells it to stop, without waiting for it.
#[derive(Debug)]
pub struct RunningMaster {
    address: SocketAddr,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    supervisor: JoinHandle<Result<Shutdown, MasterError>>,
}

impl Master {
    /// Recovers the state, binds the port and begins to serve.
    pub async fn start(config: MasterConfig) -> Result<RunningMaster, StartError> {
        if config.ephemeral {
            start_with(config, |_| Ok(MemoryStore)).await
        } else {
            start_with(config, |config| {
                Ok(RedbStore::open(
                    &config.state_directory.join("registry.redb"),
                )?)
            })
            .await
        }
    }
}

impl RunningMaster {
    /// The address that is actually listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients are told it: `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What stops the master when it is cancelled.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells the master to stop, and waits until it has.
    pub async fn shutdown(self) -> Result<Shutdown, MasterError> {
        self.stop.cancel();
        self.wait().await
    }

    /// Waits until the master has ended, by itself or because it was told to.
    pub async fn wait(mut self) -> Result<Shutdown, MasterError> {
        (&mut self.supervisor).await.map_err(MasterError::Lost)?
    }
}

/// What has been opened before anything is served.
struct Opened<S> {
    driver_core: Core,
    clock: Clock,
    store: S,
}

/// Starts a master on any store.
async fn start_with<S: Store>(
    config: MasterConfig,
    open_store: impl FnOnce(&MasterConfig) -> Result<S, StartError> + Send + 'static,
) -> Result<RunningMaster, StartError> {
    let (mut opened, config) = tokio::task::spawn_blocking(move || {
        let opened = open(&config, open_store)?;
        Ok::<_, StartError>((opened, config))
    })
    .await
    .map_err(StartError::Lost)??;
    let directory = config.state_directory.join("bundles");
    let registry = Registry::open(&directory, !config.ephemeral, config.bundles.clone()).await?;
    restore_policy(&mut opened.driver_core, &registry.blobs).await;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let stop = CancellationToken::new();
    let (handle, inputs) = DriverHandle::new();
    let driver = Driver::new(opened.driver_core, opened.clock, opened.store, inputs);
    let server = Server::new(&config, opened.clock, handle.clone(), registry.clone());
    tracing::info!(%address, "the master serves");
    let driver = tokio::spawn(driver.run(stop.clone()));
    tokio::spawn(crate::collecting::run(registry, handle, stop.clone()));
    let server = server.serve(listener, stop.clone()).await;
    let supervisor = supervise(driver, server, stop.clone(), config.shutdown_grace());
    Ok(RunningMaster {
        address,
        _stop_on_drop: stop.clone().drop_guard(),
        stop,
        supervisor: tokio::spawn(supervisor),
    })
}

/// Opens the state directory and recovers the core from it. Blocks.
fn open<S: Store>(
    config: &MasterConfig,
    open_store: impl FnOnce(&MasterConfig) -> Result<S, StartError>,
) -> Result<Opened<S>, StartError> {
    let directory = &config.state_directory;
    fs::create_dir_all(directory)
        .and_then(|()| probe_writable(config))
        .map_err(|source| StartError::StateDirectory {
            path: directory.clone(),
            source,
        })?;
    let mut store = open_store(config)?;
    let records = store.load()?;
    let clock = Clock::start();
    tracing::info!(records = records.len(), directory = %directory.display(), "recovered the registry");
    let core = Core::recover(config.core(), seed()?, clock.now(), records);
    Ok(Opened {
        driver_core: core,
        clock,
        store,
    })
}

/// Loads the plug-in that was the policy when the last master ended. A master without it works on,
/// with DRF, and says so.
async fn restore_policy(core: &mut Core, bundles: &Blobs) {
    let Some(digest) = core.chosen_plugin() else {
        return;
    };
    let loaded = load_bundle(bundles, digest)
        .await
        .map_err(|error| in_full(&error));
    if let Err(error) = &loaded {
        tracing::warn!(%digest, error, "the policy cannot be loaded; DRF decides");
    }
    core.restore_plugin(loaded);
}

/// Finds out now whether files can be made, rather than at the first upload.
fn probe_writable(config: &MasterConfig) -> io::Result<()> {
    let probe = config
        .state_directory
        .join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

/// A fresh and secret seed, from which the core draws its ids.
fn seed() -> Result<[u8; 32], StartError> {
    use rand::TryRngCore;
    let mut seed = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|error| StartError::Randomness(io::Error::other(error)))?;
    Ok(seed)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
            _ => StartError::Listen { address, source },
        })
}

/// Waits for the driver, whose end is the master's end, and then for the streams to end.
async fn supervise(
    driver: JoinHandle<Result<(), DriverError>>,
    server: server::Serving,
    stop: CancellationToken,
    grace: Duration,
) -> Result<Shutdown, MasterError> {
    let driven = driver.await;
    stop.cancel();
    let graceful = timeout(grace, server.ended()).await.is_ok();
    match driven {
        Ok(Ok(())) => {
            tracing::info!(graceful, "the master has stopped");
            Ok(Shutdown { graceful })
        }
        Ok(Err(DriverError::Store(error))) => Err(MasterError::Registry(error)),
        Ok(Err(DriverError::Writer(lost))) | Err(lost) => Err(MasterError::Lost(lost)),
    }
}

#[cfg(test)]
mod tests;
