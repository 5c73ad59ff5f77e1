//! What operators order about agents.

use expect_test::expect;
use nesos_master_core::{AgentOrder, OperatorReply, OperatorRequest};
use nesos_types::agent::Drain;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, UpdateId};
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskReason, TaskState, TaskStatus};

use crate::script::{Script, id, info, res, seconds, task};

const DRAIN: AgentOrder = AgentOrder::Drain(Drain {
    grace: None,
    mark_gone: false,
});
const DRAIN_AND_GO: AgentOrder = AgentOrder::Drain(Drain {
    grace: None,
    mark_gone: true,
});

fn order(script: &mut Script, order: AgentOrder) -> OperatorReply {
    let agent = script.agents[0];
    script.ask(OperatorRequest::OrderAgent { agent, order })
}

/// One task runs; the rest of the agent is offered.
fn busy() -> Script {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.update(2, "t1", TaskState::Running, 1);
    script.acknowledge(1, "t1", 1);
    script.pass(seconds(6));
    script.skip();
    script
}

/// The agent has ended the task as it was told.
fn killed(script: &mut Script, task: &str, update: u128) {
    let mut status = TaskStatus::new(
        id(task),
        TaskState::Killed,
        StatusSource::Cell,
        script.now(),
    );
    status.reason = Some(TaskReason::AgentDraining);
    status.update = Some(UpdateId(update));
    status.agent = Some(script.agents[0]);
    let (framework, latest) = (script.frameworks[0], TaskState::Killed);
    script.say(
        2,
        AgentEvent::Update {
            framework,
            status,
            latest,
        },
    );
}

fn drained(script: &Script) -> bool {
    script.master.snapshot().agents[0].drained
}

#[test]
fn a_drain_is_written_down_and_ends_all_tasks() {
    let mut script = busy();
    assert_eq!(order(&mut script, DRAIN), OperatorReply::Done);
    script.expect(&expect![[r#"
        durable: ag1 is drained
        1< Rescind of2
        2< Kill t1 grace None (AgentDraining)
        reply: Done
    "#]]);
}

#[test]
fn an_agent_is_drained_once_the_last_end_is_acknowledged() {
    let mut script = busy();
    order(&mut script, DRAIN);
    killed(&mut script, "t1", 2);
    assert!(!drained(&script), "its scheduler has not acknowledged");
    script.acknowledge(1, "t1", 2);
    assert!(drained(&script));
    assert!(!script.said("Offers"), "nothing of it is offered");
    script.pass_alive(seconds(20), &[1], &[2]);
    assert!(!script.said("Offers"));
}

#[test]
fn the_shortest_of_three_times_is_what_a_task_has() {
    let mut script = busy();
    for grace in [5, 9] {
        let drain = Drain {
            grace: Some(seconds(grace)),
            mark_gone: false,
        };
        order(&mut script, AgentOrder::Drain(drain));
    }
    let kills = script.take();
    let kills: Vec<_> = kills.lines().filter(|line| line.contains("Kill")).collect();
    assert_eq!(kills.len(), 2);
    assert!(kills.iter().all(|kill| kill.contains("5s")), "{kills:?}");
}

#[test]
fn an_agent_that_is_to_go_is_gone_once_it_is_drained() {
    let mut script = busy();
    order(&mut script, DRAIN_AND_GO);
    script.skip();
    killed(&mut script, "t1", 2);
    script.acknowledge(1, "t1", 2);
    script.expect(&expect![[r#"
        seen: t1 is gone-by-operator (AgentDraining)
        1< Update t1 is gone-by-operator (AgentDraining) #2 on ag1
        durable: ag1 is gone
        durable: orders/ag1 forgotten
        2< Acknowledge t1 #2
        2< Refused: agent ag1 was removed from this cluster; start it with an empty state directory to join anew
        2< (closed)
        1< AgentLost ag1
    "#]]);
    let agent = script.agents[0];
    script.register_as(5, Some(agent), info("host", res(4, 4096)), Vec::new());
    assert!(
        script.said("was removed from this cluster"),
        "it may not come back"
    );
}

#[test]
fn a_drain_outlives_the_master_and_waits_for_an_agent_that_is_away() {
    let mut script = busy();
    script.hang_up_agent(2);
    order(&mut script, DRAIN);
    script.restart();
    assert!(!drained(&script), "nobody knows what it still has");
    let framework = Some(script.frameworks[0]);
    let info_a = FrameworkInfo::new("a", [Role::default_role()]);
    script.subscribe_as(3, framework, info_a);
    script.skip();
    let brought = script.brought("t1", res(1, 1024), TaskState::Running);
    let agent = script.agents[0];
    script.register_as(4, Some(agent), info("host", res(4, 4096)), vec![brought]);
    script.expect(&expect![[r#"
        4< Registered ag1
        seen: t1 is running
        4< Kill t1 grace None (AgentDraining)
    "#]]);
}

#[test]
fn an_agent_is_active_again_only_after_it_was_drained() {
    let mut script = busy();
    let agent = script.agents[0];
    order(&mut script, DRAIN);
    let refused = order(&mut script, AgentOrder::Reactivate);
    assert_eq!(refused, OperatorReply::AgentDraining(agent));
    killed(&mut script, "t1", 2);
    script.acknowledge(1, "t1", 2);
    script.skip();
    assert_eq!(
        order(&mut script, AgentOrder::Reactivate),
        OperatorReply::Done
    );
    assert!(script.said("orders/ag1 forgotten"));
    assert!(script.said("Offers"), "it is offered at once");
    assert!(!drained(&script));
}

#[test]
fn nothing_of_a_deactivated_agent_is_offered_and_its_tasks_go_on() {
    let mut script = busy();
    order(&mut script, AgentOrder::Deactivate);
    script.expect(&expect![[r#"
        durable: ag1 is deactivated
        1< Rescind of2
        reply: Done
    "#]]);
    script.restart();
    script.subscribe(8, "b");
    script.register_as(
        9,
        Some(script.agents[0]),
        info("host", res(4, 4096)),
        Vec::new(),
    );
    assert!(!script.said("Offers"), "not after a restart, either");
    order(&mut script, AgentOrder::Reactivate);
    assert!(script.said("Offers"));
}

#[test]
fn an_agent_that_is_gone_takes_its_tasks_with_it() {
    let mut script = busy();
    order(&mut script, AgentOrder::Gone);
    script.expect(&expect![[r#"
        durable: ag1 is gone
        2< Refused: agent ag1 was removed from this cluster; start it with an empty state directory to join anew
        2< (closed)
        1< Rescind of2
        seen: t1 is gone-by-operator (AgentRemovedByOperator)
        1< Update t1 is gone-by-operator (AgentRemovedByOperator) on ag1: an operator has said that the task's agent is gone
        1< AgentLost ag1
        reply: Done
    "#]]);
    let tasks = vec![(id("x"), Some(script.agents[0]))];
    script.call(1, SchedulerCall::Reconcile { tasks });
    assert!(script.said("x is gone-by-operator (Reconciliation)"));
}

#[test]
fn one_that_was_lost_from_sight_can_be_gone_as_well() {
    let mut script = busy();
    script.pass_alive(seconds(80), &[1], &[]);
    script.skip();
    order(&mut script, AgentOrder::Gone);
    script.expect(&expect![[r#"
        durable: ag1 is gone
        1< Update t1 is gone-by-operator (AgentRemovedByOperator) on ag1: an operator has said that the task's agent is gone
        reply: Done
    "#]]);
    let refused = order(&mut script, AgentOrder::Gone);
    assert_eq!(refused, OperatorReply::AgentUnknown(script.agents[0]));
}

#[test]
fn an_agent_that_nobody_knows_takes_no_orders() {
    let mut script = Script::ready();
    let agent = AgentId(1);
    for order in [
        DRAIN,
        AgentOrder::Deactivate,
        AgentOrder::Reactivate,
        AgentOrder::Gone,
    ] {
        let reply = script.ask(OperatorRequest::OrderAgent { agent, order });
        assert_eq!(reply, OperatorReply::AgentUnknown(agent));
    }
}
