//! A cluster of real processes: the `nesos` binary that was built beside this one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{cpu_time, family};

/// The `nesos` binary beside this executable.
pub(crate) fn nesos() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let binary = own.with_file_name("nesos");
    ensure!(
        binary.is_file(),
        "there is no {}: build it with `cargo build {}-p nesos`",
        binary.display(),
        if cfg!(debug_assertions) {
            ""
        } else {
            "--release "
        }
    );
    Ok(binary)
}

/// A master and an agent, each a process of its own, with their state in a directory that goes away
/// with them.
pub(crate) struct Cluster {
    // In this order: the agent goes first.
    agent: Server,
    master: Server,
    resources: String,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster whose agent advertises these resources.
    pub(crate) fn start(resources: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let master = Server::start("master", &directory.path().join("master"), &[])?;
        let agent = start_agent(directory.path(), &master.url, resources)?;
        Ok(Self {
            agent,
            master,
            resources: resources.to_owned(),
            directory,
        })
    }

    /// Starts a cluster whose agent keeps no checkpoint.
    pub(crate) fn start_fleeting(resources: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let master = Server::start("master", &directory.path().join("master"), &[])?;
        let config = directory.path().join("agent.toml");
        let state = directory.path().join("agent");
        std::fs::write(
            &config,
            format!("state_directory = {state:?}\nephemeral = true\n"),
        )?;
        let config = config.display().to_string();
        let flags = [
            "--config",
            &config,
            "--master",
            &master.url,
            "--resources",
            resources,
        ];
        let agent = Server::start("agent", &state, &flags)?;
        Ok(Self {
            agent,
            master,
            resources: resources.to_owned(),
            directory,
        })
    }

    /// Kills the agent without a warning, and starts it again on the same state. Its cells live on.
    pub(crate) fn restart_agent(&mut self) -> Result<()> {
        self.agent.child.kill()?;
        self.agent.child.wait()?;
        self.agent = start_agent(self.directory.path(), &self.master.url, &self.resources)?;
        Ok(())
    }

    /// Kills the master without a warning, and starts it again on the same state and at the same address.
    pub(crate) fn restart_master(&mut self) -> Result<()> {
        self.master.child.kill()?;
        self.master.child.wait()?;
        let address = self.master.url.trim_start_matches("http://").to_owned();
        let state = self.directory.path().join("master");
        self.master = Server::start_at(&address, "master", &state, &[])?;
        Ok(())
    }

    /// The master's address.
    pub(crate) fn url(&self) -> &str {
        &self.master.url
    }

    pub(crate) fn master_pid(&self) -> u32 {
        self.master.child.id()
    }

    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.child.id()
    }

    /// The agent's cells, as they are now.
    pub(crate) fn cells(&self) -> BTreeSet<u32> {
        let mut below = family(self.agent_pid());
        below.remove(&self.agent_pid());
        below
    }

    /// CPU time of the cluster so far, and of this process, which is the framework.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let own = BTreeSet::from([std::process::id(), self.master_pid()]);
        let agent_and_cells = family(self.agent_pid());
        cpu_time(own.union(&agent_and_cells).copied())
    }
}

fn start_agent(directory: &Path, master: &str, resources: &str) -> Result<Server> {
    let flags = ["--master", master, "--resources", resources];
    Server::start("agent", &directory.join("agent"), &flags)
}

/// Masters on one etcd, and agents that know them all.
pub(crate) struct Several {
    // In this order: the agents go first.
    _agents: Vec<Server>,
    masters: Vec<Server>,
    _directory: tempfile::TempDir,
}

impl Several {
    /// Starts so many of each. The store is as `nesos master --store` takes it.
    pub(crate) fn start(store: &str, masters: usize, agents: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let state = directory.path().join("master");
        let masters = (0..masters)
            .map(|_| Server::start("master", &state, &["--store", store]))
            .collect::<Result<Vec<_>>>()?;
        let urls = urls(&masters);
        let agents = (0..agents)
            .map(|at| {
                start_agent(
                    &directory.path().join(at.to_string()),
                    &urls,
                    "cpus:1;mem:1GiB",
                )
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            _agents: agents,
            masters,
            _directory: directory,
        })
    }

    /// The addresses of all masters that live.
    pub(crate) fn urls(&self) -> String {
        urls(&self.masters)
    }

    /// Kills a master without a warning.
    pub(crate) fn kill(&mut self, url: &str) -> Result<()> {
        let at = self.masters.iter().position(|master| master.url == url);
        let mut master = self
            .masters
            .remove(at.context("no master has this address")?);
        master.child.kill()?;
        master.child.wait()?;
        Ok(())
    }
}

fn urls(masters: &[Server]) -> String {
    let urls: Vec<_> = masters.iter().map(|master| &*master.url).collect();
    urls.join(",")
}

/// Master and agent in one process: `nesos dev`.
pub(crate) struct Dev {
    server: Server,
    _directory: tempfile::TempDir,
}

impl Dev {
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            server: Server::start("dev", &directory.path().join("state"), &[])?,
            _directory: directory,
        })
    }

    /// The master's address.
    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }
}

/// A process that serves on an address, ended when it is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts `nesos COMMAND` and waits until it says where it serves.
    fn start(command: &str, state: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_at("127.0.0.1:0", command, state, flags)
    }

    fn start_at(address: &str, command: &str, state: &Path, flags: &[&str]) -> Result<Self> {
        let child = Command::new(nesos()?)
            .args([command, "--listen", address, "--state-dir"])
            .arg(state)
            .args(flags)
            .env_remove("NESOS_MASTER")
            .env("NESOS_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start nesos {command}"))?;
        let mut server = Self {
            child,
            url: String::new(),
        };
        server.url = server
            .address()
            .with_context(|| format!("nesos {command} did not say where it serves"))?;
        Ok(server)
    }

    fn address(&mut self) -> Result<String> {
        let mut lines = BufReader::new(self.child.stdout.take().context("a pipe")?);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                bail!("it has ended");
            }
            let url = line.find("http://").map(|at| &line[at..]);
            if let Some(url) = url.and_then(|rest| rest.split_whitespace().next()) {
                // Keeps reading, so that the process is never held up by a full pipe.
                std::thread::spawn(move || drop(std::io::copy(&mut lines, &mut std::io::sink())));
                return Ok(url.to_owned());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // An interrupt takes the agent's cells with it. It may have ended by itself.
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.child.wait();
    }
}
