//! Roles that an operator shapes with the real binary.

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Dev, signal};

#[test]
fn settings_of_roles_count_and_outlive_the_cluster() {
    let state = tempfile::tempdir().expect("a directory");
    {
        let mut dev = Dev::start_in(state.path());
        dev.ask(&[
            "roles",
            "set",
            "team/a",
            "--weight",
            "2.5",
            "--limit",
            "cpus:0.5;gpus:0",
        ]);
        dev.run_with(&["--role", "team/a", "--cpus", "0.5"], guests::HELLO)
            .go()
            .exits(0)
            .prints("Hello, world!\n");
        signal(dev.process.0.id(), "TERM");
        dev.process.0.wait().expect("ends");
    }
    let dev = Dev::start_in(state.path());
    let roles = dev.ask(&["roles"]);
    for shown in ["team/a", "2.5", "cpus:0.5;gpus:0"] {
        assert!(roles.contains(shown), "{shown} is not in\n{roles}");
    }
    dev.ask(&["roles", "set", "team/a", "--weight", "1", "--limit", "none"]);
    let roles = dev.ask(&["roles"]);
    assert!(
        !roles.contains("team/a"),
        "nothing is decided any more:\n{roles}"
    );
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_changed() {
    let dev = Dev::start(&["--resources", "cpus:2;mem:1GiB;disk:1GiB"]);
    for (arguments, why) in [
        (&["a", "--guarantee", "cpus:1000"][..], "the cluster has 2"),
        (
            &["a", "--guarantee", "cpus:2", "--limit", "cpus:1"],
            "below the guarantee",
        ),
        (&["a", "--weight", "0"], "a weight lies between"),
        (&["a", "--weight", "NaN"], "is not a number"),
        (&["a", "--limit", "cpus:-1"], "is negative"),
        (&["a/../b", "--weight", "2"], "are not role names"),
        (&["a"], "nothing to change"),
    ] {
        let mut set = dev.nesos();
        let output = set.args(["roles", "set"]).args(arguments).output();
        let output = output.expect("nesos starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{arguments:?}: {said}"
        );
    }
    let roles: serde_json::Value =
        serde_json::from_str(&dev.ask(&["roles", "--output", "json"])).expect("JSON");
    assert_eq!(roles, serde_json::json!([]));
}
