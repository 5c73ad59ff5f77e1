//! Roles as operators shape them: weights, priorities, guarantees and limits.

use expect_test::expect;
use nesos_master_core::{Blocked, BuiltInPolicy, Event, MasterConfig, OperatorRequest, RequestId};
use nesos_types::framework::FrameworkInfo;
use nesos_types::message::{AgentTask, SchedulerCall};
use nesos_types::offer::Filters;
use nesos_types::resources::Scalar;
use nesos_types::role::{Role, RoleChange, RoleRefusal, Weight};
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

/// What a change names in a word or two: `weight 2`, `guarantee cpus:2`.
fn change(name: &str, what: &str) -> RoleChange {
    let mut change = RoleChange::of(role(name));
    for part in what.split(", ") {
        let (key, value) = part.split_once(' ').expect("a key and a value");
        match key {
            "weight" => change.weight = Some(value.parse::<Weight>().expect("a weight")),
            "priority" => change.priority = Some(value.parse().expect("a priority")),
            "guarantee" => change.guarantee = Some(value.parse().expect("amounts")),
            "limit" => change.limit = Some(value.parse().expect("amounts")),
            _ => panic!("{key}"),
        }
    }
    change
}

fn set(script: &mut Script, changes: &[(&str, &str)], force: bool) {
    let changes = changes.iter().map(|(name, what)| change(name, what));
    let change = OperatorRequest::ChangeRoles {
        changes: changes.collect(),
        force,
    };
    script.event(Event::Operator(RequestId(0), change));
}

fn subscribe(script: &mut Script, connection: u64, name: &str) {
    let info = FrameworkInfo::new(name, [role(name)]);
    script.subscribe_as(connection, None, info);
}

fn decline(script: &mut Script, connection: u64) {
    let offers = vec![script.last_offer()];
    let filters = Filters::refuse_for(seconds(3600));
    script.call(connection, SchedulerCall::Decline { offers, filters });
}

#[test]
fn settings_are_durable_and_forgotten_when_they_say_nothing() {
    let mut script = Script::new();
    set(
        &mut script,
        &[("a/b", "weight 2.5, priority -3, limit cpus:4;gpus:0")],
        false,
    );
    script.restart();
    set(&mut script, &[("a/b", "priority 1")], false);
    set(
        &mut script,
        &[("a/b", "weight 1, priority 0, limit ")],
        false,
    );
    script.expect(&expect![[r#"
        durable: role a/b weighs 2.5, priority -3, guarantee [], limit [cpus:4;gpus:0]
        reply: Done
        durable: role a/b weighs 2.5, priority 1, guarantee [], limit [cpus:4;gpus:0]
        reply: Done
        durable: role/a/b forgotten
        reply: Done
    "#]]);
}

#[test]
fn a_weight_counts_from_the_next_allocation() {
    let mut script = Script::new();
    subscribe(&mut script, 1, "a");
    subscribe(&mut script, 2, "b");
    set(&mut script, &[("b", "weight 3")], false);
    script.skip();
    for host in 0..8 {
        script.register(10 + host, "host", res(1, 1024));
    }
    let held = |name: &str| {
        let snapshot = script.master.snapshot();
        let view = snapshot.roles.iter().find(|view| view.role == role(name));
        view.expect("the role is there").held.cpu_milli
    };
    assert_eq!((held("a"), held("b")), (2000, 6000));
}

#[test]
fn an_offer_is_cut_to_what_the_limit_leaves() {
    let mut script = Script::new();
    set(&mut script, &[("a", "limit cpus:3")], false);
    subscribe(&mut script, 1, "a");
    script.register(10, "one", res(2, 2048));
    script.register(11, "two", res(2, 2048));
    script.register(12, "three", res(2, 2048));
    script.skip();
    subscribe(&mut script, 2, "b");
    script.expect(&expect![[r#"
        durable: fw2 subscribed as "b"
        2< Subscribed fw2
        2< Offers of3 of ag2 for b <1 CPU, 0 B>, of4 of ag3 for b <2 CPUs, 2 GiB>
    "#]]);
}

#[test]
fn a_role_below_counts_for_the_limit_above_and_its_end_makes_room() {
    let mut script = Script::new();
    set(
        &mut script,
        &[("a", "limit cpus:2"), ("a/x", "limit cpus:2")],
        false,
    );
    subscribe(&mut script, 1, "a/x");
    script.register(2, "one", res(2, 2048));
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t", res(2, 2048))]);
    subscribe(&mut script, 3, "a");
    script.register(4, "two", res(4, 4096));
    script.skip();
    let explanation = script.master.explain(script.frameworks[1]);
    let groups = &explanation.roles[0].groups;
    let rules: Vec<_> = groups.iter().map(|group| &group.blocked).collect();
    let limit = Blocked::QuotaLimit { role: role("a") };
    assert_eq!(rules, [&Blocked::Allocated, &limit]);
    script.update(2, "t", TaskState::Finished, 1);
    script.pass(seconds(1));
    assert_eq!(
        script.offers.len(),
        2,
        "there is room for two CPUs, and they are offered"
    );
}

#[test]
fn a_new_limit_takes_back_offers_that_break_it_and_no_more() {
    let mut script = Script::new();
    subscribe(&mut script, 1, "a");
    script.register(2, "one", res(2, 2048));
    script.register(3, "two", res(2, 2048));
    script.skip();
    set(&mut script, &[("a", "limit cpus:3")], false);
    script.expect(&expect![[r#"
        durable: role a weighs 1, priority 0, guarantee [], limit [cpus:3]
        1< Rescind of2
        reply: Done
        1< Offers of3 of ag2 for a <1 CPU, 2 GiB>
    "#]]);
}

#[test]
fn a_limit_below_what_tasks_use_must_be_forced() {
    let mut script = Script::new();
    subscribe(&mut script, 1, "a");
    script.register(2, "one", res(2, 2048));
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t", res(2, 2048))]);
    script.skip();
    set(&mut script, &[("a", "limit cpus:1")], false);
    set(&mut script, &[("a", "limit cpus:1")], true);
    script.expect(&expect![[r#"
        reply: RolesRefused(LimitBelowUse { role: "a", kind: Cpu, used: 2000, limit: 1000 })
        durable: role a weighs 1, priority 0, guarantee [], limit [cpus:1]
        reply: Done
    "#]]);
}

#[test]
fn what_is_guaranteed_is_held_back_from_others() {
    let mut script = Script::new();
    script.register(2, "one", res(4, 4096));
    set(&mut script, &[("b", "guarantee cpus:3")], false);
    script.skip();
    subscribe(&mut script, 1, "a");
    script.expect(&expect![[r#"
        durable: fw1 subscribed as "a"
        1< Subscribed fw1
        1< Offers of1 of ag1 for a <1 CPU, 4 GiB>
    "#]]);
    decline(&mut script, 1);
    script.skip();
    subscribe(&mut script, 3, "b");
    script.expect(&expect![[r#"
        durable: fw2 subscribed as "b"
        3< Subscribed fw2
        3< Offers of2 of ag1 for b <3 CPUs, 4 GiB>, of3 of ag1 for b <1 CPU, 0 B>
    "#]]);
}

#[test]
fn a_guarantee_goes_to_the_role_that_lacks_it_before_anybody_else() {
    let mut script = Script::new();
    subscribe(&mut script, 1, "a");
    subscribe(&mut script, 3, "b");
    script.register(2, "one", res(4, 4096));
    let holder = script.offers.len();
    assert_eq!(holder, 1);
    script.skip();
    // The offer is a's: it is taken back, because b could not get its guarantee otherwise.
    set(&mut script, &[("b", "guarantee cpus:4;mem:4GiB")], false);
    script.expect(&expect![[r#"
        durable: role b weighs 1, priority 0, guarantee [cpus:4;mem:4GiB], limit []
        1< Rescind of1
        reply: Done
        3< Offers of2 of ag1 for b <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn guarantees_of_siblings_do_not_eat_each_other() {
    let mut script = Script::new();
    script.register(2, "one", res(4, 4096));
    let quotas = [("p", "guarantee cpus:4"), ("p/x", "guarantee cpus:3")];
    set(&mut script, &quotas, false);
    script.skip();
    subscribe(&mut script, 1, "p/y");
    script.expect(&expect![[r#"
        durable: fw1 subscribed as "p/y"
        1< Subscribed fw1
        1< Offers of1 of ag1 for p/y <1 CPU, 4 GiB>
    "#]]);
}

#[test]
fn absurd_quotas_are_refused_and_nothing_is_changed() {
    let mut script = Script::new();
    script.register(2, "one", res(4, 4096));
    script.skip();
    set(&mut script, &[("a", "weight 2"), ("a", "weight 3")], false);
    set(
        &mut script,
        &[("a", "weight 2"), ("b", "guarantee cpus:2, limit cpus:1")],
        false,
    );
    set(&mut script, &[("a", "guarantee cpus:5")], false);
    set(
        &mut script,
        &[("p", "guarantee cpus:1"), ("p/x", "guarantee cpus:2")],
        true,
    );
    set(
        &mut script,
        &[("p", "limit cpus:1"), ("p/q/x", "guarantee cpus:2")],
        true,
    );
    script.expect(&expect![[r#"
        reply: RolesRefused(Twice("a"))
        reply: RolesRefused(LimitBelowGuarantee { role: "b", kind: Cpu, limit: 1000, guarantee: 2000 })
        reply: RolesRefused(ExceedsCluster { kind: Cpu, guaranteed: 5000, total: 4000 })
        reply: RolesRefused(ChildrenExceedParent { role: "p", kind: Cpu, guaranteed: 2000, what: "guarantee", own: 1000 })
        reply: RolesRefused(ChildrenExceedParent { role: "p", kind: Cpu, guaranteed: 2000, what: "limit", own: 1000 })
    "#]]);
    let refusal = RoleRefusal::ExceedsCluster {
        kind: nesos_types::resources::Scalar::Memory,
        guaranteed: 8 << 30,
        total: 4 << 30,
    };
    let said = refusal.to_string();
    assert!(said.contains("8GiB mem") && said.contains("4GiB"), "{said}");
}

/// A role that may have 2 CPUs and uses them on the first of some agents, and then another master.
fn restarted_with_a_limit(agents: u64) -> Script {
    let mut script = Script::new();
    set(&mut script, &[("a", "limit cpus:2")], false);
    subscribe(&mut script, 1, "a");
    script.register(10, "host", res(2, 2048));
    script.launch(1, &[script.last_offer()], &[task("t", res(2, 2048))]);
    for connection in 11..10 + agents {
        script.register(connection, "host", res(2, 2048));
    }
    script.restart();
    let info = FrameworkInfo::new("a", [role("a")]);
    script.subscribe_as(3, Some(script.frameworks[0]), info);
    script.skip();
    script
}

/// Agents come back, by their place.
fn come_back(script: &mut Script, agents: std::ops::Range<usize>) {
    for at in agents {
        let brought = AgentTask {
            role: role("a"),
            ..script.brought("t", res(2, 2048), TaskState::Running)
        };
        let tasks = if at == 0 { vec![brought] } else { vec![] };
        let agent = Some(script.agents[at]);
        script.register_as(20 + at as u64, agent, info("host", res(2, 2048)), tasks);
    }
    script.pass(seconds(2));
}

#[test]
fn a_limit_holds_although_a_new_master_hears_of_what_is_used_late() {
    let mut script = restarted_with_a_limit(2);
    come_back(&mut script, 1..2);
    assert!(
        !script.said("Offers"),
        "the other agent may run tasks of it"
    );
    let blocked = |script: &Script| {
        let explanation = script.master.explain(script.frameworks[0]);
        let groups = explanation.roles[0].groups.iter();
        groups.map(|it| it.blocked.clone()).collect::<Vec<_>>()
    };
    let unknown = [Blocked::AgentRecovered, Blocked::QuotaUnknown];
    assert_eq!(blocked(&script), unknown);
    subscribe(&mut script, 4, "b");
    assert!(
        script.said("4< Offers"),
        "who has no quota waits for nobody"
    );
    decline(&mut script, 4);
    script.skip();
    come_back(&mut script, 0..1);
    assert!(!script.said("Offers"));
    let limit = Blocked::QuotaLimit { role: role("a") };
    assert_eq!(blocked(&script), [Blocked::Allocated, limit]);
}

#[test]
fn a_quota_waits_for_four_fifths_of_the_agents_and_not_for_ever() {
    let mut script = restarted_with_a_limit(5);
    come_back(&mut script, 1..4);
    assert!(!script.said("Offers"));
    come_back(&mut script, 4..5);
    assert!(script.said("3< Offers"), "four of five are back");

    let mut script = restarted_with_a_limit(2);
    come_back(&mut script, 1..2);
    script.pass_alive(seconds(590), &[3], &[21]);
    assert!(!script.said("Offers"));
    script.pass_alive(seconds(10), &[3], &[21]);
    assert!(script.said("3< Offers"), "the other agent is given up");
}

#[test]
fn by_priority_the_higher_role_comes_first_whatever_it_holds() {
    let mut script = Script::with(MasterConfig {
        policy: BuiltInPolicy::Priority,
        ..MasterConfig::default()
    });
    subscribe(&mut script, 1, "low");
    subscribe(&mut script, 3, "high");
    set(&mut script, &[("high", "priority 7")], false);
    for host in 0..3 {
        script.register(10 + host, "host", res(1, 1024));
    }
    script.skip();
    let snapshot = script.master.snapshot();
    let roles: Vec<_> = snapshot
        .offers
        .iter()
        .map(|offer| offer.role.as_str())
        .collect();
    assert_eq!(roles, ["high"; 3]);
    // What the higher one turns down goes to the lower one.
    decline(&mut script, 3);
    let snapshot = script.master.snapshot();
    let low = snapshot
        .offers
        .iter()
        .filter(|offer| offer.role == role("low"));
    assert_eq!(low.count(), 1);
}

/// Two roles, of which `gpu` holds every GPU and `cpu` some CPUs; then one more agent comes.
fn whose_is_the_next(excluded: &[&str]) -> String {
    let excluded = excluded.iter().map(|name| Scalar::named(name));
    let mut script = Script::with(MasterConfig {
        fair_sharing_excluded: excluded.collect(),
        ..MasterConfig::default()
    });
    subscribe(&mut script, 1, "gpu");
    script.register(10, "gpus", res(1, 1024).with_custom("gpus", 4000));
    subscribe(&mut script, 2, "cpu");
    script.register(11, "cpus", res(4, 4096));
    script.register(12, "next", res(5, 5120));
    let snapshot = script.master.snapshot();
    let next = snapshot
        .offers
        .iter()
        .find(|offer| offer.resources.cpu_milli == 5000);
    next.expect("it is offered").role.to_string()
}

#[test]
fn what_is_excluded_counts_for_no_share() {
    assert_eq!(
        whose_is_the_next(&[]),
        "cpu",
        "all GPUs are most of anything"
    );
    assert_eq!(whose_is_the_next(&["gpus"]), "gpu");
    assert_eq!(whose_is_the_next(&["cpus", "mem"]), "cpu");
}

#[test]
fn where_everything_is_excluded_turns_alternate_and_no_share_is_shown() {
    let mut script = Script::with(MasterConfig {
        fair_sharing_excluded: ["cpus", "mem"].map(Scalar::named).into(),
        ..MasterConfig::default()
    });
    subscribe(&mut script, 1, "a");
    subscribe(&mut script, 2, "b");
    let mut sizes = [4, 1, 1, 4].into_iter();
    for host in 10..14 {
        script.register(host, "host", res(sizes.next().expect("a size"), 1024));
    }
    let snapshot = script.master.snapshot();
    let count = |name: &str| {
        let of = snapshot
            .offers
            .iter()
            .filter(|offer| offer.role == role(name));
        of.count()
    };
    assert_eq!((count("a"), count("b")), (2, 2));
    assert!(snapshot.roles.iter().all(|view| view.dominant_share == 0.0));
    assert!(
        snapshot
            .frameworks
            .iter()
            .all(|view| view.dominant_share == 0.0)
    );
}

#[test]
fn quotas_go_by_what_shares_leave_out() {
    let mut script = Script::with(MasterConfig {
        fair_sharing_excluded: ["cpus"].map(Scalar::named).into(),
        ..MasterConfig::default()
    });
    set(&mut script, &[("a", "limit cpus:3")], false);
    subscribe(&mut script, 1, "a");
    script.register(10, "one", res(4, 4096));
    let snapshot = script.master.snapshot();
    assert_eq!(snapshot.offers[0].resources.cpu_milli, 3000);
    set(&mut script, &[("b", "guarantee cpus:5")], false);
    assert!(script.said("ExceedsCluster"));
}
