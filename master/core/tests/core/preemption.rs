//! Preemption: which tasks are ended for a demand of higher priority, and which are not.

use expect_test::expect;
use nesos_master_core::{BuiltInPolicy, MasterConfig, NewPolicy, Preemption};
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate, Selector};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Demand, Filters};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

use crate::script::{Script, res, seconds, task};

const LOW: u64 = 1;
const HIGH: u64 = 2;

fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

fn config(preemption: Option<Preemption>) -> MasterConfig {
    MasterConfig {
        policy: BuiltInPolicy::Priority,
        preemption,
        offer_timeout: None,
        ..MasterConfig::default()
    }
}

/// Frameworks in the roles `low` (the first) and `high`, of priority 7, which waits for nothing yet.
fn two_roles(config: MasterConfig) -> Script {
    let mut script = Script::with(config);
    subscribe(&mut script, LOW, FrameworkInfo::new("low", [role("low")]));
    subscribe(
        &mut script,
        HIGH,
        FrameworkInfo::new("high", [role("high")]),
    );
    script.set_role("high", |change| change.priority = Some(7));
    request(&mut script, HIGH, "high", &[]);
    script
}

fn subscribe(script: &mut Script, connection: u64, info: FrameworkInfo) {
    script.subscribe_as(connection, None, info);
}

fn preemptive() -> Script {
    two_roles(config(Some(Preemption::default())))
}

fn request(script: &mut Script, connection: u64, name: &str, shapes: &[(Resources, u32)]) {
    let demands = shapes.iter().map(|(resources, count)| Demand {
        role: role(name),
        resources: resources.clone(),
        count: *count,
    });
    let demands = demands.collect();
    script.call(connection, SchedulerCall::Request { demands });
}

/// An agent of so many CPUs that `low` fills with tasks of one CPU, one after another.
fn filled(script: &mut Script, connection: u64, tasks: &[&str]) {
    let count = tasks.len() as u64;
    script.register(connection, "host", res(count, count * 1024));
    for name in tasks {
        let offer = script.last_offer();
        script.launch(LOW, &[offer], &[task(name, res(1, 1024))]);
        script.pass(seconds(6));
    }
    script.skip();
}

/// The tasks that were told to end since the last look, for others.
fn ended(script: &mut Script) -> Vec<String> {
    let said = script.take();
    let lines = said.lines().filter(|line| line.contains("(Preempted)"));
    let names = lines.filter_map(|line| line.split_whitespace().nth(2));
    names.map(str::to_owned).collect()
}

#[test]
fn the_newest_task_ends_and_what_it_had_goes_to_the_demand() {
    let mut script = preemptive();
    filled(&mut script, 10, &["old", "new"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    script.update(10, "new", TaskState::Killed, 1);
    script.expect(&expect![[r#"
        10< Kill new grace None (Preempted)
        seen: new is killed
        1< Update new is killed #1 on ag1
        2< Offers of3 of ag1 for high <1 CPU, 1 GiB>
    "#]]);
    assert_eq!(script.master.stats().tasks_preempted, 1);
}

#[test]
fn nothing_ends_unless_the_option_is_on_and_something_is_waited_for() {
    let mut script = two_roles(config(None));
    filled(&mut script, 10, &["t"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);

    let mut fair = MasterConfig {
        policy: BuiltInPolicy::Drf,
        ..config(Some(Preemption::default()))
    };
    fair.offer_timeout = None;
    let mut script = two_roles(fair);
    filled(&mut script, 10, &["t"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);

    // A framework that has never said what it waits for waits for offers, not for tasks to end.
    let mut script = preemptive();
    filled(&mut script, 10, &["t"]);
    subscribe(&mut script, 3, FrameworkInfo::new("other", [role("high")]));
    assert_eq!(ended(&mut script), [""; 0]);
}

#[test]
fn equals_and_superiors_are_left_alone_wherever_they_part() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t"]);
    for (connection, name, priority) in [(3, "same", 0), (4, "under", -1)] {
        let info = FrameworkInfo::new(name, [role(name)]);
        script.set_role(name, |change| change.priority = Some(priority));
        subscribe(&mut script, connection, info);
        request(&mut script, connection, name, &[(res(1, 1024), 1)]);
    }
    assert_eq!(ended(&mut script), [""; 0]);
    // Within one role there is no priority; in one below the same root there is.
    let info = FrameworkInfo::new("twin", [role("low")]);
    subscribe(&mut script, 5, info);
    request(&mut script, 5, "low", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);
}

#[test]
fn priorities_count_where_the_paths_part() {
    let mut script = Script::with(config(Some(Preemption::default())));
    subscribe(&mut script, LOW, FrameworkInfo::new("low", [role("a/low")]));
    filled(&mut script, 10, &["t"]);
    script.set_role("a/high", |change| change.priority = Some(1));
    script.set_role("b/high", |change| change.priority = Some(9));
    subscribe(&mut script, HIGH, FrameworkInfo::new("b", [role("b/high")]));
    request(&mut script, HIGH, "b/high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0], "a and b are equals");
    subscribe(&mut script, 3, FrameworkInfo::new("a", [role("a/high")]));
    request(&mut script, 3, "a/high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), ["t"]);
}

#[test]
fn one_demand_ends_what_it_needs_once() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2", "t3", "t4"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 2)]);
    assert_eq!(ended(&mut script), ["t4", "t3"]);
    for _ in 0..3 {
        script.pass(seconds(2));
        request(&mut script, HIGH, "high", &[(res(1, 1024), 2)]);
    }
    assert_eq!(ended(&mut script), [""; 0]);
    // An offer that has not been answered yet is for the demand, too.
    script.update(10, "t4", TaskState::Killed, 1);
    assert_eq!(ended(&mut script), [""; 0]);
    let offer = script.last_offer();
    script.launch(HIGH, &[offer], &[task("mine", res(1, 1024))]);
    assert_eq!(ended(&mut script), [""; 0]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 2)]);
    assert_eq!(ended(&mut script), ["t2"]);
}

#[test]
fn one_large_task_ends_rather_than_many_and_what_it_leaves_over_counts() {
    let mut script = preemptive();
    script.register(10, "host", res(6, 6144));
    for (name, cpus) in [("large", 4), ("small1", 1), ("small2", 1)] {
        let offer = script.last_offer();
        script.launch(LOW, &[offer], &[task(name, res(cpus, cpus * 1024))]);
        script.pass(seconds(6));
    }
    script.skip();
    request(&mut script, HIGH, "high", &[(res(4, 4096), 1)]);
    assert_eq!(ended(&mut script), ["large"]);

    let mut script = preemptive();
    script.register(10, "host", res(4, 4096));
    let offer = script.last_offer();
    script.launch(LOW, &[offer], &[task("large", res(4, 4096))]);
    script.skip();
    request(&mut script, HIGH, "high", &[(res(1, 1024), 4)]);
    assert_eq!(ended(&mut script), ["large"]);
    assert_eq!(script.master.stats().tasks_preempted, 1);
}

#[test]
fn the_lowest_priority_ends_first_on_whatever_agent() {
    let mut script = preemptive();
    script.set_role("middle", |change| change.priority = Some(3));
    filled(&mut script, 10, &["low"]);
    subscribe(&mut script, 3, FrameworkInfo::new("m", [role("middle")]));
    script.register(11, "other", res(1, 1024));
    let offer = script.last_offer();
    script.launch(3, &[offer], &[task("middle", res(1, 1024))]);
    script.skip();
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), ["low"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 2)]);
    assert_eq!(ended(&mut script), ["middle"]);
}

#[test]
fn a_task_that_ends_anyway_is_waited_for() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2"]);
    script.kill(LOW, "t1");
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);
    script.update(10, "t1", TaskState::Killed, 1);
    assert!(script.said("2< Offers"));
}

#[test]
fn pieces_that_come_free_are_kept_until_all_are_there() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2"]);
    request(&mut script, HIGH, "high", &[(res(2, 2048), 1)]);
    assert_eq!(ended(&mut script), ["t2", "t1"]);
    script.update(10, "t1", TaskState::Killed, 1);
    script.pass(seconds(5));
    assert!(!script.said("Offers"), "low would take the piece");
    let waits = script.master.explain(script.frameworks[0]);
    let promised = nesos_master_core::Blocked::Promised { role: role("high") };
    assert_eq!(waits.roles[0].groups[0].blocked, promised);
    script.update(10, "t2", TaskState::Killed, 2);
    assert!(script.said("for high <2 CPUs, 2 GiB>"));
}

#[test]
fn who_is_promised_something_and_leaves_keeps_nothing_back() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2"]);
    request(&mut script, HIGH, "high", &[(res(2, 2048), 1)]);
    script.update(10, "t1", TaskState::Killed, 1);
    script.skip();
    script.call(HIGH, SchedulerCall::Teardown);
    script.pass(seconds(6));
    assert!(script.said("1< Offers"));
}

#[test]
fn constraints_and_filters_and_the_minimum_are_kept() {
    let elsewhere = Constraint {
        selector: Selector::Hostname,
        predicate: Predicate::TextEquals("elsewhere".to_owned()),
    };
    let constraints = OfferConstraints {
        groups: vec![vec![elsewhere]],
    };
    for (constraints, min_allocatable) in
        [(Some(constraints), None), (None, Some(vec![res(1, 4096)]))]
    {
        let mut script = preemptive();
        filled(&mut script, 10, &["t"]);
        let mut info = FrameworkInfo::new("picky", [role("high")]);
        let filters = OfferFilters {
            constraints,
            min_allocatable,
            revocable: false,
        };
        info.offer_filters.insert(role("high"), filters);
        subscribe(&mut script, 3, info);
        request(&mut script, 3, "high", &[(res(1, 1024), 1)]);
        assert_eq!(ended(&mut script), [""; 0]);
    }

    let mut script = preemptive();
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    script.register(10, "host", res(1, 1024));
    let (offers, filters) = (vec![script.last_offer()], Filters::refuse_for(seconds(60)));
    script.call(HIGH, SchedulerCall::Decline { offers, filters });
    let offer = script.last_offer();
    script.launch(LOW, &[offer], &[task("t", res(1, 1024))]);
    assert_eq!(ended(&mut script), [""; 0], "it turned just that down");
    script.pass(seconds(60));
    assert_eq!(ended(&mut script), ["t"]);
}

#[test]
fn what_a_limit_forbids_ends_nothing() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2", "t3"]);
    let limit = "cpus:2".parse().ok();
    script.set_role("high", |change| change.limit = limit);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 3)]);
    assert_eq!(ended(&mut script), ["t3", "t2"]);
}

#[test]
fn nothing_ends_where_it_would_not_be_enough() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t1", "t2"]);
    request(&mut script, HIGH, "high", &[(res(3, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);
    // Nor on an agent that is not there.
    script.hang_up_agent(10);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);
}

#[test]
fn a_kill_that_is_repeated_says_again_why() {
    let mut script = preemptive();
    filled(&mut script, 10, &["t"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    script.hang_up_agent(10);
    script.skip();
    let mut brought = script.brought("t", res(1, 1024), TaskState::Running);
    brought.role = role("low");
    let info = crate::script::info("host", res(1, 1024));
    script.register_as(11, Some(script.agents[0]), info, vec![brought]);
    assert_eq!(ended(&mut script), ["t"]);
    // A scheduler that asks for the same leaves the reason, and can shorten the grace.
    let (task, grace) = (crate::script::id("t"), Some(seconds(2)));
    script.call(LOW, SchedulerCall::Kill { task, grace });
    assert!(script.said("Kill t grace Some(2s) (Preempted)"));
}

#[test]
fn the_option_is_kept_with_the_policy_and_says_the_grace() {
    let mut script = two_roles(config(None));
    filled(&mut script, 10, &["t"]);
    request(&mut script, HIGH, "high", &[(res(1, 1024), 1)]);
    assert_eq!(ended(&mut script), [""; 0]);
    let preemption = Preemption {
        grace: Some(seconds(5)),
    };
    script.set_policy(NewPolicy::Preemptive(preemption));
    assert!(script.said("Kill t grace Some(5s) (Preempted)"));
    script.restart();
    let view = script.master.policy();
    assert_eq!(
        (view.name.as_str(), view.preemption),
        ("priority", Some(preemption))
    );
    script.set_policy(NewPolicy::BuiltIn(BuiltInPolicy::Priority));
    assert_eq!(script.master.policy().preemption, None);
}
