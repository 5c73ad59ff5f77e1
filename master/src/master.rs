//! The running master: from a configuration to a port that is served, and to an orderly end.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::Authority;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::MasterConfig;
use crate::driver::DriverError;
use crate::registry::error::BundleStoreError;
use crate::store::etcd::address::{EtcdAddress, StoreAddress};
use crate::store::etcd::election::Candidate;
use crate::store::memory::MemoryStore;
use crate::store::redb::RedbStore;
use crate::store::{Store, StoreError};

mod candidacy;
mod reign;
mod server;
mod standing;

use candidacy::Candidacy;
use reign::Recovered;
use server::Port;

/// An etcd counts in seconds, and a lease is renewed four times in its own length.
const SHORTEST_LEASE_MS: u64 = 1_000;

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
    /// Others cannot be told where this master is.
    #[error(
        "nobody can be told that a master is at {address}; say with --advertise http://HOST:PORT where this one \
         is reached"
    )]
    NoAdvertise {
        /// Where it listens.
        address: SocketAddr,
    },
    /// What others are to be told is no address.
    #[error("{url:?} is not where a master is reached; write http://HOST:PORT")]
    Advertise {
        /// What was given.
        url: String,
    },
    /// The lease is too short to be kept.
    #[error(
        "lease_ms is {lease_ms}; a lease that can be renewed in time lasts a second at least: 1000"
    )]
    ShortLease {
        /// What the configuration says.
        lease_ms: u64,
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
    /// The registry cannot be read, by this master or any other of this version.
    #[error("the master stopped because the registry cannot be read")]
    Recovery(#[source] StoreError),
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
    /// Recovers the state, binds the port and begins to serve. One of several masters binds its port and
    /// stands by until it is elected.
    pub async fn start(config: MasterConfig) -> Result<RunningMaster, StartError> {
        match config.store.clone() {
            _ if config.ephemeral => start_with(config, |_| Ok(MemoryStore)).await,
            StoreAddress::Redb => {
                start_with(config, |config| {
                    Ok(RedbStore::open(
                        &config.state_directory.join("registry.redb"),
                    )?)
                })
                .await
            }
            StoreAddress::Etcd(etcd) => start_candidate(config, &etcd).await,
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

/// Starts a master on a store of its own.
async fn start_with<S: Store>(
    config: MasterConfig,
    open_store: impl FnOnce(&MasterConfig) -> Result<S, StartError> + Send + 'static,
) -> Result<RunningMaster, StartError> {
    let (store, config) = tokio::task::spawn_blocking(move || {
        prepare_directory(&config)?;
        let store = open_store(&config)?;
        Ok::<_, StartError>((store, config))
    })
    .await
    .map_err(StartError::Lost)??;
    let recovered = Recovered::from(&config, store).await?;
    let (listener, address) = bind(config.listen).await?;
    let stop = CancellationToken::new();
    let port = Port::open(listener, stop.clone());
    let reigning = recovered.reign(&config, &port, stop.clone()).await;
    tracing::info!(%address, "the master serves");
    let ended = async { reigning.ended().await.map_err(MasterError::from) };
    Ok(running(address, stop.clone(), async move {
        let ended = ended.await;
        close(port, stop, config.shutdown_grace(), ended).await
    }))
}

/// Starts one of several masters, which may have to stand by.
async fn start_candidate(
    config: MasterConfig,
    etcd: &EtcdAddress,
) -> Result<RunningMaster, StartError> {
    if config.lease_ms < SHORTEST_LEASE_MS {
        return Err(StartError::ShortLease {
            lease_ms: config.lease_ms,
        });
    }
    let config = tokio::task::spawn_blocking(move || prepare_directory(&config).map(|()| config))
        .await
        .map_err(StartError::Lost)??;
    if config.bundles.store.is_none() {
        tracing::warn!(
            directory = %config.state_directory.join("bundles").display(),
            "bundles are kept in a directory; unless all masters share it, another leader will not have them: \
             see `store` of `[bundles]`"
        );
    }
    let (listener, address) = bind(config.listen).await?;
    let url = advertised(&config, address)?;
    let candidate = Candidate::new(etcd, url, config.lease())?;
    let stop = CancellationToken::new();
    let port = Port::open(listener, stop.clone());
    tracing::info!(%address, %etcd, "the master stands for election");
    let grace = config.shutdown_grace();
    let candidacy = Candidacy {
        config,
        candidate,
        stop: stop.clone(),
    };
    Ok(running(address, stop.clone(), async move {
        let ended = candidacy.run(&port).await;
        close(port, stop, grace, ended).await
    }))
}

fn running(
    address: SocketAddr,
    stop: CancellationToken,
    supervisor: impl Future<Output = Result<Shutdown, MasterError>> + Send + 'static,
) -> RunningMaster {
    RunningMaster {
        address,
        _stop_on_drop: stop.clone().drop_guard(),
        stop,
        supervisor: tokio::spawn(supervisor),
    }
}

/// Where others are told that this master is.
fn advertised(config: &MasterConfig, address: SocketAddr) -> Result<String, StartError> {
    match &config.advertise {
        None if address.ip().is_unspecified() => Err(StartError::NoAdvertise { address }),
        None => Ok(format!("http://{address}")),
        Some(url) => {
            let is_authority = |rest: &str| {
                rest.parse::<Authority>()
                    .is_ok_and(|authority| authority.port_u16().is_some())
            };
            let bare = url.trim_end_matches('/');
            let rest = bare.strip_prefix("http://").unwrap_or(bare);
            if is_authority(rest) {
                Ok(format!("http://{rest}"))
            } else {
                Err(StartError::Advertise { url: url.clone() })
            }
        }
    }
}

/// Makes the state directory. Blocks.
fn prepare_directory(config: &MasterConfig) -> Result<(), StartError> {
    let directory = &config.state_directory;
    fs::create_dir_all(directory)
        .and_then(|()| probe_writable(config))
        .map_err(|source| StartError::StateDirectory {
            path: directory.clone(),
            source,
        })
}

/// Finds out now whether files can be made, rather than at the first upload.
fn probe_writable(config: &MasterConfig) -> io::Result<()> {
    let probe = config
        .state_directory
        .join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Waits for the streams to end, after the master did.
async fn close(
    port: Port,
    stop: CancellationToken,
    grace: Duration,
    ended: Result<(), MasterError>,
) -> Result<Shutdown, MasterError> {
    stop.cancel();
    let graceful = timeout(grace, port.ended()).await.is_ok();
    ended.map(|()| {
        tracing::info!(graceful, "the master has stopped");
        Shutdown { graceful }
    })
}

impl From<DriverError> for MasterError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Store(error) => Self::Registry(error),
            DriverError::Writer(lost) => Self::Lost(lost),
        }
    }
}

#[cfg(test)]
mod tests;
