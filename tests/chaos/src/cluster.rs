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

/// A master.
#[derive(Debug)]
pub(crate) struct MasterPlace {
    pub(crate) process: Process,
    /// Before it, where there are several: whoever looks for it, or is sent to it, comes through here.
    pub(crate) link: Option<Proxy>,
    /// Between it and the etcd, where there is one.
    pub(crate) store_link: Option<Proxy>,
}

/// An agent.
#[derive(Debug)]
pub(crate) struct AgentPlace {
    pub(crate) process: Process,
    /// Between it and the master, if there is one only.
    pub(crate) link: Option<Proxy>,
    state: PathBuf,
    /// Whether its state is on a file system of its own, which can be filled.
    pub(crate) own_disk: bool,
    volumes: Vec<String>,
}

/// The whole cluster. Whatever runs is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) load: Process,
    /// Between the load and the master, if there is one only.
    pub(crate) load_link: Option<Proxy>,
    pub(crate) agents: Vec<AgentPlace>,
    pub(crate) masters: Vec<MasterPlace>,
    /// Where several masters keep what must not be lost.
    pub(crate) etcd: Option<Process>,
    /// Of all masters, with commas between them.
    master_url: String,
    pub(crate) directory: PathBuf,
    /// What shows processes another time of day.
    pub(crate) faketime: Option<PathBuf>,
}

impl World {
    pub(crate) async fn start(run: &Run, directory: &Path) -> Result<Self> {
        let ports = ports::free(run.masters + run.agents + 2)?;
        let (ports, store_ports) = ports.split_at(run.masters + run.agents);
        let (master_ports, agent_ports) = ports.split_at(run.masters);
        let several = run.masters > 1;
        let mut etcd = several.then(|| etcd(directory, store_ports));
        etcd.as_mut().map(Process::start).transpose()?;
        let mut masters = Vec::new();
        for (number, port) in master_ports.iter().enumerate() {
            let mut place = match several {
                true => one_of_several(directory, number, *port, store_ports[0]).await?,
                false => the_only_one(directory, *port)?,
            };
            place.process.start()?;
            masters.push(place);
        }
        let links = masters.iter().filter_map(|master| master.link.as_ref());
        let master_url = match several {
            true => links.map(Proxy::url).collect::<Vec<_>>().join(","),
            false => format!("http://127.0.0.1:{}", master_ports[0]),
        };
        connect(&master_url).await?;
        let mut agents = Vec::new();
        for (number, port) in agent_ports.iter().enumerate() {
            let link = link_to(several, master_ports[0]).await?;
            let url = link.as_ref().map_or(master_url.clone(), Proxy::url);
            let mut agent = agent(directory, number, *port, &url, run.volumes)?;
            agent.link = link;
            agent.process.start()?;
            agents.push(agent);
        }
        let mut world = Self {
            load: Process::new("load", PathBuf::new(), Vec::new(), PathBuf::new()),
            load_link: link_to(several, master_ports[0]).await?,
            agents,
            masters,
            etcd,
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
            self.load_link
                .as_ref()
                .map_or(self.master_url.clone(), Proxy::url),
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

/// A link of somebody's own to the only master.
async fn link_to(several: bool, port: u16) -> Result<Option<Proxy>> {
    match several {
        true => Ok(None),
        false => Proxy::before(port).await.map(Some),
    }
}

/// One member, which is enough to be killed and cut off.
fn etcd(directory: &Path, ports: &[u16]) -> Process {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let [client, peer] = [url(ports[0]), url(ports[1])];
    let data = directory.join("etcd").display().to_string();
    let args = [
        "--data-dir",
        &data,
        "--name",
        "chaos",
        "--log-level",
        "error",
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &format!("chaos={peer}"),
    ];
    let args = args.map(str::to_owned).into();
    Process::new("etcd", "etcd".into(), args, directory.join("etcd.log"))
}

const LIVENESS: &str = "[liveness]\nping_interval_ms = 500\nping_misses = 5\nagent_reregister_timeout_ms = 5000\n\
                        heartbeat_interval_ms = 500\n";

fn the_only_one(directory: &Path, port: u16) -> Result<MasterPlace> {
    let state = directory.join("master");
    let text = format!("listen = \"127.0.0.1:{port}\"\nstate_directory = {state:?}\n{LIVENESS}");
    Ok(MasterPlace {
        process: process("master", "master", directory, &text)?,
        link: None,
        store_link: None,
    })
}

/// They share a state directory, in which there are only bundles.
async fn one_of_several(
    directory: &Path,
    number: usize,
    port: u16,
    etcd: u16,
) -> Result<MasterPlace> {
    let link = Proxy::before(port).await?;
    let store_link = Proxy::before(etcd).await?;
    let store = store_link.url().replace("http://", "etcd://");
    let (state, url) = (directory.join("master"), link.url());
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate_directory = {state:?}\nadvertise = \"{url}\"\n\
         store = \"{store}\"\nlease_ms = 2000\n{LIVENESS}"
    );
    Ok(MasterPlace {
        process: process("master", &format!("master-{number}"), directory, &text)?,
        link: Some(link),
        store_link: Some(store_link),
    })
}

fn agent(
    directory: &Path,
    number: usize,
    port: u16,
    master: &str,
    volumes: usize,
) -> Result<AgentPlace> {
    let name = format!("agent-{number}");
    let state = directory.join(format!("{name}.state"));
    fs::create_dir_all(&state)?;
    let mount = ["-t", "tmpfs", "-o", DISK, "tmpfs"];
    let mounted = Command::new("mount").args(mount).arg(&state).output();
    let own_disk = mounted.is_ok_and(|output| output.status.success());
    let compiled = directory.join("compiled");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate_directory = {state:?}\nmaster = \"{master}\"\n\
         hostname = \"{name}\"\nresources = \"{RESOURCES}\"\n\
         [registration]\nbackoff_max_ms = 1000\ntimeout_ms = 3000\n\
         [bundles]\ncompiled_directory = {compiled:?}\n"
    );
    Ok(AgentPlace {
        process: process("agent", &name, directory, &text)?,
        link: None,
        state,
        own_disk,
        volumes: (0..volumes).map(|one| format!("v{number}-{one}")).collect(),
    })
}

fn process(command: &str, name: &str, directory: &Path, config: &str) -> Result<Process> {
    let file = directory.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let args = [command, "--config", &file.display().to_string()].map(str::to_owned);
    let log = directory.join(format!("{name}.log"));
    Ok(Process::new(name, nesos()?, args.into(), log))
}
