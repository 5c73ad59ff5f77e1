//! Explanations: the first rule that blocks, agent by agent.

use expect_test::expect;
use nesos_master_core::{Blocked, BuiltInPolicy, MasterConfig, Precedence};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::Filters;
use nesos_types::role::Role;

use crate::script::{Script, res, seconds, task};

fn blocked(script: &Script, framework: usize) -> String {
    let id = script.frameworks[framework];
    let explanation = script.master.explain(id);
    let mut text = format!("{:?}", explanation.overall);
    for role in explanation.roles {
        for group in role.groups {
            text += &format!(
                "\n{}: {:?} x{}",
                role.role,
                group.blocked,
                group.agents.len()
            );
        }
    }
    // Ids differ only by the seed; who holds the offer is told by the test.
    for (i, id) in script.frameworks.iter().enumerate() {
        text = text.replace(&id.to_string(), &format!("fw{}", i + 1));
    }
    text
}

#[test]
fn every_rule_has_its_word() {
    let mut script = Script::new();
    let nobody = script.master.explain(FrameworkId(1)).overall;
    assert_eq!(nobody, Some(nesos_master_core::Blocked::FrameworkUnknown));

    script.subscribe(1, "a");
    expect!["Some(NoAgent)"].assert_eq(&blocked(&script, 0));

    script.register(10, "one", res(4, 4096));
    script.subscribe(2, "b");
    script.register(11, "full", res(1, 64));
    script.register(12, "away", res(1, 64));
    script.hang_up_agent(12);
    script.register(13, "crumbs", res(1, 80));
    for (offer, tasks) in [
        (script.offers[1], [task("t1", res(1, 64))]),
        (script.offers[3], [task("t2", res(1, 64))]),
    ] {
        for connection in [1, 2] {
            script.launch(connection, &[offer], &tasks);
        }
    }
    script.skip();
    expect![[r#"
        None
        *: AgentDisconnected { since: Time(1000000000) } x1
        *: OfferedToYou { since: Time(1000000000) } x1
        *: Allocated x1
        *: BelowMinimum x1"#]]
    .assert_eq(&blocked(&script, 0));
    expect![[r#"
        None
        *: AgentDisconnected { since: Time(1000000000) } x1
        *: OfferedTo { framework: fw1, since: Time(1000000000) } x1
        *: Allocated x1
        *: BelowMinimum x1"#]]
    .assert_eq(&blocked(&script, 1));

    let (offers, filters) = (vec![script.offers[0]], Filters::refuse_for(seconds(30)));
    script.call(1, SchedulerCall::Decline { offers, filters });
    expect![[r#"
        None
        *: AgentDisconnected { since: Time(1000000000) } x1
        *: OfferedTo { framework: fw2, since: Time(1000000000) } x1
        *: Allocated x1
        *: BelowMinimum x1"#]]
    .assert_eq(&blocked(&script, 0));

    script.call(2, SchedulerCall::Suppress { roles: [].into() });
    expect![[r#"
        None
        *: Suppressed x4"#]]
    .assert_eq(&blocked(&script, 1));

    script.hang_up_scheduler(1);
    expect![[r#"
        Some(FrameworkDisconnected)
        *: FrameworkDisconnected x4"#]]
    .assert_eq(&blocked(&script, 0));

    script.subscribe_as(5, None, FrameworkInfo::new("c", []));
    expect!["Some(NoRole)"].assert_eq(&blocked(&script, 2));
    script.skip();
}

#[test]
fn a_shape_that_wants_what_is_revocable_does_not_fit_into_anything_else() {
    let mut script = Script::new();
    let mut info = FrameworkInfo::new("a", [role("x")]);
    info.offer_filters.entry(role("x")).or_default().revocable = true;
    script.subscribe_as(1, None, info);
    script.register(2, "host", res(4, 4096));
    script.decline(1, script.last_offer(), Filters::refuse_for(seconds(3600)));
    let shape = res(1, 64).with_revocable_cpu();
    let explanation = script
        .master
        .explain_for(script.frameworks[0], Some(&shape));
    assert_eq!(
        explanation.roles[0].groups[0].blocked,
        Blocked::TooLittleFree
    );
}

#[test]
fn agents_of_a_recovered_master_are_waited_for() {
    let mut script = Script::ready();
    script.restart();
    let role = nesos_types::role::Role::default_role();
    let info = FrameworkInfo::new("a", [role]);
    script.subscribe_as(3, Some(script.frameworks[0]), info);
    expect![[r#"
        None
        *: AgentRecovered x1"#]]
    .assert_eq(&blocked(&script, 0));
    script.skip();
}

#[test]
fn a_shape_tells_apart_where_it_never_fits_and_where_it_does_not_fit_now() {
    let mut script = Script::new();
    script.register(2, "small", res(1, 1024));
    script.register(3, "large", res(8, 8192));
    script.subscribe(1, "a");
    let large = script.master.snapshot().offers;
    let large = large.iter().max_by_key(|offer| offer.resources.cpu_milli);
    let offer = large.expect("two offers").id;
    script.launch(1, &[offer], &[task("t", res(5, 1024))]);
    script.pass(seconds(6));
    let framework = script.frameworks[0];
    let shape = res(4, 1024);
    let explanation = script.master.explain_for(framework, Some(&shape));
    let rules: Vec<_> = explanation.roles[0]
        .groups
        .iter()
        .map(|group| &group.blocked)
        .collect();
    assert!(
        matches!(
            rules[..],
            [Blocked::AgentTooSmall, Blocked::OfferedToYou { .. }]
        ),
        "{rules:?}"
    );
}

/// A script in which offers are made a minute late, so that one can ask who will get them.
fn slow(policy: BuiltInPolicy) -> Script {
    Script::with(MasterConfig {
        policy,
        allocation_window: seconds(60),
        offer_timeout: None,
        ..MasterConfig::default()
    })
}

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

fn subscribe(script: &mut Script, connection: u64, name: &str) {
    script.subscribe_as(connection, None, FrameworkInfo::new(name, [role(name)]));
}

/// What the first role of a framework waits for.
fn waits_for(script: &Script, framework: usize) -> Blocked {
    let explanation = script.master.explain(script.frameworks[framework]);
    let groups = &explanation.roles[0].groups;
    let mut groups = groups.iter().map(|group| &group.blocked);
    groups.next_back().expect("there is an agent").clone()
}

fn behind(script: &Script, framework: usize, roles: [&str; 2], by: Precedence) -> Blocked {
    Blocked::Behind {
        framework: script.frameworks[framework],
        role: role(roles[0]),
        own_role: role(roles[1]),
        by,
    }
}

#[test]
fn who_comes_first_is_told_with_the_shares_where_the_paths_part() {
    let mut script = slow(BuiltInPolicy::Drf);
    subscribe(&mut script, 1, "a/x");
    script.register(10, "one", res(1, 1024));
    script.pass(seconds(60));
    subscribe(&mut script, 2, "b/y");
    script.register(11, "two", res(3, 3072));
    // A quarter of all is offered to a/x; the rest goes to the other root.
    let share = Precedence::Share {
        theirs: 0,
        own: 250_000,
    };
    assert_eq!(waits_for(&script, 0), behind(&script, 1, ["b", "a"], share));
    assert_eq!(waits_for(&script, 1), Blocked::NextInLine);
    // What was told is what happens.
    script.skip();
    script.pass(seconds(60));
    assert!(script.said("2< Offers") && !script.said("1< Offers"));
}

#[test]
fn equals_take_turns_and_who_refuses_is_not_in_the_way() {
    let mut script = slow(BuiltInPolicy::Drf);
    subscribe(&mut script, 1, "a");
    subscribe(&mut script, 2, "a");
    script.register(10, "one", res(1, 1024));
    let turn = Precedence::Turn { share: 0 };
    assert_eq!(waits_for(&script, 0), Blocked::NextInLine);
    assert_eq!(waits_for(&script, 1), behind(&script, 0, ["a", "a"], turn));
    script.pass(seconds(60));
    let (offers, filters) = (vec![script.last_offer()], Filters::refuse_for(seconds(900)));
    script.call(1, SchedulerCall::Decline { offers, filters });
    assert_eq!(waits_for(&script, 1), Blocked::NextInLine);
}

#[test]
fn a_higher_priority_is_told_as_such() {
    let mut script = slow(BuiltInPolicy::Priority);
    subscribe(&mut script, 1, "low");
    subscribe(&mut script, 2, "high");
    script.set_role("high", |change| change.priority = Some(7));
    script.register(10, "one", res(1, 1024));
    let priority = Precedence::Priority { theirs: 7, own: 0 };
    let roles = ["high", "low"];
    assert_eq!(waits_for(&script, 0), behind(&script, 1, roles, priority));
}

#[test]
fn a_guarantee_that_is_not_met_comes_first() {
    let mut script = slow(BuiltInPolicy::Drf);
    subscribe(&mut script, 1, "a");
    subscribe(&mut script, 2, "b");
    script.register(10, "one", res(4, 4096));
    let guarantee = "cpus:1;mem:1GiB".parse().ok();
    script.set_role("b", |change| change.guarantee = guarantee);
    let roles = ["b", "a"];
    let waits = waits_for(&script, 0);
    assert_eq!(waits, behind(&script, 1, roles, Precedence::Guarantee));
    assert_eq!(waits_for(&script, 1), Blocked::NextInLine);
}
