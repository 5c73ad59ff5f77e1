//! A new master over the records of an old one.

use expect_test::expect;
use nesos_master_core::{MasterConfig, Record};
use nesos_types::framework::FrameworkInfo;
use nesos_types::message::AgentEvent;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

fn a() -> FrameworkInfo {
    FrameworkInfo::new("a", [Role::default_role()])
}

/// A framework with a task on an agent, and then another master.
fn restarted() -> Script {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(3, 3072))]);
    script.restart();
    script.skip();
    script
}

#[test]
fn agents_bring_the_tasks_back_before_their_framework_comes() {
    let mut script = restarted();
    let tasks = vec![script.brought("t1", res(3, 3072), TaskState::Running)];
    let (agent, host) = (script.agents[0], info("host", res(4, 4096)));
    script.register_as(3, Some(agent), host, tasks);
    script.subscribe_as(4, Some(script.frameworks[0]), a());
    script.expect(&expect![[r#"
        3< Registered ag1
        seen: t1 is running
        4< Subscribed fw1
        4< Offers of2 of ag1 for * <1 CPU, 1 GiB>
    "#]]);
}

#[test]
fn frameworks_come_back_before_the_agents() {
    let mut script = restarted();
    script.subscribe_as(4, Some(script.frameworks[0]), a());
    let tasks = vec![script.brought("t1", res(3, 3072), TaskState::Running)];
    let (agent, host) = (script.agents[0], info("host", res(4, 4096)));
    script.register_as(3, Some(agent), host, tasks);
    script.expect(&expect![[r#"
        4< Subscribed fw1
        3< Registered ag1
        seen: t1 is running
        4< Offers of2 of ag1 for * <1 CPU, 1 GiB>
    "#]]);
}

#[test]
fn a_kill_that_comes_before_the_task_is_back_is_remembered() {
    let mut script = restarted();
    script.subscribe_as(4, Some(script.frameworks[0]), a());
    script.kill(4, "t1");
    script.expect(&expect![[r#"
        4< Subscribed fw1
    "#]]);
    let tasks = vec![script.brought("t1", res(3, 3072), TaskState::Running)];
    let (agent, host) = (script.agents[0], info("host", res(4, 4096)));
    script.register_as(3, Some(agent), host, tasks);
    script.expect(&expect![[r#"
        3< Registered ag1
        seen: t1 is running
        3< Kill t1 grace None
        4< Offers of2 of ag1 for * <1 CPU, 1 GiB>
    "#]]);
}

#[test]
fn agents_that_do_not_come_back_are_unreachable() {
    let mut script = restarted();
    script.subscribe_as(4, Some(script.frameworks[0]), a());
    script.pass_alive(seconds(599), &[4], &[]);
    script.skip();
    script.pass(seconds(1));
    script.expect(&expect![[r#"
        durable: ag1 unreachable
        4< AgentLost ag1
        4< Heartbeat
    "#]]);
}

#[test]
fn frameworks_that_do_not_come_back_are_removed() {
    let mut script = restarted();
    script.pass(seconds(59));
    script.expect(&expect![[""]]);
    script.pass(seconds(1));
    script.expect(&expect![[r#"
        durable: fw1 removed
    "#]]);
    // The agent comes late, with a task of the removed framework.
    let tasks = vec![script.brought("t1", res(3, 3072), TaskState::Running)];
    let (agent, host) = (script.agents[0], info("host", res(4, 4096)));
    script.register_as(3, Some(agent), host, tasks);
    script.expect(&expect![[r#"
        3< Registered ag1
        3< ShutdownFramework fw1
    "#]]);
}

#[test]
fn the_ids_of_those_who_went_are_forgotten_in_the_end() {
    let mut script = Script::with(MasterConfig {
        max_retired_ids: 2,
        ..MasterConfig::default()
    });
    for connection in 1..=4 {
        script.register(connection, "host", res(1, 64));
        script.pass(seconds(1));
        script.say(connection, AgentEvent::Unregister);
    }
    script.expect(&expect![[r#"
        durable: ag1 admitted <1 CPU, 64 MiB>
        1< Registered ag1
        durable: ag1 removed
        1< (closed)
        durable: ag2 admitted <1 CPU, 64 MiB>
        2< Registered ag2
        durable: ag2 removed
        2< (closed)
        durable: ag3 admitted <1 CPU, 64 MiB>
        3< Registered ag3
        durable: ag3 removed
        durable: ag1 forgotten
        3< (closed)
        durable: ag4 admitted <1 CPU, 64 MiB>
        4< Registered ag4
        durable: ag4 removed
        durable: ag2 forgotten
        4< (closed)
    "#]]);
}

#[test]
fn records_survive_a_store_that_names_their_fields() {
    let records = [
        Record::FrameworkSubscribed {
            framework: nesos_types::ids::FrameworkId(1),
            info: a().into(),
            since: nesos_types::time::Time::from_micros(5),
        },
        Record::AgentAdmitted {
            agent: nesos_types::ids::AgentId(2),
            info: info("host", res(1, 64)).into(),
            since: nesos_types::time::Time::from_micros(6),
        },
    ];
    for record in records {
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
