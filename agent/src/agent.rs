//! The running agent: from a configuration to a registered agent, and to an orderly end.

mod opened;
mod server;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nesos_agent_core::{Agent as Core, Snapshot, Stopped};
use nesos_types::message::Refusal;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::server::Server;
use crate::cell_link::{CellLinkConfig, CellLinks};
use crate::checkpoint_log::CheckpointError;
use crate::compiler::CompilerError;
use crate::config::AgentConfig;
use crate::driver::{Driver, Ended, Inputs, Surroundings, inputs};
use crate::host_probe::{self, ProbeError};
use crate::master_link::{MasterAddress, MasterLink, MasterUrlError};
use crate::task_io::TaskPlaces;

/// How long those who are attached to tasks have to go when the agent ends.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Starts agents.
#[derive(Debug)]
pub struct Agent;

/// Why an agent could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The master's address is none.
    #[error(transparent)]
    Master(#[from] MasterUrlError),
    /// The state directory cannot be used.
    #[error(
        "cannot use {path:?} as state directory; it must be a directory that can be written to"
    )]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another agent uses the state directory.
    #[error(
        "another agent runs on the state directory {path:?}; stop it or choose another directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The host could not be asked what it has.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The caches cannot be used.
    #[error(transparent)]
    Compiler(#[from] CompilerError),
    /// Another program listens on the address.
    #[error(
        "{address} is in use by another program, perhaps another agent; stop it or choose another address to listen on"
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
    /// The system gives no randomness or no threads.
    #[error("the system does not give what an agent needs")]
    System(#[source] io::Error),
    /// Something that should not fail did.
    #[error("the agent failed while it started")]
    Lost(#[source] JoinError),
}

/// Why an agent ended that was not told to.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The master does not want it (any more).
    #[error("the master has turned the agent away: {0}")]
    Refused(Refusal),
    /// Something that should not fail did.
    #[error("the agent failed")]
    Lost(#[source] JoinError),
}

/// How an agent ended that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It has left the cluster for good; its tasks and cells are gone.
    Left {
        /// Whether every task had ended and every status was acknowledged.
        graceful: bool,
        /// Tasks that had not ended by themselves when the grace was over.
        tasks_left: usize,
        /// Statuses that nobody had acknowledged.
        updates_left: usize,
    },
    /// Only the agent ended: tasks run on in their cells, for the next agent on this state directory.
    Detached,
}

/// An agent that runs. Dropping it tells it to leave, without waiting for it.
#[derive(Debug)]
pub struct RunningAgent {
    address: SocketAddr,
    url: String,
    inputs: Inputs,
    stop: CancellationToken,
    detach: CancellationToken,
    _stop_on_drop: DropGuard,
    supervisor: JoinHandle<Result<Shutdown, AgentError>>,
}

impl Agent {
    /// Recovers the state, binds the port and begins to register. Whether the master is there does
    /// not matter: the agent goes on trying.
    ///
    /// # Errors
    /// If something on this host is not as it must be.
    pub async fn start(mut config: AgentConfig) -> Result<RunningAgent, StartError> {
        config.state_directory = absolute(&config.state_directory)?;
        let master = MasterAddress::parse(&config.master)?;
        let (inputs, queues) = inputs();
        let (opened, config) = {
            let (master, events) = (master.clone(), inputs.events.clone());
            blocking(move || Ok((opened::open(&config, &master, events)?, config))).await?
        };
        let (listener, address) = bind(config.listen).await?;
        let url = advertised(&config, address, &opened.hostname);
        let places = TaskPlaces::new(config.sandbox_directory());
        let cells = CellLinks::new(opened.cells, places.clone(), inputs.events.clone());
        let stop = CancellationToken::new();
        let detach = CancellationToken::new();
        let server = Server::start(listener, places, cells.clone());
        opened.compiler.tell_compiled(&inputs.events);
        let around = Surroundings {
            master: MasterLink::new(master, inputs.events.clone()),
            cells,
            compiler: opened.compiler,
            checkpoints: opened.checkpoints,
            remover: opened.remover,
            volumes: opened.volumes,
            events: inputs.events.clone(),
        };
        let mut info = host_probe::describe(&config, opened.hostname, url.clone(), opened.detected);
        info.fuel_per_cpu_second = opened.fuel_per_cpu_second;
        tracing::info!(%url, resources = %info.resources, master = config.master, "the agent starts");
        let core = config.core(info, opened.boot_id);
        let core = Core::recover(core, opened.seed, opened.clock.now(), opened.state);
        let driver = Driver::new(core, opened.clock, queues, around);
        let supervisor = Supervisor {
            driver: tokio::spawn(driver.run(detach.clone())),
            inputs: inputs.clone(),
            stop: stop.clone(),
            grace: config.shutdown_grace(),
            server,
            _lock: opened.lock,
        };
        Ok(RunningAgent {
            address,
            url,
            inputs,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            detach,
            supervisor: tokio::spawn(supervisor.run()),
        })
    }
}

/// The same directory, wherever a cell or a later agent on it works.
fn absolute(directory: &Path) -> Result<PathBuf, StartError> {
    std::path::absolute(directory).map_err(|source| StartError::StateDirectory {
        path: directory.to_owned(),
        source,
    })
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(StartError::Lost)?
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// How others reach the agent.
fn advertised(config: &AgentConfig, address: SocketAddr, hostname: &str) -> String {
    match &config.advertise_url {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => format!("http://{hostname}:{}", address.port()),
        None => format!("http://{address}"),
    }
}

impl RunningAgent {
    /// The address that is actually listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How others reach the agent: `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What makes the agent leave the cluster when it is cancelled.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// What ends the agent alone when it is cancelled: tasks run on in their cells, as with
    /// [`detach`](Self::detach).
    #[must_use]
    pub fn detach_token(&self) -> CancellationToken {
        self.detach.clone()
    }

    /// What there is to see of the agent; `None` if it has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, snapshot) = oneshot::channel();
        self.inputs.readers.send(reply).await.ok()?;
        snapshot.await.ok()
    }

    /// Tells the agent to end its tasks and leave the cluster, and waits until it has.
    ///
    /// # Errors
    /// If it ended otherwise before.
    pub async fn shutdown(self) -> Result<Shutdown, AgentError> {
        self.stop.cancel();
        self.wait().await
    }

    /// Ends the agent alone: tasks run on in their cells until an agent on the same state directory
    /// takes them over, or until their cells have waited too long.
    ///
    /// # Errors
    /// If it ended otherwise before.
    pub async fn detach(self) -> Result<Shutdown, AgentError> {
        self.detach.cancel();
        self.wait().await
    }

    /// Waits until the agent has ended, by itself or because it was told to.
    ///
    /// # Errors
    /// If it was not told to.
    pub async fn wait(mut self) -> Result<Shutdown, AgentError> {
        (&mut self.supervisor).await.map_err(AgentError::Lost)?
    }
}

/// Sees the agent to its end.
struct Supervisor {
    driver: JoinHandle<Ended>,
    inputs: Inputs,
    stop: CancellationToken,
    grace: Duration,
    server: Server,
    /// Held until everything else has ended.
    _lock: std::fs::File,
}

impl Supervisor {
    async fn run(mut self) -> Result<Shutdown, AgentError> {
        let ended = tokio::select! {
            ended = &mut self.driver => ended,
            () = self.stop.cancelled() => {
                tracing::info!("the agent leaves the cluster");
                // A driver that no longer listens has ended already.
                let _ = self.inputs.events.send(nesos_agent_core::Event::Shutdown {
                    grace: self.grace,
                });
                (&mut self.driver).await
            }
        };
        self.server.close(CLOSE_PATIENCE).await;
        report(ended.map_err(AgentError::Lost)?)
    }
}

fn report(ended: Ended) -> Result<Shutdown, AgentError> {
    match ended {
        Ended::Detached => Ok(Shutdown::Detached),
        Ended::Stopped(Stopped::Left {
            graceful,
            tasks_left,
            updates_left,
        }) => {
            tracing::info!(graceful, tasks_left, updates_left, "the agent has left");
            Ok(Shutdown::Left {
                graceful,
                tasks_left,
                updates_left,
            })
        }
        Ended::Stopped(Stopped::Refused(refusal)) => Err(AgentError::Refused(refusal)),
    }
}

#[cfg(test)]
mod tests;
