//! The agent and its master.

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_types::ids::AgentId;
use nesos_types::message::{AgentCommand, Refusal};
use nesos_types::task::TaskState;

use crate::rig::{Rig, config, key, task};
use std::time::Duration;

#[test]
fn a_new_agent_registers_and_answers_pings() {
    let mut rig = Rig::new(config());
    expect![[r#"
        after 0ns
        connect master #1
    "#]]
    .assert_eq(&rig.tick());
    expect![[r#"
        master <- register as new agent with []
    "#]]
    .assert_eq(&rig.connected());
    assert_eq!(rig.registered(), "");
    expect![[r#"
        master <- pong
    "#]]
    .assert_eq(&rig.command(AgentCommand::Ping));
    expect![[r#"
        put agent
    "#]]
    .assert_eq(&rig.commit());
}

/// Fails again and again, having connected or not.
fn pauses_grow(connects: bool, longest: Duration) {
    let mut rig = Rig::new(config());
    rig.tick();
    let mut pauses = Vec::new();
    for _ in 0..14 {
        if connects {
            rig.connected();
        }
        rig.disconnected();
        let before = rig.now;
        rig.tick();
        pauses.push(rig.now.since(before));
    }
    let mut limit = rig.config.register_backoff_min;
    for pause in &pauses {
        assert!(*pause >= limit / 2 && *pause <= limit, "{pauses:?}");
        limit = (limit * 2).min(longest);
    }
}

#[test]
fn failures_are_followed_by_growing_pauses() {
    pauses_grow(true, config().register_backoff_max);
}

#[test]
fn a_master_that_begins_to_listen_is_found_within_a_second() {
    pauses_grow(false, Duration::from_secs(1));
}

#[test]
fn a_connection_that_says_nothing_is_given_up() {
    let mut rig = Rig::new(config());
    rig.tick();
    rig.connected();
    expect![[r#"
        after 10s
        disconnect master
    "#]]
    .assert_eq(&rig.tick());
    expect![[r#"
        after 57.889ms
        connect master #2
    "#]]
    .assert_eq(&rig.tick());
}

#[test]
fn a_silent_master_is_gone_after_five_pings() {
    let mut rig = Rig::new(config());
    rig.register();
    rig.pass(Duration::from_secs(74));
    rig.command(AgentCommand::Ping);
    assert_eq!(rig.pass(Duration::from_secs(74)), "");
    expect![[r#"
        disconnect master
    "#]]
    .assert_eq(&rig.pass(Duration::from_secs(1)));
}

#[test]
fn coming_back_brings_the_tasks_and_resumes_their_updates() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a"), task("b")]);
    rig.status(0, "a", TaskState::Running);
    rig.status(0, "b", TaskState::Running);
    rig.ack("b");
    assert_eq!(rig.disconnected(), "");
    assert_eq!(rig.status(0, "a", TaskState::Finished), "");
    rig.tick();
    expect![[r#"
        master <- register as known agent with [a finished (running), b running (-)]
    "#]]
    .assert_eq(&rig.connected());
    expect![[r#"
        master <- a running, latest finished
    "#]]
    .assert_eq(&rig.registered());
}

#[test]
fn what_an_older_connection_says_is_ignored() {
    let mut rig = Rig::warm(config());
    let old = Event::MasterDisconnected {
        connection: 0,
        message: String::new(),
    };
    assert_eq!(rig.event(old), "");
    assert!(rig.agent.snapshot().registered);
    let old = Event::MasterCommand {
        connection: 0,
        command: AgentCommand::Ping,
    };
    assert_eq!(rig.event(old), "");
}

#[test]
fn the_master_asks_about_tasks() {
    let mut rig = Rig::warm(config());
    rig.launch([task("quiet"), task("unheard")]);
    rig.status(0, "quiet", TaskState::Running);
    rig.ack("quiet");
    rig.status(0, "unheard", TaskState::Running);
    let keys = ["quiet", "unheard", "never"].map(key).to_vec();
    expect![[r#"
        master <- quiet running/Reconciliation, latest running (unasked)
        master <- unheard running, latest running
        master <- never dropped/TaskUnknown, latest dropped "the agent was never given the task"
    "#]]
    .assert_eq(&rig.command(AgentCommand::Reconcile(keys)));
}

#[test]
fn a_removed_agent_ends_everything() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.commit();
    let agent = AgentId(0xa1);
    let refusal = Refusal::AgentRemoved { agent };
    expect![[r#"
        disconnect master
        discard cell-0
        stop: Refused(AgentRemoved { agent: ag-000000000000000000000000000000a1 })
    "#]]
    .assert_eq(&rig.command(AgentCommand::Refused(refusal)));
    rig.commit();
    assert!(rig.disk.is_empty());
    assert_eq!(rig.agent.next_deadline(), None);
}

#[test]
fn a_replaced_agent_leaves_the_cells_to_the_other() {
    let mut rig = Rig::warm(config());
    let agent = AgentId(0xa1);
    let refusal = Refusal::AgentReplaced { agent };
    expect![[r#"
        disconnect master
        stop: Refused(AgentReplaced { agent: ag-000000000000000000000000000000a1 })
    "#]]
    .assert_eq(&rig.command(AgentCommand::Refused(refusal)));
}
