//! Allocation: when it runs, over which agents in which order, and what may keep an agent from somebody.

use nesos_master_core::{Blocked, MasterConfig, OperatorRequest};
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::offer::Filters;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleChange};

use crate::script::{Script, res, seconds, task};

const HOUR: Filters = Filters::refuse_for(std::time::Duration::from_secs(3600));

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

fn in_roles(roles: &[&str]) -> FrameworkInfo {
    FrameworkInfo::new("many", roles.iter().map(|name| role(name)))
}

/// A framework in role `x` alone that says this of it.
fn picky(filters: OfferFilters) -> FrameworkInfo {
    let mut info = in_roles(&["x"]);
    info.offer_filters.insert(role("x"), filters);
    info
}

fn limit(script: &mut Script, name: &str, amounts: &str) {
    let mut change = RoleChange::of(role(name));
    change.limit = Some(amounts.parse().expect("amounts"));
    let (changes, force) = (vec![change], true);
    script.operator(OperatorRequest::ChangeRoles { changes, force });
}

/// A master that gathers what happens within a second.
fn gathering() -> Script {
    Script::with(MasterConfig {
        allocation_window: seconds(1),
        ..MasterConfig::default()
    })
}

/// The roles that hold offers, agent by agent in the order in which these came.
fn holders(script: &Script) -> Vec<String> {
    let offers = script.master.snapshot().offers;
    let holder = |agent| {
        let offer = offers.iter().find(|offer| offer.agent == agent);
        offer.map_or_else(String::new, |offer| offer.role.to_string())
    };
    script.agents.iter().map(|agent| holder(*agent)).collect()
}

#[test]
fn all_that_is_free_on_an_agent_goes_to_one_framework() {
    let mut script = gathering();
    for (connection, name) in [(1, "a"), (3, "b")] {
        script.subscribe(connection, name);
    }
    let host: Resources = "cpus:4;mem:4096;disk:10;ports:[1-9];gpus:2"
        .parse()
        .expect("resources");
    script.register(2, "host", host.clone());
    script.pass(seconds(2));
    assert_eq!(script.offers.len(), 1);
    assert_eq!(
        script.received.last().map(|offer| offer.resources.clone()),
        Some(host)
    );
}

#[test]
fn all_that_happens_within_a_window_is_one_run() {
    let mut script = gathering();
    script.subscribe(1, "a");
    script.subscribe(3, "b");
    for connection in 10..14 {
        script.register(connection, "host", res(1, 1024));
    }
    script.call(1, SchedulerCall::Revive { roles: [].into() });
    assert_eq!(script.master.stats().allocation_runs, 0);
    script.pass(seconds(1));
    assert_eq!(script.master.stats().allocation_runs, 1);
    assert_eq!(script.offers.len(), 4);
}

#[test]
fn agents_are_served_in_random_order() {
    let mut script = gathering();
    for (connection, name) in [(1, "x"), (3, "y")] {
        script.subscribe_as(connection, None, in_roles(&[name]));
    }
    for connection in 10..26 {
        script.register(connection, "host", res(1, 1024));
    }
    script.pass(seconds(1));
    let holders = holders(&script);
    let of_x = holders.iter().filter(|holder| *holder == "x");
    assert_eq!((of_x.count(), holders.len()), (8, 16));
    let in_turn = |first: usize| holders.iter().skip(first).step_by(2).all(|it| it == "x");
    assert!(!in_turn(0) && !in_turn(1), "{holders:?}");
}

#[test]
fn enough_cpu_or_enough_memory_is_worth_an_offer() {
    let mib = |mib: u64| mib << 20;
    for (free, worth_it) in [
        (Resources::new(10, 0), true),
        (Resources::new(0, mib(32)), true),
        (Resources::new(9, mib(32) - 1), false),
        (Resources::default().with_disk(mib(4096)), false),
    ] {
        let mut script = Script::new();
        script.subscribe(1, "a");
        script.register(2, "host", free.clone());
        assert_eq!(script.said("Offers"), worth_it, "{free}");
    }
}

#[test]
fn a_minimum_of_ones_own_is_of_one_role() {
    let mut script = Script::new();
    let mut info = in_roles(&["x", "y"]);
    let large = OfferFilters {
        min_allocatable: Some(vec![res(2, 0), res(0, 4096)]),
        ..OfferFilters::default()
    };
    info.offer_filters.insert(role("x"), large);
    script.subscribe_as(1, None, info);
    for (connection, free) in [(10, res(1, 1024)), (11, res(1, 64)), (12, res(2, 64))] {
        script.register(connection, "host", free);
    }
    assert_eq!(holders(&script), ["y", "y", "x"]);
    let roles = [role("y")].into();
    script.call(1, SchedulerCall::Suppress { roles });
    script.register(13, "host", res(1, 4096));
    script.register(14, "host", res(1, 2048));
    assert_eq!(holders(&script)[3..], ["x", ""], "either is enough");
}

#[test]
fn without_a_role_there_are_no_offers() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&[]));
    script.register(2, "host", res(4, 4096));
    assert!(script.offers.is_empty());
    let explanation = script.master.explain(script.frameworks[0]);
    assert_eq!(explanation.overall, Some(Blocked::NoRole));
}

#[test]
fn one_role_is_suppressed_and_the_other_is_not() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&["x", "y"]));
    let roles = || [role("x")].into();
    script.call(1, SchedulerCall::Suppress { roles: roles() });
    for connection in 10..12 {
        script.register(connection, "host", res(1, 1024));
    }
    assert_eq!(holders(&script), ["y", "y"]);
    script.call(1, SchedulerCall::Revive { roles: roles() });
    script.register(12, "host", res(1, 1024));
    assert_eq!(holders(&script), ["y", "y", "x"]);
}

#[test]
fn a_suppression_lasts_over_a_new_subscription_only_if_it_is_listed_again() {
    for suppressed in [vec![], vec![role("*")]] {
        let mut script = Script::new();
        script.subscribe(1, "a");
        script.call(1, SchedulerCall::Suppress { roles: [].into() });
        script.hang_up_scheduler(1);
        script.register(2, "host", res(1, 1024));
        script.event(nesos_master_core::Event::SchedulerConnected(
            nesos_master_core::ConnectionId(3),
        ));
        let subscribe = SchedulerCall::Subscribe {
            framework: Some(script.frameworks[0]),
            info: in_roles(&["*"]),
            suppressed: suppressed.iter().cloned().collect(),
        };
        script.call(3, subscribe);
        assert_eq!(script.said("3< Offers"), suppressed.is_empty());
    }
}

#[test]
fn what_a_limit_leaves_must_still_be_worth_an_offer() {
    let mut script = Script::new();
    limit(&mut script, "x", "cpus:0.005;mem:1MiB");
    script.subscribe_as(1, None, in_roles(&["x"]));
    script.register(2, "host", res(4, 4096));
    assert!(script.offers.is_empty());
    let explanation = script.master.explain(script.frameworks[0]);
    let blocked = &explanation.roles[0].groups[0].blocked;
    assert_eq!(*blocked, Blocked::BelowMinimum);
}

#[test]
fn ports_and_slack_are_no_quotas_business() {
    let mut script = Script::new();
    limit(&mut script, "x", "cpus:1");
    let takes_slack = OfferFilters {
        revocable: true,
        ..OfferFilters::default()
    };
    script.subscribe_as(1, None, picky(takes_slack));
    let host = "cpus:4;mem:4096;ports:[31000-31999]";
    script.register(2, "host", host.parse().expect("resources"));
    let offered = |script: &Script| script.received.last().map(|offer| offer.resources.clone());
    let cut = "cpus:1;mem:4096;ports:[31000-31999]";
    assert_eq!(offered(&script), Some(cut.parse().expect("resources")));
    // Its one CPU is used up, and slack comes all the same.
    script.launch(1, &[script.last_offer()], &[task("t", res(1, 4096))]);
    script.say(2, AgentEvent::Slack { cpu_milli: 900 });
    let slack = offered(&script).expect("an offer").only_parts();
    assert_eq!(slack.flattened(), Resources::new(900, 0));
}

#[test]
fn rules_are_asked_in_a_fixed_order() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&["x"]));
    script.register(2, "host", res(4, 4096));
    let first = |script: &Script| {
        let explanation = script.master.explain(script.frameworks[0]);
        explanation.roles[0].groups[0].blocked.clone()
    };
    let update = |script: &mut Script, filters: &OfferFilters| {
        let (info, suppressed) = (picky(filters.clone()), [].into());
        script.call(1, SchedulerCall::UpdateFramework { info, suppressed });
    };
    // Each new rule comes before the one that blocked so far.
    script.decline(1, script.last_offer(), HOUR);
    assert!(matches!(first(&script), Blocked::Filtered { .. }));
    let mut filters = OfferFilters {
        min_allocatable: Some(vec![res(8, 0)]),
        ..OfferFilters::default()
    };
    update(&mut script, &filters);
    assert_eq!(first(&script), Blocked::BelowMinimum);
    limit(&mut script, "x", "cpus:0");
    let full = Blocked::QuotaLimit { role: role("x") };
    assert_eq!(first(&script), full);
    let rack = Constraint::attribute("rack", Predicate::Exists);
    filters.constraints = Some(OfferConstraints {
        groups: vec![vec![rack]],
    });
    update(&mut script, &filters);
    assert_eq!(first(&script), Blocked::Constraint);
    script.call(1, SchedulerCall::Suppress { roles: [].into() });
    assert_eq!(first(&script), Blocked::Suppressed);
}
