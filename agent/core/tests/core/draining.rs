//! Leaving the cluster for good.

use std::time::Duration;

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_types::task::TaskState;

use crate::rig::{Rig, config, digest, task};

fn shutdown() -> Event {
    Event::Shutdown {
        grace: Duration::from_secs(1),
    }
}

#[test]
fn an_idle_agent_leaves_at_once() {
    let mut rig = Rig::warm(config());
    expect![[r#"
        master <- unregister
        discard cell-0
        stop: Left { graceful: true, tasks_left: 0, updates_left: 0 }
    "#]]
    .assert_eq(&rig.event(shutdown()));
    rig.commit();
    assert!(rig.disk.is_empty());
}

#[test]
fn tasks_are_killed_and_their_ends_heard_first() {
    let mut rig = Rig::warm(config());
    let mut waits = task("waits");
    waits.bundle = digest(2);
    rig.launch([task("runs"), waits]);
    rig.ack("waits");
    expect![[r#"
        cell-0 <- kill runs within 1s
        master <- runs killing/AgentDraining, latest killing "the guest has 1s to end by itself"
        master <- waits killed/AgentDraining, latest killed "the task was killed before its guest started"
    "#]].assert_eq(&rig.event(shutdown()));
    expect![[r#"
        master <- late dropped/AgentDraining, latest dropped "the agent is shutting down"
    "#]]
    .assert_eq(&rig.launch([task("late")]));
    rig.ack("runs");
    expect![[r#"
        master <- runs killed/AgentDraining, latest killed
    "#]]
    .assert_eq(&rig.status(0, "runs", TaskState::Killed));
    rig.ack("runs");
    rig.ack("late");
    expect![[r#"
        master <- unregister
        discard cell-0
        stop: Left { graceful: true, tasks_left: 0, updates_left: 0 }
    "#]]
    .assert_eq(&rig.ack("waits"));
}

#[test]
fn the_grace_is_not_for_ever() {
    let mut rig = Rig::warm(config());
    rig.launch([task("stubborn")]);
    rig.event(shutdown());
    expect![[r#"
        master <- unregister
        discard cell-0
        stop: Left { graceful: false, tasks_left: 1, updates_left: 1 }
    "#]]
    .assert_eq(&rig.pass(Duration::from_secs(3)));
}

#[test]
fn without_a_master_nobody_is_waited_for() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.disconnected();
    rig.event(shutdown());
    expect![[r#"
        discard cell-0
        stop: Left { graceful: false, tasks_left: 0, updates_left: 2 }
    "#]]
    .assert_eq(&rig.status(0, "a", TaskState::Killed));
}
