//! CPU that its owner does not use is lent, and taken back when it does.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Guarded, nesos, read_until, run_with};

const PATIENCE: Duration = Duration::from_secs(20);

/// A master and an agent of one CPU that measures often.
struct Lending {
    url: String,
    // Ended in this order.
    _agent: Guarded,
    _master: Guarded,
    _directory: tempfile::TempDir,
}

impl Lending {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut master = nesos();
        master.args(["master", "--listen", "127.0.0.1:0", "--state-dir"]);
        let (master, url) = announced(master.arg(directory.path().join("master")), "master at ");
        let config = directory.path().join("agent.toml");
        std::fs::write(&config, agent_config(directory.path(), &url)).expect("writable");
        let mut agent = nesos();
        agent.arg("agent").arg("--config").arg(config);
        let (agent, _) = announced(agent.arg("--oversubscribe"), "agent at ");
        Self {
            url,
            _agent: agent,
            _master: master,
            _directory: directory,
        }
    }

    fn nesos(&self) -> Command {
        let mut command = nesos();
        command.env("NESOS_MASTER", &self.url);
        command
    }

    /// How many tasks run.
    fn running(&self) -> usize {
        let output = self.nesos().args(["tasks", "--output", "json"]).output();
        let tasks: serde_json::Value =
            serde_json::from_slice(&output.expect("nesos starts").stdout).expect("JSON");
        let tasks = tasks.as_array().expect("a list").iter();
        tasks.filter(|task| task["state"] == "running").count()
    }

    #[track_caller]
    fn wait_until_running(&self, count: usize) {
        let began = Instant::now();
        while self.running() != count {
            assert!(began.elapsed() < PATIENCE, "{count} tasks do not run");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn agent_config(directory: &Path, master: &str) -> String {
    format!(
        r#"
        state_directory = {:?}
        master = "{master}"
        listen = "127.0.0.1:0"
        resources = "cpus:1;mem:1GiB;disk:1GiB"
        ephemeral = true
        [oversubscription]
        interval_ms = 200
        patience_ms = 1000
        "#,
        directory.join("agent")
    )
}

/// Starts a part of the cluster and waits until it says where it is.
fn announced(command: &mut Command, words: &str) -> (Guarded, String) {
    let mut child: Child = command
        .env("NESOS_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .expect("nesos starts");
    let said = read_until(child.stdout.as_mut().expect("piped"), "\n");
    let url = said.trim().strip_prefix(words).expect("it says where");
    (Guarded(child), url.to_owned())
}

#[test]
fn what_an_owner_leaves_unused_is_lent_until_it_needs_it() {
    let cluster = Lending::start();
    let owner = cluster
        .nesos()
        .args(["run", "--cpus", "1", guests::SPIN_AFTER_INPUT])
        .stdin(Stdio::piped())
        .spawn();
    let mut owner = Guarded(owner.expect("nesos starts"));
    cluster.wait_until_running(1);
    let (url, borrower) = (cluster.url.clone(), guests::SPIN);
    let flags = ["--revocable", "--cpus", "0.8", "--timeout", "60s"];
    let borrower = std::thread::spawn(move || {
        run_with(&flags, borrower)
            .with(|command| {
                command.env("NESOS_MASTER", url);
            })
            .go()
    });
    cluster.wait_until_running(2);
    drop(owner.0.stdin.take());
    let ended = borrower.join().expect("it ends");
    ended
        .exits(137)
        .says("the CPU that it borrowed is needed by those who accepted it");
    assert_eq!(cluster.running(), 1, "the owner goes on");
}

#[test]
fn a_cluster_of_its_own_has_nothing_to_lend() {
    run_with(&["--revocable"], guests::HELLO)
        .go()
        .exits(125)
        .says("--revocable goes with --master");
}
