//! A cluster that lasts, and what one asks of it.

use std::io::Write;
use std::process::{Child, Stdio};

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Dev, Guarded, exit_status, nesos, read_until, signal};

/// A guest that runs until its input ends, and is known to run: it has answered.
fn running_cat(dev: &Dev) -> Guarded {
    let mut child = dev
        .nesos()
        .args(["run", guests::CAT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nesos starts");
    answers(&mut child);
    Guarded(child)
}

fn answers(child: &mut Child) {
    let stdin = child.stdin.as_mut().expect("piped");
    stdin
        .write_all(b"are you there?\n")
        .expect("the guest reads");
    read_until(child.stdout.as_mut().expect("piped"), "are you there?\n");
}

/// The id of the only task that runs.
fn only_task(dev: &Dev) -> String {
    let tasks: serde_json::Value =
        serde_json::from_str(&dev.ask(&["tasks", "--output", "json"])).expect("JSON");
    let live: Vec<&serde_json::Value> = tasks
        .as_array()
        .expect("a list")
        .iter()
        .filter(|task| task["state"] == "running")
        .collect();
    assert_eq!(live.len(), 1, "{tasks}");
    live[0]["id"].as_str().expect("a text").to_owned()
}

#[test]
fn tasks_run_one_after_another() {
    let dev = Dev::start(&[]);
    dev.run(guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n");
    dev.run(guests::EXIT_CODE).args(&["7"]).go().exits(7);
    dev.run_with(&["--role", "team/a"], guests::CAT)
        .input("through a cell of its own")
        .go()
        .exits(0)
        .prints("through a cell of its own");
}

#[test]
fn a_task_is_listed_read_and_killed() {
    let dev = Dev::start(&[]);
    let mut cat = running_cat(&dev);
    let task = only_task(&dev);
    assert!(dev.ask(&["tasks"]).contains(&task));
    assert!(dev.ask(&["logs", &task]).contains("are you there?"));
    dev.ask(&["kill", &task]);
    assert_eq!(exit_status(cat.0.wait().expect("ends")), 137);
    let state = dev.ask(&["state"]);
    assert!(state.contains("active"), "{state}");
}

#[test]
fn two_schedulers_wait_for_their_turn() {
    let dev = Dev::start(&["--resources", "cpus:1;mem:1GiB;disk:1GiB"]);
    let mut cat = running_cat(&dev);
    let mut second = Guarded(
        dev.nesos()
            .args(["run", guests::HELLO])
            .stdout(Stdio::piped())
            .spawn()
            .expect("nesos starts"),
    );
    drop(cat.0.stdin.take());
    read_until(second.0.stdout.as_mut().expect("piped"), "Hello, world!\n");
    assert_eq!(exit_status(cat.0.wait().expect("ends")), 0);
    assert_eq!(exit_status(second.0.wait().expect("ends")), 0);
}

#[test]
fn a_cell_that_is_killed_takes_its_tasks_and_nothing_else() {
    let dev = Dev::start(&[]);
    let mut cat = running_cat(&dev);
    for pid in cells_of(dev.process.0.id()) {
        signal(pid, "KILL");
    }
    let mut said = String::new();
    std::io::Read::read_to_string(cat.0.stderr.as_mut().expect("piped"), &mut said).expect("text");
    assert_ne!(exit_status(cat.0.wait().expect("ends")), 0);
    assert!(said.contains("cell"), "{said}");
    dev.run(guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n");
}

/// The cell processes that a process has started.
fn cells_of(parent: u32) -> Vec<u32> {
    let mut cells = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let read =
            |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let of_parent = read("status").contains(&format!("PPid:\t{parent}\n"));
        if of_parent && read("cmdline").split('\0').nth(1) == Some("cell") {
            cells.push(pid);
        }
    }
    assert!(!cells.is_empty(), "process {parent} has cells");
    cells
}

#[test]
fn the_cluster_ends_when_it_is_told_and_comes_back_with_its_state() {
    let mut dev = Dev::start(&[]);
    dev.run(guests::HELLO).go().exits(0);
    signal(dev.process.0.id(), "TERM");
    assert_eq!(exit_status(dev.process.0.wait().expect("ends")), 0);
    assert!(dev.state.is_dir());
}

#[test]
fn a_state_directory_belongs_to_one_cluster() {
    let dev = Dev::start(&[]);
    let output = nesos()
        .args(["dev", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(&dev.state)
        .output()
        .expect("nesos starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&*dev.state.to_string_lossy()), "{said}");
}

#[test]
fn a_corrupt_registry_is_named() {
    let state = tempfile::tempdir().expect("a directory");
    {
        let mut dev = Dev::start_in(state.path());
        dev.run(guests::HELLO).go().exits(0);
        signal(dev.process.0.id(), "TERM");
        dev.process.0.wait().expect("ends");
    }
    let registry = find(state.path(), "registry.redb");
    std::fs::write(&registry, b"this is no registry").expect("written");
    let output = nesos()
        .args(["dev", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(state.path())
        .output()
        .expect("nesos starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&*registry.to_string_lossy()), "{said}");
}

fn find(below: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    panic!("no {name} below {}", below.display());
}

#[test]
fn a_client_without_a_task_of_that_name_is_told() {
    let dev = Dev::start(&[]);
    for args in [&["kill", "nobody"][..], &["logs", "nobody"]] {
        let output = dev.nesos().args(args).output().expect("nesos starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains("nobody"), "{said}");
    }
}
