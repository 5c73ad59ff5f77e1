//! How frameworks subscribe, fail over and end.

use expect_test::expect;
use nesos_master_core::{ConnectionId, Event, OperatorRequest};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::message::SchedulerCall;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

use crate::script::{Script, res, seconds, task};

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

fn a() -> FrameworkInfo {
    FrameworkInfo::new("a", [Role::default_role()])
}

#[test]
fn a_call_before_subscribing_ends_the_stream() {
    let mut script = Script::new();
    script.event(Event::SchedulerConnected(ConnectionId(1)));
    script.call(1, SchedulerCall::Heartbeat);
    script.call(1, SchedulerCall::Teardown);
    script.expect(&expect![[r#"
        1< Refused: the first call of a stream must be Subscribe
        1< (closed)
    "#]]);
}

#[test]
fn a_newer_stream_takes_the_framework_over() {
    let mut script = Script::ready();
    let id = script.frameworks[0];
    script.subscribe_as(3, Some(id), a());
    script.expect(&expect![[r#"
        1< Refused: another scheduler has subscribed as this framework; this stream is over
        1< (closed)
        3< Subscribed fw1
        3< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
    script.hang_up_scheduler(1);
    script.call(1, SchedulerCall::Teardown);
    script.expect(&expect![[""]]);
}

#[test]
fn statuses_that_wait_are_told_to_whoever_takes_over() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.hang_up_scheduler(1);
    script.skip();
    script.update(2, "t1", TaskState::Running, 1);
    script.expect(&expect![[r#"
        seen: t1 is running
    "#]]);
    script.subscribe_as(3, Some(script.frameworks[0]), a());
    script.acknowledge(3, "t1", 1);
    script.expect(&expect![[r#"
        3< Subscribed fw1
        3< Update t1 is running #1 on ag1
        2< Acknowledge t1 #1
    "#]]);
}

#[test]
fn unknown_and_foreign_frameworks_are_refused() {
    let mut script = Script::ready();
    script.subscribe_as(3, Some(FrameworkId(5)), a());
    let id = script.frameworks[0];
    let mut other = a();
    other.principal = "mallory".to_owned();
    script.subscribe_as(4, Some(id), other);
    script.expect(&expect![[r#"
        3< Refused: framework fw2 is not known to this master; subscribe without an id to begin anew
        3< (closed)
        4< Refused: framework fw1 belongs to another principal
        4< (closed)
    "#]]);
}

#[test]
fn a_failover_timeout_counts_from_the_last_disconnect() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.hang_up_scheduler(1);
    script.pass_alive(seconds(50), &[], &[2]);
    script.subscribe_as(3, Some(script.frameworks[0]), a());
    script.pass_alive(seconds(20), &[3], &[2]);
    script.skip();
    // The first timer would have fired here.
    script.hang_up_scheduler(3);
    script.pass_alive(seconds(59), &[], &[2]);
    script.expect(&expect![[""]]);
    script.pass(seconds(1));
    script.expect(&expect![[r#"
        durable: fw1 removed
        seen: t1 is killed (FrameworkRemoved)
        2< ShutdownFramework fw1
    "#]]);
    // Its id is barred, over a restart too.
    script.restart();
    script.subscribe_as(4, Some(script.frameworks[0]), a());
    script.expect(&expect![[r#"
        4< Refused: framework fw1 has been removed; subscribe without an id to begin anew
        4< (closed)
    "#]]);
}

#[test]
fn a_torn_down_framework_ends_everywhere() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.skip();
    script.call(1, SchedulerCall::Teardown);
    script.expect(&expect![[r#"
        durable: fw1 removed
        1< (closed)
        seen: t1 is killed (FrameworkRemoved)
        2< ShutdownFramework fw1
    "#]]);
    assert_eq!(script.free(), res(4, 4096));
    // A task of it that shows up later is shut down.
    script.update(2, "t1", TaskState::Running, 1);
    script.expect(&expect![[r#"
        2< ShutdownFramework fw1
    "#]]);
}

#[test]
fn an_operator_tears_down() {
    let mut script = Script::ready();
    let id = script.frameworks[0];
    script.operator(OperatorRequest::TeardownFramework(id));
    script.operator(OperatorRequest::TeardownFramework(id));
    script.expect(&expect![[r#"
        durable: fw1 removed
        1< Refused: framework fw1 has been removed; subscribe without an id to begin anew
        1< (closed)
        reply: Done
        reply: FrameworkUnknown(fw1)
    "#]]);
}

#[test]
fn a_silent_scheduler_is_cut_off() {
    let mut script = Script::ready();
    script.pass_alive(seconds(70), &[], &[2]);
    script.skip();
    script.pass(seconds(5));
    script.expect(&expect![[r#"
        2< Ping
        1< (closed)
    "#]]);
}

#[test]
fn several_roles_each_get_their_own_offers() {
    let mut script = Script::new();
    let info = FrameworkInfo::new("many", [role("x"), role("y")]);
    script.subscribe_as(1, None, info);
    script.register(2, "one", res(1, 1024));
    script.register(3, "two", res(1, 1024));
    script.expect(&expect![[r#"
        durable: fw1 subscribed as "many"
        1< Subscribed fw1
        durable: ag1 admitted <1 CPU, 1 GiB>
        2< Registered ag1
        1< Offers of1 of ag1 for x <1 CPU, 1 GiB>
        durable: ag2 admitted <1 CPU, 1 GiB>
        3< Registered ag2
        1< Offers of2 of ag2 for y <1 CPU, 1 GiB>
    "#]]);
}

#[test]
fn a_role_that_is_not_the_frameworks_spoils_the_call() {
    let mut script = Script::ready();
    let roles = [role("*"), role("x")].into();
    script.call(1, SchedulerCall::Suppress { roles });
    script.expect(&expect![[r#"
        1< Refused: Suppress: x is not a role of this framework
    "#]]);
}

#[test]
fn suppressed_roles_get_nothing_until_they_are_revived() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let all = || [].into();
    script.call(1, SchedulerCall::Suppress { roles: all() });
    script.skip();
    script.register(2, "host", res(4, 4096));
    script.expect(&expect![[r#"
        durable: ag1 admitted <4 CPUs, 4 GiB>
        2< Registered ag1
    "#]]);
    script.call(1, SchedulerCall::Revive { roles: all() });
    script.expect(&expect![[r#"
        1< Offers of1 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn a_framework_that_leaves_a_role_keeps_its_tasks() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.skip();
    let info = FrameworkInfo::new("a", [role("x")]);
    let framework = Some(script.frameworks[0]);
    let suppressed = [].into();
    script.call(
        1,
        SchedulerCall::Subscribe {
            framework,
            info,
            suppressed,
        },
    );
    script.expect(&expect![[r#"
        durable: fw1 subscribed as "a"
        1< Subscribed fw1
        1< Offers of2 of ag1 for x <3 CPUs, 3 GiB>
    "#]]);
    let roles: Vec<_> = script.master.snapshot().roles;
    assert_eq!(roles.len(), 2, "the role that it left is still charged");
    script.update(2, "t1", TaskState::Finished, 1);
    script.acknowledge(1, "t1", 1);
    assert_eq!(script.master.snapshot().roles.len(), 1);
    script.skip();
}

#[test]
fn a_stream_belongs_to_one_framework() {
    let mut script = Script::ready();
    let suppressed = [].into();
    script.call(
        1,
        SchedulerCall::Subscribe {
            framework: None,
            info: a(),
            suppressed,
        },
    );
    script.expect(&expect![[r#"
        1< Refused: Subscribe: this stream is that of fw1; use its id, or another stream
    "#]]);
}
