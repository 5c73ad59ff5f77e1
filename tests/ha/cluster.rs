//! An etcd, masters on it, and an agent that knows them all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::etcd::Etcd;
use crate::harness::{Guarded, nesos, signal};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A `nesos` that serves, and says where.
pub(crate) struct Server {
    pub(crate) process: Guarded,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nesos starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("readable");
        let url = line.find("http://").map(|at| line[at..].trim().to_owned());
        // Keeps reading, so that the process is never held up by a full pipe.
        thread::spawn(move || drop(std::io::copy(&mut lines, &mut std::io::sink())));
        Self {
            process: Guarded(child),
            url: url.unwrap_or_else(|| panic!("{command:?} says {line:?}")),
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.0.id(), name);
    }

    /// Kills it without a warning, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("it is ours");
        self.process.0.wait().expect("it is ours");
    }

    /// What it says on `/v2/`: 200 if it leads, 307 if another does, 503 if it knows of none; nothing if it
    /// does not answer.
    pub(crate) fn standing(&self) -> Option<String> {
        let host = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn leads(&self) -> bool {
        self.says("200")
    }

    pub(crate) fn says(&self, status: &str) -> bool {
        let wanted = format!("HTTP/1.1 {status} ");
        self.standing()
            .is_some_and(|answer| answer.starts_with(&wanted))
    }
}

/// A master of the cluster in this directory. All share it, for the bundles' sake.
pub(crate) fn master(directory: &Path, store: &str) -> Server {
    let mut command = nesos();
    command
        .args(["master", "--listen", "127.0.0.1:0", "--store", store])
        .arg("--state-dir")
        .arg(directory.join("master"));
    Server::start(&mut command)
}

/// All of it.
pub(crate) struct Cluster {
    // In this order: the agent goes first, etcd last.
    _agent: Server,
    pub(crate) masters: Vec<Server>,
    pub(crate) urls: String,
    pub(crate) etcd: Etcd,
    pub(crate) store: String,
    pub(crate) directory: tempfile::TempDir,
}

impl Cluster {
    /// Three masters and an agent; nothing where there is no etcd.
    pub(crate) fn start() -> Option<Self> {
        let etcd = Etcd::start()?;
        let directory = tempfile::tempdir().expect("a directory");
        let store = format!("etcd://{}/ha", etcd.member());
        let masters: Vec<_> = (0..3).map(|_| master(directory.path(), &store)).collect();
        let urls: Vec<_> = masters.iter().map(|master| &*master.url).collect();
        let urls = urls.join(",");
        let mut agent = nesos();
        agent
            .args(["agent", "--listen", "127.0.0.1:0", "--master", &urls])
            .args(["--resources", "cpus:4;mem:2GiB;disk:2GiB"])
            .arg("--state-dir")
            .arg(directory.path().join("agent"));
        let cluster = Self {
            _agent: Server::start(&mut agent),
            masters,
            urls,
            etcd,
            store,
            directory,
        };
        cluster.leader();
        Some(cluster)
    }

    /// The index of the master that leads, once one does.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        wait_until("a leader", || {
            leader = self.masters.iter().position(Server::leads);
            leader.is_some()
        });
        leader.expect("was waited for")
    }

    /// What `nesos` prints when it is asked by these masters' addresses.
    pub(crate) fn ask(&self, masters: &str, args: &[&str]) -> String {
        let mut command = nesos();
        let output = command.args(args).env("NESOS_MASTER", masters).output();
        let output = output.expect("nesos starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "nesos {args:?} at {masters}: {said}"
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}
