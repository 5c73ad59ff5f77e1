//! Shares: what counts as held, among whom it is compared, and against what.

use nesos_master_core::{MasterConfig, OperatorRequest};
use nesos_types::framework::FrameworkInfo;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleChange};

use crate::script::{Script, res, seconds, task};

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

fn text(text: &str) -> Resources {
    text.parse().expect("resources")
}

/// Frameworks in these roles on connections 1, 2 and so on.
fn subscribed(roles: &[&str]) -> Script {
    let mut script = Script::with(MasterConfig {
        allocation_window: seconds(1),
        ..MasterConfig::default()
    });
    for (connection, name) in (1..).zip(roles) {
        let info = FrameworkInfo::new(*name, [role(name)]);
        script.subscribe_as(connection, None, info);
    }
    script
}

fn weigh(script: &mut Script, weights: &[(&str, &str)]) {
    let changes = weights.iter().map(|(name, weight)| {
        let mut change = RoleChange::of(role(name));
        change.weight = Some(weight.parse().expect("a weight"));
        change
    });
    let (changes, force) = (changes.collect(), false);
    script.operator(OperatorRequest::ChangeRoles { changes, force });
}

/// Equal agents come, and are all offered in one run.
fn agents(script: &mut Script, count: u64, resources: &Resources) {
    for i in 0..count {
        let connection = 100 + script.agents.len() as u64 + i;
        script.register(connection, "host", resources.clone());
    }
    script.pass(seconds(1));
}

/// How many offers each framework holds.
fn counts(script: &Script) -> Vec<usize> {
    let offers = script.master.snapshot().offers;
    let held = |framework| {
        let held = offers.iter().filter(|offer| offer.framework == framework);
        held.count()
    };
    script.frameworks.iter().map(|id| held(*id)).collect()
}

#[test]
fn roles_are_compared_first_and_frameworks_within_them() {
    let mut script = subscribed(&["x", "x", "x", "y"]);
    agents(&mut script, 12, &res(1, 1024));
    assert_eq!(counts(&script), [2, 2, 2, 6]);
}

#[test]
fn a_weight_counts_among_siblings_alone() {
    let mut script = subscribed(&["a/x", "a/y", "b"]);
    weigh(&mut script, &[("a/x", "3")]);
    agents(&mut script, 8, &res(1, 1024));
    assert_eq!(counts(&script), [3, 1, 4]);
}

#[test]
fn a_weight_scales_all_that_is_below() {
    let mut script = subscribed(&["a/x", "a/y", "b"]);
    weigh(&mut script, &[("a", "3")]);
    agents(&mut script, 8, &res(1, 1024));
    assert_eq!(counts(&script), [3, 3, 2]);
}

/// Two roles, of which the first holds all of this agent; how three more agents are divided.
fn divided_after(first: &str, others: &str) -> Vec<usize> {
    let mut script = subscribed(&["x"]);
    agents(&mut script, 1, &text(first));
    script.subscribe_as(2, None, FrameworkInfo::new("y", [role("y")]));
    agents(&mut script, 3, &text(others));
    let counts = counts(&script);
    vec![counts[0] - 1, counts[1]]
}

#[test]
fn every_scalar_counts_and_ports_and_sets_do_not() {
    let others = "cpus:1;mem:64";
    for (first, divided) in [
        (others, [1, 2]),
        ("cpus:1;mem:64;ports:[31000-31999]", [1, 2]),
        ("cpus:1;mem:64;zones:{a,b}", [1, 2]),
        // Whoever holds all of a scarce kind has the largest share there is.
        ("cpus:1;mem:64;gpus:1", [0, 3]),
        ("cpus:1;mem:64;disk:1", [0, 3]),
        ("cpus:1;mem:1024", [0, 3]),
    ] {
        assert_eq!(divided_after(first, others), divided, "{first}");
    }
}

#[test]
fn what_the_cluster_has_none_of_counts_for_nobody() {
    assert_eq!(divided_after("cpus:1", "cpus:1"), [1, 2]);
    assert_eq!(divided_after("cpus:3", "cpus:1"), [0, 3]);
}

#[test]
fn what_is_reserved_counts_for_whoever_holds_it() {
    assert_eq!(
        divided_after("cpus(x):3;mem(x):192", "cpus:1;mem:64"),
        [0, 3]
    );
}

#[test]
fn whoever_is_away_keeps_the_share_of_its_tasks() {
    let mut script = subscribed(&["x", "y"]);
    script.hang_up_scheduler(2);
    agents(&mut script, 1, &res(4, 4096));
    script.launch(1, &[script.last_offer()], &[task("t", res(4, 4096))]);
    script.hang_up_scheduler(1);
    let held = |script: &Script| {
        let roles = script.master.snapshot().roles;
        let view = roles.iter().find(|view| view.role == role("x"));
        view.map(|view| view.held.clone())
    };
    assert_eq!(held(&script), Some(res(4, 4096)));
    for (connection, name) in [(3, "x"), (4, "y")] {
        let framework = script.frameworks[usize::from(name == "y")];
        let info = FrameworkInfo::new(name, [role(name)]);
        script.subscribe_as(connection, Some(framework), info);
    }
    agents(&mut script, 4, &res(1, 1024));
    assert_eq!(counts(&script), [0, 4]);
}
