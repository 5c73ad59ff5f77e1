//! The processes of a cluster, and the links between them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nesos_sdk::{MasterClient, digest_of};
use tokio::time::{Instant, sleep};

use crate::nemesis::Run;
use crate::ports;
use crate::process::Process;
use crate::proxy::Proxy;

/// The role of the load.
pub(crate) const ROLE: &str = "load";
/// What an agent has.
const RESOURCES: &str = "cpus:4;mem:4GiB;disk:4GiB";
/// How large an agent's file system is, where it can have one of its own.
const DISK: &str = "size=512m";
/// How long something may take on a machine that others use, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent.
#[derive(Debug)]
pub(crate) struct AgentPlace {
    pub(crate) process: Process,
    /// Between it and the master.
    pub(crate) link: Proxy,
    state: PathBuf,
    /// Whether its state is on a file system of its own, which can be filled.
    pub(crate) own_disk: bool,
    volumes: Vec<String>,
}

/// The whole cluster. Whatever runs is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) load: Process,
    /// Between the load and the master.
    pub(crate) load_link: Proxy,
    pub(crate) agents: Vec<AgentPlace>,
    pub(crate) master: Process,
    master_url: String,
    pub(crate) directory: PathBuf,
    /// Before the state directory of the master, if it can be filled.
    pub(crate) faketime: Option<PathBuf>,
}

impl World {
    pub(crate) async fn start(run: &Run, directory: &Path) -> Result<Self> {
        let ports = ports::free(1 + run.agents)?;
        let mut master = master(directory, ports[0])?;
        master.start()?;
        let master_url = format!("http://127.0.0.1:{}", ports[0]);
        connect(&master_url).await?;
        let mut agents = Vec::new();
        for (number, port) in ports[1..].iter().enumerate() {
            let link = Proxy::before(ports[0]).await?;
            let mut agent = agent(directory, number, *port, link, run.volumes)?;
            agent.process.start()?;
            agents.push(agent);
        }
        let load_link = Proxy::before(ports[0]).await?;
        let mut world = Self {
            load: Process::new("load", PathBuf::new(), Vec::new(), PathBuf::new()),
            load_link,
            agents,
            master,
            master_url,
            directory: directory.to_owned(),
            faketime: faketime(),
        };
        world.make_volumes().await?;
        world.load = world.make_load(run).await?;
        world.load.start()?;
        Ok(world)
    }

    /// What the load has written down.
    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    /// The file that tells the load that there are enough tasks.
    pub(crate) fn enough(&self) -> PathBuf {
        self.directory.join("enough")
    }

    async fn make_load(&self, run: &Run) -> Result<Process> {
        let wasm = Bytes::from(fs::read(nesos_artifacts::wasip1::NOTE_DOWN)?);
        let digest = digest_of(&wasm);
        let master = connect(&self.master_url).await?;
        master.blobs().ensure(digest, &wasm, |_| {}).await?;
        let path = |path: PathBuf| path.display().to_string();
        let args = [
            "load".to_owned(),
            "--master".to_owned(),
            self.load_link.url(),
            "--journal".to_owned(),
            path(self.journal()),
            "--bundle".to_owned(),
            digest.to_string(),
            "--role".to_owned(),
            ROLE.to_owned(),
            "--volumes".to_owned(),
            self.volumes().collect::<Vec<_>>().join(","),
            "--rate".to_owned(),
            run.rate.to_string(),
            "--enough".to_owned(),
            path(self.enough()),
        ];
        let own = std::env::current_exe()?;
        let log = self.directory.join("load.log");
        Ok(Process::new("the load", own, args.into(), log))
    }

    fn volumes(&self) -> impl Iterator<Item = String> + '_ {
        self.agents.iter().flat_map(|agent| agent.volumes.clone())
    }

    async fn make_volumes(&self) -> Result<()> {
        for (number, agent) in self.agents.iter().enumerate() {
            let host = format!("agent-{number}");
            let size = format!("disk:{}MiB", agent.volumes.len() * 2);
            let reserve = ["reservations", "reserve", &host, ROLE, &size];
            // It may not have registered yet.
            self.eventually(&reserve).await?;
            for volume in &agent.volumes {
                let create = ["reservations", "create-volume", &host, ROLE, volume, "2MiB"];
                self.ask(&create)?;
            }
        }
        Ok(())
    }

    /// Runs `nesos` until it succeeds.
    async fn eventually(&self, args: &[&str]) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.ask(args) {
                Err(_) if Instant::now() < until => sleep(Duration::from_millis(200)).await,
                answer => return answer,
            }
        }
    }

    /// What `nesos` answers.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(nesos()?)
            .args(args)
            .env("NESOS_MASTER", &self.master_url)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nesos {}: {said}", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The lines in all volumes, each read by a task.
    pub(crate) async fn notes(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for volume in self.volumes().collect::<Vec<_>>() {
            let mount = format!("{volume}::/data");
            let guest = nesos_artifacts::wasip1::READ_FILE;
            let read = [
                "run",
                "--role",
                ROLE,
                "--volume",
                &mount,
                guest,
                "/data/notes",
            ];
            let text = self.eventually(&read).await?;
            lines.extend(text.lines().map(str::to_owned));
        }
        Ok(lines)
    }

    /// The cells of an agent, as they are now: they are of a session of their own, and say where their agent is.
    pub(crate) fn cells(&self, agent: usize) -> Vec<u32> {
        let state = self.agents[agent].state.join("cells");
        let state = state.display().to_string();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.split('\0').nth(1) == Some("cell") && line.contains(&state)
        })
        .collect()
    }

    /// Fills an agent's disk, or frees it.
    pub(crate) fn fill_disk(&self, agent: usize, full: bool) -> Result<()> {
        let ballast = self.agents[agent].state.join("ballast");
        if !full {
            return Ok(fs::remove_file(ballast)?);
        }
        let file = fs::File::create(ballast)?;
        let megabyte = vec![1; 1 << 20];
        let mut at = 0;
        // Until it is full, to the last page.
        for size in [1 << 20, 4096] {
            while file.write_all_at(&megabyte[..size], at).is_ok() {
                at += size as u64;
            }
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for agent in 0..self.agents.len() {
            let _ = self.agents[agent].process.kill();
            for cell in self.cells(agent) {
                crate::process::signal(cell, rustix::process::Signal::KILL);
            }
            if self.agents[agent].own_disk {
                // A cell that was killed just now may still hold it.
                let state = &self.agents[agent].state;
                let _ = Command::new("umount").arg("-l").arg(state).status();
            }
        }
    }
}

/// The `nesos` binary beside this one.
fn nesos() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("nesos");
    let shown = binary.display();
    ensure!(binary.is_file(), "there is no {shown}: build it, too");
    Ok(binary)
}

async fn connect(url: &str) -> Result<MasterClient> {
    let connected = MasterClient::connect(url, PATIENCE, |_, _| {}).await;
    connected.with_context(|| format!("the master at {url}"))
}

fn faketime() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let library = |place| PathBuf::from(format!("/usr/lib/{place}/faketime/libfaketime.so.1"));
    places.map(library).into_iter().find(|path| path.exists())
}

fn master(directory: &Path, port: u16) -> Result<Process> {
    let state = directory.join("master");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate_directory = {state:?}\n\
         [liveness]\nping_interval_ms = 500\nping_misses = 5\nagent_reregister_timeout_ms = 5000\n\
         heartbeat_interval_ms = 500\n"
    );
    process("master", directory, &text)
}

fn agent(
    directory: &Path,
    number: usize,
    port: u16,
    link: Proxy,
    volumes: usize,
) -> Result<AgentPlace> {
    let name = format!("agent-{number}");
    let state = directory.join(format!("{name}.state"));
    fs::create_dir_all(&state)?;
    let mount = ["-t", "tmpfs", "-o", DISK, "tmpfs"];
    let mounted = Command::new("mount").args(mount).arg(&state).output();
    let own_disk = mounted.is_ok_and(|output| output.status.success());
    let master = link.url();
    let compiled = directory.join("compiled");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate_directory = {state:?}\nmaster = \"{master}\"\n\
         hostname = \"{name}\"\nresources = \"{RESOURCES}\"\n\
         [registration]\nbackoff_max_ms = 1000\ntimeout_ms = 3000\n\
         [bundles]\ncompiled_directory = {compiled:?}\n"
    );
    Ok(AgentPlace {
        process: process_named("agent", &name, directory, &text)?,
        link,
        state,
        own_disk,
        volumes: (0..volumes).map(|one| format!("v{number}-{one}")).collect(),
    })
}

fn process(command: &str, directory: &Path, config: &str) -> Result<Process> {
    process_named(command, command, directory, config)
}

fn process_named(command: &str, name: &str, directory: &Path, config: &str) -> Result<Process> {
    let file = directory.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let args = [command, "--config", &file.display().to_string()].map(str::to_owned);
    let log = directory.join(format!("{name}.log"));
    Ok(Process::new(name, nesos()?, args.into(), log))
}
