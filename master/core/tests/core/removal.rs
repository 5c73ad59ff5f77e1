//! How many agents may be taken for lost, and how fast.

use std::num::NonZeroU32;

use expect_test::expect;
use nesos_master_core::snapshot::{AgentStanding, Overdue};
use nesos_master_core::{AgentOrder, MasterConfig, OperatorRequest, RemovalRate};
use nesos_types::message::AgentEvent;

use crate::script::{Script, info, res, seconds};

const AGENTS: u64 = 4;

/// One agent a minute.
fn slowly() -> MasterConfig {
    MasterConfig {
        agent_removal_rate: Some(RemovalRate {
            agents: NonZeroU32::new(2).expect("not zero"),
            per: seconds(120),
        }),
        ..MasterConfig::default()
    }
}

fn half() -> MasterConfig {
    MasterConfig {
        recovery_agent_removal_limit: 50,
        ..MasterConfig::default()
    }
}

/// A framework on connection 1 and agents on those from 10.
fn cluster(config: MasterConfig) -> Script {
    let mut script = Script::with(config);
    script.subscribe(1, "a");
    for agent in 0..AGENTS {
        script.register(10 + agent, &format!("host{agent}"), res(1, 1024));
    }
    script.skip();
    script
}

fn standing(script: &Script) -> Vec<(AgentStanding, Option<&'static str>)> {
    let agents = script.master.snapshot().agents;
    let views = agents.iter().map(|agent| {
        let overdue = agent.overdue.map(|overdue| match overdue {
            Overdue::Waits { .. } => "waits",
            Overdue::Held => "held",
        });
        (agent.standing, overdue)
    });
    views.collect()
}

fn count(script: &Script, wanted: AgentStanding) -> usize {
    let all = standing(script);
    all.iter()
        .filter(|(standing, _)| *standing == wanted)
        .count()
}

#[test]
fn without_a_limit_all_that_are_silent_are_lost_at_once() {
    let mut script = cluster(MasterConfig::default());
    script.pass_alive(seconds(80), &[1], &[]);
    assert_eq!(count(&script, AgentStanding::Unreachable), 4);
    assert_eq!(script.master.stats().removals_delayed, 0);
}

#[test]
fn agents_that_are_silent_are_lost_one_after_another() {
    let mut script = cluster(slowly());
    script.pass_alive(seconds(80), &[1], &[]);
    assert_eq!(count(&script, AgentStanding::Unreachable), 1);
    assert_eq!(script.master.stats().removals_delayed, 3);
    for lost in 2..=4 {
        script.pass_alive(seconds(60), &[1], &[]);
        assert_eq!(count(&script, AgentStanding::Unreachable), lost);
    }
    script.pass_alive(seconds(600), &[1], &[]);
    assert_eq!(script.master.stats().agents_lost, 4);
    assert_eq!(script.master.stats().removals_cancelled, 0);
}

#[test]
fn one_that_answers_while_it_waits_stays() {
    let mut script = cluster(slowly());
    script.pass_alive(seconds(80), &[1], &[]);
    for connection in 10..10 + AGENTS {
        script.say(connection, AgentEvent::Pong);
    }
    assert!(
        standing(&script)
            .iter()
            .all(|(_, overdue)| overdue.is_none())
    );
    let alive: Vec<_> = (10..10 + AGENTS).collect();
    script.pass_alive(seconds(600), &[1], &alive);
    assert_eq!(count(&script, AgentStanding::Active), 3);
    assert_eq!(script.master.stats().removals_cancelled, 3);
}

#[test]
fn one_that_waits_is_still_pinged_and_its_offers_stand() {
    let mut script = cluster(slowly());
    script.pass_alive(seconds(75), &[1], &[]);
    script.skip();
    script.pass(seconds(15));
    let said = script.take();
    let pings = said.lines().filter(|line| line.ends_with(" Ping"));
    assert_eq!(pings.count(), 3, "{said}");
    assert!(!said.contains("Rescind"), "{said}");
}

#[test]
fn one_that_comes_back_while_it_waits_stays() {
    let mut script = cluster(slowly());
    for connection in 10..10 + AGENTS {
        script.hang_up_agent(connection);
    }
    script.pass_alive(seconds(600), &[1], &[]);
    assert_eq!(count(&script, AgentStanding::Unreachable), 1);
    let waiting = script.master.snapshot().agents;
    let waiting = waiting.iter().find(|agent| agent.overdue.is_some());
    let (id, host) = waiting
        .map(|agent| (agent.id, agent.hostname.clone()))
        .expect("one waits");
    script.register_as(20, Some(id), info(&host, res(1, 1024)), Vec::new());
    script.pass_alive(seconds(600), &[1], &[20]);
    assert_eq!(count(&script, AgentStanding::Unreachable), 3);
    assert_eq!(count(&script, AgentStanding::Active), 1);
    assert_eq!(script.master.stats().removals_cancelled, 1);
}

#[test]
fn after_a_restart_the_same_rate_holds() {
    let mut script = cluster(slowly());
    script.restart();
    script.pass(seconds(600));
    assert_eq!(count(&script, AgentStanding::Unreachable), 1);
    script.pass(seconds(59));
    assert_eq!(count(&script, AgentStanding::Unreachable), 1);
    script.pass(seconds(1));
    assert_eq!(count(&script, AgentStanding::Unreachable), 2);
    script.pass(seconds(120));
    assert_eq!(count(&script, AgentStanding::Unreachable), 4);
}

#[test]
fn after_a_restart_no_more_than_a_part_of_the_agents_is_lost() {
    let mut script = cluster(half());
    script.restart();
    script.skip();
    script.pass(seconds(600));
    assert_eq!(count(&script, AgentStanding::Unreachable), 2);
    assert_eq!(count(&script, AgentStanding::Recovered), 2);
    assert_eq!(script.master.stats().removals_held, 2);
    assert!(script.said("seen: 2 of 4 agents are lost, and no more will be"));
    script.pass(seconds(100_000));
    let held = |found: &&(AgentStanding, Option<&str>)| found.1 == Some("held");
    assert_eq!(standing(&script).iter().filter(held).count(), 2);
}

#[test]
fn the_limit_holds_for_those_that_wait_for_their_turn_as_well() {
    let mut script = cluster(MasterConfig {
        recovery_agent_removal_limit: 50,
        ..slowly()
    });
    script.restart();
    script.pass(seconds(100_000));
    assert_eq!(count(&script, AgentStanding::Unreachable), 2);
    assert_eq!(script.master.stats().removals_held, 2);
}

#[test]
fn a_master_that_has_reached_its_limit_goes_on_serving() {
    let mut script = cluster(half());
    script.restart();
    script.pass(seconds(601));
    script.subscribe(2, "b");
    script.skip();
    script.register(20, "new", res(2, 2048));
    assert!(script.said("Offers"), "new agents are offered");
    script.pass_alive(seconds(100), &[2], &[]);
    assert_eq!(
        count(&script, AgentStanding::Unreachable),
        3,
        "and can be lost"
    );
}

#[test]
fn an_agent_that_is_kept_may_come_back_or_be_gone() {
    let mut script = cluster(half());
    script.restart();
    script.pass(seconds(601));
    let agents = script.master.snapshot().agents;
    let held = agents
        .iter()
        .filter(|agent| agent.overdue == Some(Overdue::Held));
    let held: Vec<_> = held
        .map(|agent| (agent.id, agent.hostname.clone()))
        .collect();
    script.skip();
    let host = info(&held[0].1, res(1, 1024));
    script.register_as(20, Some(held[0].0), host, Vec::new());
    assert_eq!(count(&script, AgentStanding::Active), 1);
    let gone = OperatorRequest::OrderAgent {
        agent: held[1].0,
        order: AgentOrder::Gone,
    };
    script.ask(gone);
    assert_eq!(count(&script, AgentStanding::Recovered), 0);
}

#[test]
fn whoever_waits_is_told_that_agents_are_kept() {
    let mut script = cluster(half());
    script.restart();
    script.subscribe(3, "b");
    script.pass_alive(seconds(601), &[3], &[]);
    let framework = *script.frameworks.last().expect("it subscribed");
    let explanation = script.master.explain(framework);
    expect![[r#"AgentHeld x2"#]].assert_eq(
        &explanation.roles[0]
            .groups
            .iter()
            .map(|group| format!("{:?} x{}", group.blocked, group.agents.len()))
            .collect::<Vec<_>>()
            .join(", "),
    );
}

#[test]
fn a_quota_does_not_wait_for_agents_that_are_kept() {
    let mut script = cluster(MasterConfig {
        recovery_agent_removal_limit: 0,
        ..MasterConfig::default()
    });
    script.set_role("*", |change| {
        change.guarantee = Some("cpus:1".parse().expect("amounts"));
    });
    script.restart();
    script.subscribe(3, "b");
    script.register(20, "new", res(2, 2048));
    script.skip();
    script.pass_alive(seconds(590), &[3], &[20]);
    assert!(!script.said("Offers"), "what is used is not known yet");
    script.pass_alive(seconds(30), &[3], &[20]);
    assert!(script.said("Offers"), "their time is over");
}
