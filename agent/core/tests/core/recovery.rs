//! An agent process that starts from what a former one left.

use expect_test::expect;
use nesos_agent_core::{CellId, Event};
use nesos_types::task::TaskState;

use crate::rig::{Rig, config, task};

/// An agent with a running task, a finished one nobody has heard of, and one that waits.
fn former() -> Rig {
    let mut rig = Rig::warm(config());
    let mut waits = task("waits");
    waits.bundle = crate::rig::digest(2);
    rig.launch([task("runs"), task("ended"), waits]);
    rig.status(0, "runs", TaskState::Running);
    rig.ack("runs");
    rig.status(0, "ended", TaskState::Running);
    rig.status(0, "ended", TaskState::Finished);
    rig.commit();
    rig
}

#[test]
fn a_restart_changes_no_task() {
    let former = former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    expect![[r#"
        after 0ns
        connect cell-0
        fetch bundle 2
    "#]]
    .assert_eq(&rig.tick());
    let held = [("runs", TaskState::Running), ("ended", TaskState::Finished)];
    expect![[r#"
        connect master #1
    "#]]
    .assert_eq(&rig.hello(0, &held));
    expect![[r#"
        master <- register as known agent with [runs running (-), ended finished (running), waits starting (starting)]
    "#]].assert_eq(&rig.connected());
    expect![[r#"
        master <- ended running, latest finished
        master <- waits starting, latest starting
    "#]]
    .assert_eq(&rig.registered());
    expect![[r#"
        cell-0 <- launch waits from /cache/2 in sandboxes/cell-0/fw/0/waits
    "#]]
    .assert_eq(&rig.ready(2));
}

/// An agent whose task is over for everybody, while the disk says that it runs.
fn ahead_of_its_disk() -> Rig {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    rig.commit();
    rig.ack("a");
    rig.status(0, "a", TaskState::Finished);
    assert_eq!(rig.ack("a"), "", "the cell keeps it");
    assert_eq!(rig.state("a"), None);
    rig
}

#[test]
fn a_cell_keeps_how_a_task_ended_until_its_record_is_deleted() {
    let mut rig = ahead_of_its_disk();
    rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "reset".into(),
    });
    assert_eq!(rig.hello(0, &[("a", TaskState::Finished)]), "");
    let again = rig.repeat_status(0, "a", 2, TaskState::Finished, None);
    assert_eq!(again, "");
    expect![[r#"
        delete task a
        cell-0 <- acknowledge a up to 2
    "#]]
    .assert_eq(&rig.commit());
    assert_eq!(
        rig.repeat_status(0, "a", 2, TaskState::Finished, None),
        "cell-0 <- acknowledge a up to 2\n"
    );
}

#[test]
fn an_agent_that_is_behind_its_cell_is_told_how_its_task_ended() {
    let former = ahead_of_its_disk();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[("a", TaskState::Finished)]);
    rig.repeat_status(0, "a", 2, TaskState::Finished, None);
    rig.connected();
    expect![[r#"
        master <- a running, latest finished
    "#]]
    .assert_eq(&rig.registered());
    expect![[r#"
        master <- a finished, latest finished
    "#]]
    .assert_eq(&rig.ack("a"));
}

#[test]
fn a_cell_forgets_a_task_before_another_of_its_name_comes() {
    let mut rig = ahead_of_its_disk();
    expect![[r#"
        cell-0 <- acknowledge a up to 2
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/1/a
    "#]]
    .assert_eq(&rig.launch([task("a")]));
    let after = rig.commit();
    assert!(!after.contains("acknowledge"), "{after}");
}

#[test]
fn what_the_cell_no_longer_has_is_gone() {
    let former = former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[]);
    assert_eq!(rig.state("runs"), Some(TaskState::Gone));
    assert_eq!(rig.state("ended"), Some(TaskState::Finished));
    rig.connected();
    expect![[r#"
        master <- runs gone/CellTerminated, latest gone "the cell no longer has the task's sandbox"
        master <- ended running, latest finished
        master <- waits starting, latest starting
    "#]]
    .assert_eq(&rig.registered());
}

#[test]
fn a_cell_that_does_not_come_back_fails_its_tasks() {
    let former = former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    expect![[r#"
        discard cell-0
        connect master #1
    "#]]
    .assert_eq(&rig.event(Event::CellFailed {
        cell: CellId(0),
        message: "connection refused".into(),
    }));
    assert_eq!(rig.state("runs"), Some(TaskState::Failed));
}

/// The checkpoint is written behind the launches: what it has as waiting may have run in a cell that is gone.
#[test]
fn a_task_that_may_have_begun_is_not_launched_again() {
    let former = former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.event(Event::CellFailed {
        cell: CellId(0),
        message: "connection refused".into(),
    });
    assert_eq!(rig.state("waits"), Some(TaskState::Gone));

    let former = self::former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    let held = [("runs", TaskState::Running), ("ended", TaskState::Finished)];
    rig.hello(0, &held);
    rig.event(Event::CellFailed {
        cell: CellId(0),
        message: "killed by signal 9".into(),
    });
    assert_eq!(rig.state("waits"), Some(TaskState::Starting));
}

#[test]
fn nobody_waits_for_ever_for_a_cell() {
    let former = former();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    expect![[r#"
        after 15s
        discard cell-0
        connect master #1
    "#]]
    .assert_eq(&rig.tick());
}

#[test]
fn a_launch_that_was_not_written_down_is_adopted() {
    let mut former = Rig::warm(config());
    former.launch([task("a"), task("b")]);
    former.status(0, "a", TaskState::Running);
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[("a", TaskState::Running), ("b", TaskState::Finished)]);
    assert_eq!(rig.agent.stats().tasks_adopted, 2);
    assert_eq!(rig.agent.snapshot().used.cpu_milli, 2000);
    expect![[r#"
        master <- register as known agent with [a running (-), b staging (-)]
    "#]]
    .assert_eq(&rig.connected());
    rig.registered();
    expect![[r#"
        master <- b finished, latest finished
    "#]]
    .assert_eq(&rig.repeat_status(0, "b", 1, TaskState::Finished, None));
    expect![[r#"
        put task a
        put task b
        cell-0 <- acknowledge b up to 1
    "#]]
    .assert_eq(&rig.commit());
}

#[test]
fn a_launch_that_never_arrived_is_repeated() {
    let mut rig = Rig::warm(config());
    rig.launch([task("lost"), task("arrived")]);
    rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "reset".into(),
    });
    expect![[r#"
        cell-0 <- launch lost from /cache/1 in sandboxes/cell-0/fw/1/lost
    "#]]
    .assert_eq(&rig.hello(0, &[("arrived", TaskState::Running)]));
}

#[test]
fn a_kill_that_was_lost_is_repeated() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "reset".into(),
    });
    rig.kill("a", Some(5));
    assert_eq!(
        rig.hello(0, &[("a", TaskState::Running)]),
        "cell-0 <- kill a within 5s\n"
    );
}

#[test]
fn a_cell_is_not_used_before_it_is_written_down() {
    let mut rig = Rig::new(config());
    rig.register();
    rig.launch([task("a")]);
    rig.ready(1);
    assert_eq!(rig.hello(0, &[]), "");
    let after = rig.commit();
    assert!(after.contains("cell-0 <- launch a"), "{after}");
}

#[test]
fn nothing_survives_a_reboot() {
    let former = former();
    let mut config = config();
    config.boot_id = "boot-2".into();
    let mut rig = Rig::recover(config, former.now, former.disk);
    expect![[r#"
        after 0ns
        connect master #1
    "#]]
    .assert_eq(&rig.tick());
    rig.connected();
    expect![[r#"
        master <- runs gone/AgentRestarted, latest gone "the agent's host was restarted"
        master <- ended running, latest finished
        master <- waits starting, latest dropped
    "#]]
    .assert_eq(&rig.registered());
    expect![[r#"
        put task runs
        put task waits
        put agent
        delete cell-0
    "#]]
    .assert_eq(&rig.commit());
}
