//! Tasks: validation, updates, acknowledgements and kills.

use std::time::Duration;

use expect_test::expect;
use nesos_master_core::OperatorRequest;
use nesos_types::limits::Metering;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Filters, Operation};
use nesos_types::task::{Mount, SharedTask, TaskInfo, TaskState};

use crate::script::{Script, id, info, res, seconds, task};

fn changed(name: &str, change: impl FnOnce(&mut TaskInfo)) -> SharedTask {
    let mut info = TaskInfo::clone(&task(name, res(1, 64)));
    change(&mut info);
    SharedTask::new(info)
}

#[test]
fn what_may_never_run_is_an_error() {
    let mut script = Script::ready();
    let mount = |host: &str| Mount {
        host: host.to_owned(),
        guest: "/data".to_owned(),
        read_only: true,
    };
    let tasks = [
        task("no-cpu", res(0, 64)),
        task("no-memory", res(1, 0)),
        task("too-large", res(5, 64)),
        changed("no-fuel", |task| task.limits.fuel = Some(0)),
        changed("no-time", |task| task.limits.timeout = Some(Duration::ZERO)),
        changed("by-fuel", |task| task.limits.metering = Metering::Fuel),
        changed("by-time", |task| {
            task.limits.metering = Metering::Time;
            task.limits.fuel = Some(1);
        }),
        changed("mount", |task| task.mounts.push(mount("/srv"))),
        changed("env", |task| task.env.push(("A=B".into(), "x".into()))),
        changed("arg", |task| task.args.push("a\0b".into())),
        changed("grace", |task| task.kill_grace = Some(Duration::MAX)),
        task("good", res(4, 4096)),
        task("good", res(4, 4096)),
    ];
    let offer = script.last_offer();
    script.launch(1, &[offer], &tasks);
    script.expect(&expect![[r#"
        1< Update no-cpu is error (TaskInvalid) on ag1: the task wants no CPU; it would never run
        1< Update no-memory is error (TaskInvalid) on ag1: the task wants no memory; it would never run
        1< Update too-large is error (TaskInvalid) on ag1: the task wants <5 CPUs, 64 MiB>, but only <4 CPUs, 4 GiB> are left of the accepted offers
        1< Update no-fuel is error (TaskInvalid) on ag1: limits.fuel is zero; the task would never run
        1< Update no-time is error (TaskInvalid) on ag1: limits.timeout is zero; the task would never run
        1< Update by-fuel is error (CapabilityDenied) on ag1: metering "fuel" needs an agent that has measured its fuel rate; this one has not
        1< Update by-time is error (TaskInvalid) on ag1: limits.fuel cannot be held with metering "time", which counts no fuel
        1< Update mount is error (CapabilityDenied) on ag1: agent host does not allow directories of its host (/srv)
        1< Update env is error (TaskInvalid) on ag1: environment variable "A=B": the name is empty or holds "=" or NUL, or the value holds NUL
        1< Update arg is error (TaskInvalid) on ag1: an argument holds a NUL character
        1< Update grace is error (TaskInvalid) on ag1: kill_grace is longer than 24 hours
        1< Update good is error (TaskInvalid) on ag1: a live or unreachable task of this framework has the same id
        2< Launch good of fw1 for *
    "#]]);
}

#[test]
fn an_agent_that_allows_mounts_is_asked_for_plain_paths() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let mut host = info("host", res(4, 4096));
    host.host_mounts = true;
    script.register_as(2, None, host, vec![]);
    script.skip();
    let with_mount = |name: &str, host: &str, guest: &str| {
        changed(name, |task| {
            task.mounts.push(Mount {
                host: host.to_owned(),
                guest: guest.to_owned(),
                read_only: false,
            });
        })
    };
    let tasks = [
        with_mount("relative", "srv", "/data"),
        with_mount("upwards", "/srv", "/a/../b"),
        with_mount("good", "/srv", "/data"),
    ];
    let offer = script.last_offer();
    script.launch(1, &[offer], &tasks);
    script.expect(&expect![[r#"
        1< Update relative is error (TaskInvalid) on ag1: "srv" is not an absolute path
        1< Update upwards is error (TaskInvalid) on ag1: "/a/../b" holds ".."
        2< Launch good of fw1 for *
    "#]]);
}

#[test]
fn a_group_is_whole_or_nothing() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let group = vec![task("t1", res(2, 64)), task("t1", res(1, 64))];
    let then = vec![task("t2", res(4, 4096))];
    script.call(
        1,
        SchedulerCall::Accept {
            offers: vec![offer],
            operations: vec![Operation::LaunchGroup(group), Operation::LaunchGroup(then)],
            filters: Filters::default(),
        },
    );
    script.expect(&expect![[r#"
        1< Update t1 is error (TaskInvalid) on ag1: task t1 of the group: a live or unreachable task of this framework has the same id
        1< Update t1 is error (TaskInvalid) on ag1: task t1 of the group: a live or unreachable task of this framework has the same id
        2< Launch t2 of fw1 for *
    "#]]);
}

#[test]
fn a_live_id_is_not_used_again_a_completed_one_may_be() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(2, 64))]);
    script.pass(seconds(5));
    script.skip();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 64))]);
    script.expect(&expect![[r#"
        1< Update t1 is error (TaskInvalid) on ag1: a live or unreachable task of this framework has the same id
    "#]]);
    script.update(2, "t1", TaskState::Finished, 1);
    script.acknowledge(1, "t1", 1);
    script.skip();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 64))]);
    script.expect(&expect![[r#"
        2< Launch t1 of fw1 for *
    "#]]);
}

#[test]
fn resources_are_free_with_the_latest_state_the_task_goes_with_its_acknowledgement() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.skip();
    script.update_ahead(2, "t1", TaskState::Running, 1, TaskState::Finished);
    script.expect(&expect![[r#"
        seen: t1 is finished
        1< Update t1 is running #1 on ag1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
    let reconcile = SchedulerCall::Reconcile { tasks: vec![] };
    script.call(1, reconcile.clone());
    script.acknowledge(1, "t1", 1);
    script.update(2, "t1", TaskState::Finished, 2);
    script.call(1, reconcile.clone());
    script.acknowledge(1, "t1", 2);
    script.call(1, reconcile);
    script.expect(&expect![[r#"
        1< Update t1 is running (Reconciliation) on ag1
        2< Acknowledge t1 #1
        1< Update t1 is finished #2 on ag1
        1< Update t1 is finished (Reconciliation) on ag1
        2< Acknowledge t1 #2
    "#]]);
    let snapshot = script.master.snapshot();
    assert_eq!(snapshot.frameworks[0].completed_tasks.len(), 1);
    assert!(snapshot.frameworks[0].tasks.is_empty());
}

#[test]
fn repeated_and_late_updates_do_no_harm() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.skip();
    script.update(2, "t1", TaskState::Running, 1);
    script.update(2, "t1", TaskState::Running, 1);
    script.update(2, "t1", TaskState::Finished, 2);
    script.update(2, "t1", TaskState::Running, 1);
    script.acknowledge(1, "t1", 2);
    script.expect(&expect![[r#"
        seen: t1 is running
        1< Update t1 is running #1 on ag1
        1< Update t1 is running #1 on ag1
        seen: t1 is finished
        1< Update t1 is finished #2 on ag1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
        1< Update t1 is running #1 on ag1
        2< Acknowledge t1 #2
    "#]]);
    script.update(2, "t1", TaskState::Finished, 2);
    script.acknowledge(1, "t1", 2);
    script.acknowledge(1, "t1", 2);
    script.expect(&expect![[r#"
        1< Update t1 is finished #2 on ag1
        2< Acknowledge t1 #2
        2< Acknowledge t1 #2
    "#]]);
}

#[test]
fn a_kill_is_passed_on_and_remembered() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.skip();
    script.kill(1, "t1");
    script.hang_up_agent(2);
    let grace = Some(seconds(1));
    let kill = SchedulerCall::Kill {
        task: id("t1"),
        grace,
    };
    script.call(1, kill);
    script.expect(&expect![[r#"
        2< Kill t1 grace None
    "#]]);
    let tasks = vec![script.brought("t1", res(4, 4096), TaskState::Running)];
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), tasks);
    script.expect(&expect![[r#"
        3< Registered ag1
        seen: t1 is running
        3< Kill t1 grace Some(1s)
    "#]]);
    script.update(3, "t1", TaskState::Killed, 1);
    script.kill(1, "t1");
    script.expect(&expect![[r#"
        seen: t1 is killed
        1< Update t1 is killed #1 on ag1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn a_kill_of_an_unknown_task_is_answered_like_a_reconciliation() {
    let mut script = Script::ready();
    script.kill(1, "ghost");
    script.expect(&expect![[r#"
        1< Update ghost is unknown (Reconciliation): the task is not known
    "#]]);
}

#[test]
fn a_kill_reaches_a_task_that_was_unreachable() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.pass_alive(seconds(80), &[1], &[]);
    script.skip();
    script.kill(1, "t1");
    script.expect(&expect![[r#"
        1< Update t1 is unreachable (Reconciliation) on ag1: its agent has been unreachable since 1075.000000
    "#]]);
    let tasks = vec![script.brought("t1", res(4, 4096), TaskState::Running)];
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), tasks);
    script.expect(&expect![[r#"
        durable: ag1 admitted <4 CPUs, 4 GiB>
        3< Registered ag1
        seen: t1 is running
        1< Update t1 is running (AgentReregistered) on ag1: the agent came back and brought the task
        3< Kill t1 grace None
    "#]]);
}

#[test]
fn an_operator_kills() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(4, 4096))]);
    script.skip();
    let framework = script.frameworks[0];
    for name in ["t1", "t2"] {
        let (task, grace) = (id(name), None);
        script.operator(OperatorRequest::KillTask {
            framework,
            task,
            grace,
        });
    }
    script.expect(&expect![[r#"
        2< Kill t1 grace None
        reply: Done
        reply: TaskUnknown
    "#]]);
}

#[test]
fn histories_are_bounded() {
    let mut script = Script::with(nesos_master_core::MasterConfig {
        max_completed_tasks: 3,
        ..Default::default()
    });
    script.subscribe(1, "a");
    script.register(2, "host", res(1, 64));
    for i in 0..5 {
        let (name, offer) = (format!("t{i}"), script.last_offer());
        script.launch(1, &[offer], &[task(&name, res(1, 64))]);
        script.update(2, &name, TaskState::Finished, i);
        script.acknowledge(1, &name, i);
    }
    let completed = &script.master.snapshot().frameworks[0].completed_tasks;
    let names: Vec<_> = completed.iter().map(|task| task.id.to_string()).collect();
    assert_eq!(names, ["t2", "t3", "t4"]);
    script.skip();
}
