//! Policies: set, kept over a restart, put aside when they fail.

use nesos_artifacts::{policies, wasip1 as guests};

use crate::bundles::Project;
use crate::harness::{Dev, exit_status, signal};
use crate::registry::host;

fn policy(dev: &Dev) -> serde_json::Value {
    serde_json::from_str(&dev.ask(&["policy", "--output", "json"])).expect("JSON")
}

/// What `nesos policy set` says to something that is no policy.
fn refusal(dev: &Dev, file: &str) -> String {
    let output = dev
        .nesos()
        .args(["policy", "set", file])
        .output()
        .expect("nesos starts");
    assert!(!output.status.success(), "{file}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_policy_decides_and_is_kept_over_a_restart() {
    let state = tempfile::tempdir().expect("a directory");
    {
        let mut dev = Dev::start_in(state.path());
        assert_eq!(policy(&dev)["name"], "drf");
        let said = dev.ask(&["policy", "set", policies::PRIORITY]);
        assert!(said.contains("priority.wasm (sha256:"), "{said}");
        dev.run(guests::HELLO).go().exits(0);
        signal(dev.process.0.id(), "TERM");
        assert_eq!(exit_status(dev.process.0.wait().expect("ends")), 0);
    }
    let dev = Dev::start_in(state.path());
    let kept = policy(&dev);
    assert_eq!(kept["name"], "priority.wasm");
    assert!(kept["fault"].is_null(), "{kept}");
    dev.run(guests::HELLO).go().exits(0);
    let state: serde_json::Value =
        serde_json::from_str(&dev.ask(&["state", "--output", "json"])).expect("JSON");
    let counters = &state["master"]["counters"];
    assert!(counters["policy_turns"].as_u64() > Some(0), "{counters}");
    assert_eq!(counters["policy_faults"], 0);
    let said = dev.ask(&["policy", "set", "drf"]);
    assert!(said.contains("the policy is drf"), "{said}");
    assert!(policy(&dev)["digest"].is_null());
}

#[test]
fn a_policy_is_set_by_its_name_in_a_registry() {
    let (dev, there) = (Dev::start(&[]), Dev::start(&[]));
    for at in [&dev, &there] {
        at.ask(&["push", policies::PRIORITY, "infra/first"]);
    }
    let said = dev.ask(&["policy", "set", "infra/first"]);
    assert!(said.contains("infra/first"), "{said}");
    let elsewhere = format!("oci://{}/infra/first:latest", host(&there));
    let said = dev.ask(&["policy", "set", &elsewhere]);
    assert!(said.contains(&elsewhere), "{said}");
    assert!(policy(&dev)["fault"].is_null());
    dev.tell(&["policy", "set", "infra/second"])
        .exits(127)
        .says("infra/second:latest");
    Project::guest(guests::HELLO, "hello", "").push(&dev, &[]);
    dev.tell(&["policy", "set", "hello"])
        .exits(126)
        .says("of the kind command, no policy");
}

#[test]
fn a_policy_that_loops_is_put_aside_and_tasks_run() {
    let dev = Dev::start(&[]);
    let said = dev.ask(&["policy", "set", policies::POLICY_LOOP]);
    assert!(said.contains("put aside"), "{said}");
    dev.run(guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n");
    let said = dev.ask(&["policy"]);
    assert!(
        said.contains("put aside") && said.contains("fuel"),
        "{said}"
    );
    let said = dev.ask(&["policy", "set", policies::DRF]);
    assert!(!said.contains("put aside"), "{said}");
    dev.run(guests::HELLO).go().exits(0);
    assert!(!dev.ask(&["policy"]).contains("put aside"));
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let dev = Dev::start(&[]);
    assert!(refusal(&dev, guests::HELLO).contains("core module"));
    let imports = refusal(&dev, nesos_artifacts::wasip2::HELLO);
    assert!(imports.contains("imports wasi:"), "{imports}");
    let missing = refusal(&dev, "/nowhere/policy.wasm");
    assert!(missing.contains("/nowhere/policy.wasm"), "{missing}");
    assert_eq!(policy(&dev)["name"], "drf");
}
