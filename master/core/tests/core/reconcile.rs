//! Reconciliation, case by case.

use expect_test::expect;
use nesos_types::ids::AgentId;
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::task::TaskState;

use crate::script::{Script, id, info, res, seconds, task};

fn ask(script: &mut Script, connection: u64, name: &str, agent: Option<AgentId>) {
    let tasks = vec![(id(name), agent)];
    script.call(connection, SchedulerCall::Reconcile { tasks });
}

#[test]
fn a_known_task_answers_with_its_unacknowledged_state() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.skip();
    ask(&mut script, 1, "t1", None);
    script.update_ahead(2, "t1", TaskState::Starting, 1, TaskState::Running);
    script.skip();
    ask(&mut script, 1, "t1", None);
    script.acknowledge(1, "t1", 1);
    ask(&mut script, 1, "t1", None);
    script.expect(&expect![[r#"
        1< Update t1 is starting (Reconciliation) on ag1
        2< Acknowledge t1 #1
        1< Update t1 is running (Reconciliation) on ag1
    "#]]);
}

#[test]
fn an_unknown_task_answers_by_what_became_of_its_agent() {
    let mut script = Script::ready();
    script.register(3, "leaves", res(1, 64));
    script.say(3, AgentEvent::Unregister);
    script.register(4, "silent", res(1, 64));
    script.pass_alive(seconds(80), &[1], &[2]);
    script.skip();
    let [present, left, lost] = script.agents[..] else {
        panic!("three agents");
    };
    ask(&mut script, 1, "x", Some(present));
    ask(&mut script, 1, "x", Some(lost));
    ask(&mut script, 1, "x", Some(left));
    ask(&mut script, 1, "x", Some(AgentId(1)));
    ask(&mut script, 1, "x", None);
    script.expect(&expect![[r#"
        1< Update x is gone (Reconciliation) on ag1: its agent is there and does not have it
        1< Update x is unreachable (Reconciliation) on ag3: its agent has been unreachable since 1075.000000
        1< Update x is gone (Reconciliation) on ag2: its agent left at 1000.000000
        1< Update x is unknown (Reconciliation) on ag4: the task is not known
        1< Update x is unknown (Reconciliation): the task is not known
    "#]]);
}

#[test]
fn nothing_is_said_while_an_agent_may_still_bring_the_task() {
    let mut script = Script::ready();
    let agent = script.agents[0];
    script.restart();
    let info_a =
        nesos_types::framework::FrameworkInfo::new("a", [nesos_types::role::Role::default_role()]);
    script.subscribe_as(3, Some(script.frameworks[0]), info_a);
    script.skip();
    ask(&mut script, 3, "t1", Some(agent));
    ask(&mut script, 3, "t1", None);
    ask(&mut script, 3, "t1", Some(AgentId(1)));
    script.expect(&expect![[r#"
        3< Update t1 is unknown (Reconciliation) on ag2: the task is not known
    "#]]);
    let tasks = vec![script.brought("t1", res(4, 4096), TaskState::Running)];
    script.register_as(4, Some(agent), info("host", res(4, 4096)), tasks);
    script.skip();
    ask(&mut script, 3, "t1", None);
    ask(&mut script, 3, "t2", None);
    script.expect(&expect![[r#"
        3< Update t1 is running (Reconciliation) on ag1
        3< Update t2 is unknown (Reconciliation): the task is not known
    "#]]);
}

#[test]
fn implicit_reconciliation_tells_of_all_that_is_held() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(
        1,
        &[offer],
        &[task("t1", res(2, 64)), task("t2", res(2, 64))],
    );
    script.update(2, "t2", TaskState::Failed, 1);
    script.skip();
    script.call(1, SchedulerCall::Reconcile { tasks: vec![] });
    script.expect(&expect![[r#"
        1< Update t1 is staging (Reconciliation) on ag1
        1< Update t2 is failed (Reconciliation) on ag1
    "#]]);
}
