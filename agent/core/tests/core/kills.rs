//! Kills, graces, and frameworks that are over.

use expect_test::expect;
use nesos_types::message::AgentCommand;
use nesos_types::task::{TaskReason, TaskState};

use crate::rig::{FRAMEWORK, Rig, config, digest, task};
use std::time::Duration;

#[test]
fn a_task_that_waits_is_killed_at_once_and_the_next_goes_on() {
    let mut rig = Rig::warm(config());
    let mut slow = task("slow");
    slow.bundle = digest(2);
    rig.launch([slow, task("behind")]);
    rig.ack("slow");
    expect![[r#"
        master <- slow killed/KilledDuringLaunch, latest killed "the task was killed before its guest started"
        cell-0 <- launch behind from /cache/1 in sandboxes/cell-0/fw/0/behind
    "#]].assert_eq(&rig.kill("slow", None));
}

#[test]
fn a_second_kill_only_shortens_the_grace() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    expect![[r#"
        cell-0 <- kill a within 60s
        master <- a killing/KillRequested, latest killing "the guest has 60s to end by itself"
    "#]]
    .assert_eq(&rig.kill("a", Some(60)));
    assert_eq!(rig.kill("a", Some(90)), "");
    expect![[r#"
        cell-0 <- kill a within 1s
    "#]]
    .assert_eq(&rig.kill("a", Some(1)));
    expect![[r#"
        cell-0 <- kill a within 0ns
    "#]]
    .assert_eq(&rig.kill("a", Some(0)));
}

#[test]
fn the_grace_is_the_calls_then_the_tasks_then_the_agents() {
    let mut rig = Rig::warm(config());
    let mut patient = task("patient");
    patient.kill_grace = Some(Duration::from_secs(20));
    rig.launch([patient, task("plain"), task("now")]);
    let sent: String = [("patient", None), ("plain", None), ("now", Some(0))]
        .map(|(id, grace)| rig.kill(id, grace))
        .concat();
    expect![[r#"
        cell-0 <- kill patient within 20s
        master <- patient killing/KillRequested, latest killing "the guest has 20s to end by itself"
        cell-0 <- kill plain within 3s
        master <- plain killing/KillRequested, latest killing "the guest has 3s to end by itself"
        cell-0 <- kill now within 0ns
    "#]]
    .assert_eq(&sent);
}

#[test]
fn a_killed_task_ends_as_killed_and_never_runs_again() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a"), task("b"), task("c")]);
    for id in ["a", "b", "c"] {
        rig.kill(id, None);
        assert_eq!(rig.status(0, id, TaskState::Running), "");
        rig.ack(id);
    }
    let ends = [
        ("a", TaskState::Finished, Some(TaskReason::Exited)),
        ("b", TaskState::Failed, Some(TaskReason::Exited)),
        ("c", TaskState::Failed, Some(TaskReason::Trap)),
    ];
    let ends = ends.map(|(id, state, reason)| rig.status_because(0, id, state, reason));
    expect![[r#"
        master <- a killed/KillRequested, latest killed
        master <- b killed/KillRequested, latest killed
        master <- c failed/Trap, latest failed
    "#]]
    .assert_eq(&ends.concat());
}

#[test]
fn killing_what_never_was_here_is_answered_until_it_is_heard() {
    let mut rig = Rig::warm(config());
    expect![[r#"
        master <- nobody dropped/TaskUnknown, latest dropped "the agent was never given the task"
    "#]]
    .assert_eq(&rig.kill("nobody", None));
    expect![[r#"
        after 10s
        master <- nobody dropped/TaskUnknown, latest dropped "the agent was never given the task"
    "#]]
    .assert_eq(&rig.tick());
    assert_eq!(rig.ack("nobody"), "");
    assert_eq!(rig.state("nobody"), None);
    assert_eq!(rig.commit(), "");
}

#[test]
fn a_framework_that_is_over_hears_nothing_more() {
    let mut rig = Rig::warm(config());
    let mut waiting = task("waiting");
    waiting.bundle = digest(2);
    rig.launch([task("runs"), task("ended"), waiting]);
    rig.status(0, "ended", TaskState::Finished);
    expect![[r#"
        cell-0 <- kill runs within 3s
        cell-0 <- acknowledge ended up to 1
    "#]]
    .assert_eq(&rig.command(AgentCommand::ShutdownFramework(FRAMEWORK)));
    expect![[r#"
        cell-0 <- acknowledge runs up to 1
    "#]]
    .assert_eq(&rig.status(0, "runs", TaskState::Killed));
    assert_eq!(rig.agent.snapshot().tasks, []);
    assert!(rig.agent.snapshot().used.is_empty());
}
