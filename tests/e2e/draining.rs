//! What operators order about agents, with the real binary.

use std::process::Stdio;

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Dev, Guarded, exit_status, read_until};

/// A task that runs until it is ended.
fn sleeper(dev: &Dev) -> Guarded {
    let mut child = dev
        .nesos()
        .args(["run", guests::TICKS, "1000000", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nesos starts");
    read_until(child.stdout.as_mut().expect("piped"), "tick");
    Guarded(child)
}

fn agent(dev: &Dev) -> serde_json::Value {
    let text = dev.ask(&["agents", "--output", "json"]);
    let agents: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    agents[0].clone()
}

#[test]
fn a_drained_agent_has_no_tasks_and_takes_none_until_it_is_active_again() {
    let dev = Dev::start(&[]);
    let mut task = sleeper(&dev);
    let host = agent(&dev)["info"]["hostname"].clone();
    let host = host.as_str().expect("a name");
    let before = dev.ask(&["drain", host, "--status"]);
    assert!(before.ends_with("is not being drained\n"), "{before}");
    let said = dev.ask(&["drain", host, "--grace", "0s", "--follow"]);
    assert!(said.ends_with("is drained\n"), "{said}");
    let after = dev.ask(&["drain", host, "--status"]);
    assert!(after.ends_with("is drained\n"), "{after}");
    assert_eq!(exit_status(task.0.wait().expect("ends")), 137);
    assert_eq!(agent(&dev)["drain"]["drained"], true);
    assert!(dev.ask(&["agents"]).contains("active, drained"));
    let waiting = dev
        .nesos()
        .args(["run", guests::HELLO])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut waiting = Guarded(waiting.expect("nesos starts"));
    read_until(waiting.0.stderr.as_mut().expect("piped"), "drained");
    dev.ask(&["agents", "reactivate", host]);
    assert_eq!(exit_status(waiting.0.wait().expect("ends")), 0);
}

#[test]
fn a_deactivated_agent_keeps_its_tasks() {
    let dev = Dev::start(&[]);
    let mut task = sleeper(&dev);
    let id = agent(&dev)["id"].clone();
    let id = id.as_str().expect("an id");
    dev.ask(&["agents", "deactivate", id]);
    assert!(dev.ask(&["agents"]).contains("active, deactivated"));
    read_until(task.0.stdout.as_mut().expect("piped"), "tick 20\n");
    dev.ask(&["agents", "reactivate", id]);
    dev.run(guests::HELLO).go().exits(0);
    let nobody = "ag-00000000000000000000000000000001";
    for order in ["deactivate", "reactivate", "gone"] {
        dev.tell(&["agents", order, nobody])
            .exits(125)
            .says(nobody)
            .says("nesos agents");
    }
}

#[test]
fn an_agent_that_is_gone_takes_its_tasks_with_it_and_stops() {
    let mut dev = Dev::start(&[]);
    let mut task = sleeper(&dev);
    let id = agent(&dev)["id"].clone();
    let agent = id.as_str().expect("an id");
    let said = dev.ask(&["drain", agent, "--grace", "0s", "--mark-gone"]);
    assert!(said.contains("drained") || said.contains("gone"), "{said}");
    let mut why = String::new();
    std::io::Read::read_to_string(task.0.stderr.as_mut().expect("piped"), &mut why).expect("text");
    assert_ne!(exit_status(task.0.wait().expect("ends")), 0, "{why}");
    // Its only agent has been told to stop, and so the cluster of the two has nothing to go on for.
    assert_ne!(exit_status(dev.process.0.wait().expect("ends")), 0);
}
