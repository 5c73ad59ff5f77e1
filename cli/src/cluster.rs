//! A cluster inside this process: a master, an agent, and the agent's cells beside them, over the
//! same streams as any other cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nesos_agent::{Agent, AgentConfig, AgentError};
use nesos_master::{Master, MasterConfig, MasterError};
use nesos_sdk::{ConnectError, MasterClient};
use nesos_types::limits::Metering;
use nesos_types::resources::{RangeSet, Resources};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::scratch::Scratch;

/// A master and an agent in this process.
#[derive(Debug)]
pub(crate) struct Cluster {
    url: String,
    resources: Resources,
    master: Part<nesos_master::Shutdown, MasterError>,
    agent: Part<nesos_agent::Shutdown, AgentError>,
    scratch: Option<Scratch>,
}

/// A half of the cluster that runs by itself.
#[derive(Debug)]
struct Part<T, E> {
    stop: CancellationToken,
    end: JoinHandle<Result<T, E>>,
}

impl<T, E: std::error::Error> Part<T, E> {
    /// Ends it. How it ended is of interest only to whoever reads logs.
    async fn end(&mut self) {
        self.stop.cancel();
        if self.end.is_finished() {
            return;
        }
        match (&mut self.end).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a part of the cluster did not end well"),
            Err(error) => tracing::warn!(%error, "a part of the cluster was lost"),
        }
    }
}

impl Cluster {
    /// A cluster for one task, which may listen on `port`: it leaves nothing but compiled code in the
    /// user's cache.
    pub(crate) async fn for_one_task(
        metering: Metering,
        port: Option<u16>,
    ) -> Result<Self, Failure> {
        let rate = match metering {
            Metering::Fuel => fuel_rate().await,
            Metering::Clock | Metering::Time => 0,
        };
        let scratch = Scratch::new()?;
        let master = MasterConfig::ephemeral(scratch.path().join("master"));
        let mut agent = AgentConfig::ephemeral(scratch.path().join("agent"), "");
        agent.host_mounts = true;
        agent.resources = port.map(|port| one_port(Resources::default(), port));
        agent.fuel_per_cpu_second = rate;
        agent.bundles.compiled_directory = compiled_cache();
        Self::start(master, agent, Some(scratch)).await
    }

    /// A cluster that has these resources whatever the machine has, and leaves nothing at all.
    pub(crate) async fn for_show(resources: Resources) -> Result<Self, Failure> {
        let scratch = Scratch::new()?;
        let master = MasterConfig::ephemeral(scratch.path().join("master"));
        let mut agent = AgentConfig::ephemeral(scratch.path().join("agent"), "");
        agent.resources = Some(resources);
        Self::start(master, agent, Some(scratch)).await
    }

    /// A cluster that keeps its state in a directory; `shape` may set what else there is to say of its
    /// agent.
    pub(crate) async fn lasting(
        state: &Path,
        listen: SocketAddr,
        shape: impl FnOnce(&mut AgentConfig),
    ) -> Result<Self, Failure> {
        let mut master = MasterConfig::new(state.join("master"));
        master.listen = listen;
        let mut agent = AgentConfig::new(state.join("agent"));
        agent.listen = SocketAddr::new(listen.ip(), 0);
        agent.host_mounts = listen.ip().is_loopback();
        agent.bundles.compiled_directory = compiled_cache();
        shape(&mut agent);
        Self::start(master, agent, None).await
    }

    async fn start(
        master: MasterConfig,
        mut agent: AgentConfig,
        scratch: Option<Scratch>,
    ) -> Result<Self, Failure> {
        let master = Master::start(master).await?;
        let url = url(master.address());
        let master = Part {
            stop: master.stop_token(),
            end: tokio::spawn(master.wait()),
        };
        agent.master.clone_from(&url);
        // Should this fail, dropping the master's handle tells it to stop.
        let agent = Agent::start(agent).await?;
        let seen = agent.snapshot().await;
        Ok(Self {
            url,
            resources: seen.map(|seen| seen.info.resources).unwrap_or_default(),
            master,
            agent: Part {
                stop: agent.stop_token(),
                end: tokio::spawn(agent.wait()),
            },
            scratch,
        })
    }

    /// Everything that the agent has to give.
    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Where the master is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client of the master.
    pub(crate) fn client(&self) -> Result<MasterClient, ConnectError> {
        MasterClient::new(&self.url)
    }

    /// Waits until the master or the agent ends by itself, which neither should. To be called once.
    pub(crate) async fn broken(&mut self) -> Failure {
        tokio::select! {
            end = &mut self.master.end => failure("master", end),
            end = &mut self.agent.end => failure("agent", end),
        }
    }

    /// Ends the cluster: tasks, cells, agent, master, and the files of one that leaves nothing.
    pub(crate) async fn end(mut self) {
        self.agent.end().await;
        self.master.end().await;
        drop(self.scratch);
    }
}

fn failure<T, E: std::error::Error + Into<Failure>>(
    name: &str,
    end: Result<Result<T, E>, JoinError>,
) -> Failure {
    match end {
        Ok(Ok(_)) => Failure::said(format!("the {name} has stopped")),
        Ok(Err(error)) => error.into(),
        Err(error) => Failure::new(&format!("the {name} was lost"), error),
    }
}

/// These resources and this port.
pub(crate) fn one_port(resources: Resources, port: u16) -> Resources {
    let port = u64::from(port);
    resources.with_ranges("ports", RangeSet::new([(port, port)]))
}

/// Units of fuel in a second of this machine's CPU. Measuring takes a fifth of a second.
async fn fuel_rate() -> u64 {
    let measured = tokio::task::spawn_blocking(nesos_runtime::measure_fuel_rate);
    // Zero is "not measured", and tasks that need it are refused with that story.
    measured.await.unwrap_or(0)
}

/// How a client on this machine reaches what listens on the address.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// Where compiled code is kept between runs: it takes a minute to compile a large program, and the
/// cache is bounded. `None` where the user has no home.
fn compiled_cache() -> Option<PathBuf> {
    Some(user_directory("XDG_CACHE_HOME", ".cache")?.join("compiled"))
}

/// Where state is kept if nobody says.
pub(crate) fn default_state_directory(of: &str) -> PathBuf {
    user_directory("XDG_STATE_HOME", ".local/state")
        .unwrap_or_else(|| PathBuf::from("/var/lib/nesos"))
        .join(of)
}

/// The user's directory of one kind, by the XDG base directory specification.
fn user_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))?;
    Some(base.join("nesos"))
}
