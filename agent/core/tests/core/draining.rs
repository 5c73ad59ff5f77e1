//! Leaving the cluster for good, and tasks that end because an operator has their agent drained.

use std::time::Duration;

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_types::message::AgentCommand;
use nesos_types::task::{TaskInfo, TaskReason, TaskState};

use crate::rig::{Rig, config, digest, key, task};

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

/// The master has the agent drained, and says how long this task may take at most.
fn drain(rig: &mut Rig, id: &str, most: Option<u64>) -> String {
    rig.command(AgentCommand::Kill {
        key: key(id),
        grace: most.map(Duration::from_secs),
        reason: TaskReason::AgentDraining,
    })
}

#[test]
fn a_drain_only_shortens_the_time_that_a_task_has() {
    let patient = TaskInfo {
        kill_grace: Some(Duration::from_secs(20)),
        ..task("patient")
    };
    let mut rig = Rig::warm(config());
    rig.launch([task("plain"), task("hasty"), patient]);
    let said = drain(&mut rig, "plain", Some(60));
    assert!(said.contains("kill plain within 3s"), "its own: {said}");
    let said = drain(&mut rig, "hasty", Some(1));
    assert!(said.contains("kill hasty within 1s"), "{said}");
    let said = drain(&mut rig, "patient", None);
    assert!(said.contains("kill patient within 20s"), "its own: {said}");
}

#[test]
fn a_drain_outlives_the_agents_process() {
    let mut former = Rig::warm(config());
    former.launch([task("t")]);
    former.status(0, "t", TaskState::Running);
    former.ack("t");
    drain(&mut former, "t", Some(5));
    former.commit();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[("t", TaskState::Running)]);
    rig.connected();
    rig.registered();
    rig.ack("t");
    let requested = Some(TaskReason::KillRequested);
    let said = rig.repeat_status(0, "t", 2, TaskState::Killed, requested);
    assert!(said.contains("t killed/AgentDraining"), "{said}");
}

#[test]
fn a_task_that_waits_for_its_bundle_is_drained_at_once() {
    let mut rig = Rig::warm(config());
    let mut waits = task("waits");
    waits.bundle = digest(2);
    rig.launch([waits]);
    rig.ack("waits");
    let said = drain(&mut rig, "waits", None);
    assert!(said.contains("waits killed/AgentDraining"), "{said}");
}
