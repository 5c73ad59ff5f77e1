//! Status updates: one in flight, repeated, acknowledged, checkpointed behind.

use expect_test::expect;
use nesos_types::message::AgentCommand;
use nesos_types::task::TaskState;

use crate::rig::{Rig, config, key, task};

#[test]
fn only_the_head_is_in_flight_and_it_is_repeated() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    assert_eq!(rig.status(0, "a", TaskState::Finished), "");
    expect![[r#"
        after 500ms
        master <- a running, latest finished
    "#]]
    .assert_eq(&rig.tick());
    expect![[r#"
        after 20s
        master <- a running, latest finished
    "#]]
    .assert_eq(&rig.tick());
    expect![[r#"
        master <- a finished, latest finished
    "#]]
    .assert_eq(&rig.ack("a"));
    assert_eq!(rig.ack("a"), "cell-0 <- acknowledge a up to 2\n");
}

#[test]
fn an_acknowledgement_of_another_status_is_ignored() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    let old = rig.in_flight[&key("a")];
    rig.ack("a");
    rig.status(0, "a", TaskState::Finished);
    let again = AgentCommand::Acknowledge {
        key: key("a"),
        update: old,
    };
    assert_eq!(rig.command(again), "");
    assert_eq!(rig.agent.stats().acknowledgements_ignored, 1);
    assert_eq!(rig.state("a"), Some(TaskState::Finished));
}

#[test]
fn a_cell_hears_of_its_statuses_after_the_commit() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    expect![[r#"
        put task a
        cell-0 <- acknowledge a up to 1
    "#]]
    .assert_eq(&rig.commit());
    let repeated = rig.repeat_status(0, "a", 1, TaskState::Running, None);
    assert_eq!(repeated, "cell-0 <- acknowledge a up to 1\n");
    rig.status(0, "a", TaskState::Finished);
    assert_eq!(rig.repeat_status(0, "a", 2, TaskState::Finished, None), "");
    expect![[r#"
        put task a
        cell-0 <- acknowledge a up to 2
    "#]]
    .assert_eq(&rig.commit());
    rig.ack("a");
    rig.ack("a");
    expect![[r#"
        delete task a
    "#]]
    .assert_eq(&rig.commit());
}

#[test]
fn a_task_that_came_and_went_is_never_written() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.status(0, "a", TaskState::Running);
    rig.ack("a");
    rig.status(0, "a", TaskState::Finished);
    assert_eq!(rig.ack("a"), "cell-0 <- acknowledge a up to 2\n");
    assert_eq!(rig.commit(), "");
    assert_eq!(rig.agent.stats().tasks_finished, 2);
}

#[test]
fn an_id_may_be_used_again_within_one_checkpoint() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    rig.commit();
    rig.status(0, "a", TaskState::Finished);
    rig.ack("a");
    let again = rig.launch([task("a")]);
    assert!(again.contains("/1/a"), "a directory of its own: {again}");
    assert_eq!(rig.commit(), "put task a\n");
}
