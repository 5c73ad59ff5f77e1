//! Dominant resource fairness with the numbers of the paper (Ghodsi et al., NSDI 2011), and weights.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_master_core::{MasterConfig, Weight};
use nesos_tests::stage::{SchedulerName, Stage, task};
use nesos_types::offer::Filters;
use nesos_types::resources::Resources;
use nesos_types::role::Role;

/// CPUs and GiB.
fn res(cpus: u64, gib: u64) -> Resources {
    Resources::new(cpus * 1000, gib << 30)
}

fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

/// Launches one task on the first offer that it fits; turns the others down.
fn take_one(stage: &mut Stage, name: SchedulerName, wanted: &Resources, count: &mut usize) {
    let offers = stage.offers(name);
    if !offers.iter().any(|offer| offer.resources.contains(wanted)) {
        stage.decline(name, Filters::none());
        return;
    }
    *count += 1;
    let one = task(&format!("t{count}"), wanted.clone());
    stage.launch(name, vec![one], Filters::none());
    stage.acknowledge(name);
    stage.scheduler_mut(name).updates.clear();
}

#[test]
fn two_roles_end_with_equal_dominant_shares() {
    let mut stage = Stage::new(MasterConfig::default());
    stage.agent("S1", res(9, 18));
    let (a, b) = (
        stage.scheduler("A", &role("a")),
        stage.scheduler("B", &role("b")),
    );
    let (mut of_a, mut of_b) = (0, 0);
    for _ in 0..40 {
        take_one(&mut stage, a, &res(1, 4), &mut of_a);
        take_one(&mut stage, b, &res(3, 1), &mut of_b);
        stage.advance(Duration::from_secs(1));
    }
    assert_eq!((of_a, of_b), (3, 2));
    let snapshot = stage.snapshot();
    assert_eq!(snapshot.agents[0].allocated, res(9, 14));
    let allocated = |name| {
        let id = stage.framework_id(name);
        let views = snapshot.frameworks.iter();
        views
            .filter(|view| view.id == id)
            .map(|view| view.allocated.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(allocated(a), [res(3, 12)], "2/3 of the memory");
    assert_eq!(allocated(b), [res(6, 2)], "2/3 of the CPU");
}

#[test]
fn weights_divide_in_their_proportion() {
    let weights = (1..=3).map(|weight| {
        let role = role(&format!("r{weight}"));
        (role, Weight::from_milli(weight * 1000).expect("not zero"))
    });
    let mut stage = Stage::new(MasterConfig {
        weights: weights.collect::<BTreeMap<_, _>>(),
        allocation_window: Duration::from_secs(1),
        ..MasterConfig::default()
    });
    let names: Vec<_> = (1..=3)
        .map(|weight| stage.scheduler("F", &role(&format!("r{weight}"))))
        .collect();
    for i in 0..6 {
        stage.agent(&format!("S{i}"), res(1, 1));
    }
    stage.advance(Duration::from_secs(1));
    let counts: Vec<_> = names.iter().map(|name| stage.offers(*name).len()).collect();
    assert_eq!(counts, [1, 2, 3]);
}

#[test]
fn a_parent_role_shares_as_one() {
    let mut stage = Stage::new(MasterConfig {
        allocation_window: Duration::from_secs(1),
        ..MasterConfig::default()
    });
    let roles = ["a/x", "a/y", "b"];
    let names: Vec<_> = roles
        .iter()
        .map(|name| stage.scheduler(name, &role(name)))
        .collect();
    for i in 0..8 {
        stage.agent(&format!("S{i}"), res(1, 1));
    }
    stage.advance(Duration::from_secs(1));
    let counts: Vec<_> = names.iter().map(|name| stage.offers(*name).len()).collect();
    assert_eq!(counts, [2, 2, 4], "x and y share what a gets");
    let shares: BTreeMap<_, _> = stage
        .snapshot()
        .roles
        .into_iter()
        .map(|view| (view.role.to_string(), view.dominant_share))
        .collect();
    assert!((shares["a"] - 0.5).abs() < 1e-9);
    assert!((shares["a/x"] - 0.25).abs() < 1e-9);
}

#[test]
fn equal_shares_alternate() {
    let mut stage = Stage::new(MasterConfig::default());
    stage.agent("S1", res(1, 1));
    let names = [
        stage.scheduler("A", &Role::default_role()),
        stage.scheduler("B", &Role::default_role()),
    ];
    let mut turns = Vec::new();
    for _ in 0..6 {
        let holder = names
            .iter()
            .position(|name| !stage.offers(*name).is_empty())
            .expect("somebody holds it");
        turns.push(holder);
        stage.decline(names[holder], Filters::none());
        stage.advance(Duration::from_secs(1));
    }
    assert_eq!(turns, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_newcomer_waits_for_nobody() {
    let mut stage = Stage::new(MasterConfig::default());
    let a = stage.scheduler("A", &role("a"));
    for i in 0..4 {
        stage.agent(&format!("S{i}"), res(1, 1));
    }
    assert_eq!(stage.offers(a).len(), 4);
    let b = stage.scheduler("B", &role("b"));
    stage.decline(a, Filters::none());
    assert_eq!(stage.offers(b).len(), 4, "all that was turned down");
}
