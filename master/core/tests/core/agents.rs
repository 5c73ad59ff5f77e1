//! How agents come, go silent, and come back.

use expect_test::expect;
use nesos_types::ids::AgentId;
use nesos_types::message::AgentEvent;
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

#[test]
fn a_new_agent_is_admitted_and_its_resources_offered() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    script.skip();
    script.register(2, "host", res(4, 4096));
    script.expect(&expect![[r#"
        durable: ag1 admitted <4 CPUs, 4 GiB>
        2< Registered ag1
        1< Offers of1 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn an_unknown_id_is_refused() {
    let mut script = Script::ready();
    script.register_as(3, Some(AgentId(9)), info("other", res(1, 64)), vec![]);
    script.expect(&expect![[r#"
        3< Refused: agent ag2 was removed from this cluster; start it with an empty state directory to join anew
        3< (closed)
    "#]]);
}

#[test]
fn an_agent_that_speaks_before_it_registers_is_refused() {
    let mut script = Script::ready();
    script.event(nesos_master_core::Event::AgentConnected(
        nesos_master_core::ConnectionId(3),
    ));
    script.say(3, AgentEvent::Pong);
    script.expect(&expect![[r#"
        3< Refused: the first call of a stream must be Subscribe
        3< (closed)
    "#]]);
}

#[test]
fn a_broken_connection_takes_the_offers_and_leaves_the_tasks() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.pass(seconds(5));
    script.skip();
    script.hang_up_agent(2);
    script.expect(&expect![[r#"
        1< Rescind of2
    "#]]);
    let (agent, tasks) = (
        script.agents[0],
        vec![script.brought("t1", res(1, 1024), TaskState::Running)],
    );
    script.register_as(3, Some(agent), info("host", res(4, 4096)), tasks);
    script.expect(&expect![[r#"
        3< Registered ag1
        seen: t1 is running
        1< Offers of3 of ag1 for * <3 CPUs, 3 GiB>
    "#]]);
}

#[test]
fn an_agent_that_stays_away_is_unreachable() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.hang_up_agent(2);
    script.skip();
    script.pass_alive(seconds(599), &[1], &[]);
    script.expect(&expect![[""]]);
    script.pass(seconds(1));
    script.expect(&expect![[r#"
        durable: ag1 unreachable
        1< Update t1 is unreachable (AgentDisconnected) on ag1: the task's agent was lost from sight
        1< AgentLost ag1
        1< Heartbeat
    "#]]);
}

#[test]
fn a_silent_agent_is_unreachable_after_five_pings_and_may_come_back() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let tasks = [task("t1", res(1, 1024)), task("t2", res(3, 3072))];
    script.launch(1, &[offer], &tasks);
    script.skip();
    script.pass_alive(seconds(70), &[1], &[]);
    script.expect(&expect![[""]]);
    script.pass(seconds(5));
    script.expect(&expect![[r#"
        durable: ag1 unreachable
        2< (closed)
        1< Update t1 is unreachable (AgentDisconnected) on ag1: the task's agent was lost from sight
        1< Update t2 is unreachable (AgentDisconnected) on ag1: the task's agent was lost from sight
        1< AgentLost ag1
        1< Heartbeat
    "#]]);

    // It brings one of its two tasks.
    let (agent, tasks) = (
        script.agents[0],
        vec![script.brought("t1", res(1, 1024), TaskState::Running)],
    );
    script.register_as(3, Some(agent), info("host", res(4, 4096)), tasks);
    script.expect(&expect![[r#"
        durable: ag1 admitted <4 CPUs, 4 GiB>
        3< Registered ag1
        seen: t1 is running
        1< Update t1 is running (AgentReregistered) on ag1: the agent came back and brought the task
        1< Update t2 is gone (AgentReregistered) on ag1: the agent came back without the task
        1< Offers of2 of ag1 for * <3 CPUs, 3 GiB>
    "#]]);
}

#[test]
fn a_newer_connection_of_an_agent_wins() {
    let mut script = Script::ready();
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), vec![]);
    script.expect(&expect![[r#"
        1< Rescind of1
        2< Refused: another process has connected as agent ag1; this connection is over
        2< (closed)
        3< Registered ag1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
    // The end of the older one changes nothing.
    script.hang_up_agent(2);
    script.expect(&expect![[""]]);
}

#[test]
fn an_agent_that_leaves_is_gone_for_good() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.skip();
    script.say(2, AgentEvent::Unregister);
    script.expect(&expect![[r#"
        durable: ag1 removed
        2< (closed)
        seen: t1 is gone (AgentRemoved)
        1< Update t1 is gone (AgentRemoved) on ag1: the task's agent left
        1< AgentLost ag1
    "#]]);
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), vec![]);
    script.expect(&expect![[r#"
        3< Refused: agent ag1 was removed from this cluster; start it with an empty state directory to join anew
        3< (closed)
    "#]]);
}

#[test]
fn an_agent_that_comes_back_smaller_offers_nothing_until_its_tasks_fit() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let tasks = [task("t1", res(2, 2048)), task("t2", res(2, 2048))];
    script.launch(1, &[offer], &tasks);
    script.hang_up_agent(2);
    script.skip();
    let agent = script.agents[0];
    let tasks = ["t1", "t2"].map(|id| script.brought(id, res(2, 2048), TaskState::Running));
    script.register_as(3, Some(agent), info("host", res(3, 3072)), tasks.to_vec());
    script.expect(&expect![[r#"
        durable: ag1 admitted <3 CPUs, 3 GiB>
        3< Registered ag1
        seen: t1 is running
        seen: t2 is running
    "#]]);
    assert!(script.free().is_empty());
    script.update(3, "t1", TaskState::Finished, 1);
    script.expect(&expect![[r#"
        seen: t1 is finished
        1< Update t1 is finished #1 on ag1
        1< Offers of2 of ag1 for * <1 CPU, 1 GiB>
    "#]]);
}

#[test]
fn a_launch_that_was_lost_is_asked_for() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.hang_up_agent(2);
    script.skip();
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), vec![]);
    script.expect(&expect![[r#"
        3< Registered ag1
        3< Reconcile t1
    "#]]);
    script.update(3, "t1", TaskState::Dropped, 1);
    script.expect(&expect![[r#"
        seen: t1 is dropped
        1< Update t1 is dropped #1 on ag1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn heartbeats_only_stamp() {
    let mut script = Script::ready();
    script.pass_alive(seconds(50), &[1], &[2]);
    script.expect(&expect![[""]]);
}
