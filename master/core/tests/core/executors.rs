//! Executors: started for the first task that names one, paid for, written to, ended.

use std::time::Duration;

use expect_test::expect;
use nesos_master_core::{AgentOrder, OperatorRequest};
use nesos_types::agent::Drain;
use nesos_types::bundle::Digest;
use nesos_types::executor::{Correspondent, ExecutorInfo, MAX_MESSAGE_BYTES};
use nesos_types::ids::{GroupId, RunId, TaskKey};
use nesos_types::message::{AgentEvent, AgentTask, SchedulerCall};
use nesos_types::offer::{Filters, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::service::Service;
use nesos_types::task::{SharedTask, TaskGroup, TaskInfo, TaskState, Work};

use crate::script::{Script, id, info, res, seconds, task};

fn executor(name: &str) -> ExecutorInfo {
    let id = name.parse().expect("an executor id");
    ExecutorInfo::new(id, Digest([1; 32]), res(1, 256))
}

fn changed(name: &str, change: impl FnOnce(&mut TaskInfo)) -> SharedTask {
    let mut info = TaskInfo::clone(&inside(name, "x", res(1, 64)));
    change(&mut info);
    info.into()
}

/// A task in an executor.
fn inside(name: &str, executor_name: &str, resources: Resources) -> SharedTask {
    let mut info = TaskInfo::clone(&task(name, resources));
    info.work = Work::InExecutor {
        executor: executor(executor_name).into(),
        run: None,
    };
    info.into()
}

impl Script {
    /// The id of the only run of an executor.
    fn run(&self) -> String {
        let executors = &self.master.snapshot().frameworks[0].executors;
        assert_eq!(executors.len(), 1);
        executors[0].run.id.to_string()
    }

    fn runs(&self) -> Vec<(TaskState, usize)> {
        let executors = &self.master.snapshot().frameworks[0].executors;
        executors
            .iter()
            .map(|view| (view.run.state, view.tasks))
            .collect()
    }

    /// With an executor that runs task `a`.
    fn with_executor() -> (Self, String) {
        let mut script = Self::ready();
        let offer = script.last_offer();
        script.launch(1, &[offer], &[inside("a", "x", res(1, 64))]);
        let run = script.run();
        script.update(2, &run, TaskState::Running, 1);
        script.update(2, "a", TaskState::Running, 2);
        script.acknowledge(1, "a", 2);
        script.skip();
        (script, run)
    }

    fn message(&mut self, to: Correspondent, bytes: usize) {
        let agent = self.agents[0];
        let data = vec![b'x'; bytes];
        self.call(1, SchedulerCall::Message { agent, to, data });
    }

    fn shut_down(&mut self, name: &str) {
        let call = SchedulerCall::ShutdownExecutor {
            agent: self.agents[0],
            executor: name.parse().expect("an executor id"),
            grace: Some(Duration::from_secs(2)),
        };
        self.call(1, call);
    }
}

#[test]
fn the_first_task_of_an_executor_starts_it_and_pays_for_it() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let tasks = [inside("a", "x", res(1, 64)), inside("b", "x", res(1, 64))];
    script.launch(1, &[offer], &tasks);
    script.expect(&expect![[r#"
        2< Launch ex1, a, b of fw1 for *
    "#]]);
    assert_eq!(script.free(), res(1, 4096 - 256 - 128));
    assert_eq!(script.runs(), [(TaskState::Staging, 2)]);
    let snapshot = script.master.snapshot();
    assert_eq!(snapshot.frameworks[0].tasks.len(), 2, "a run is no task");
    assert_eq!(snapshot.agents[0].tasks, 2);
}

#[test]
fn later_tasks_join_the_run_that_is_there() {
    let (mut script, _) = Script::with_executor();
    script.pass(seconds(10));
    script.skip();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[inside("b", "x", res(1, 64))]);
    assert!(script.said("Launch b of fw1"), "{}", script.take());
    assert_eq!(script.runs(), [(TaskState::Running, 2)]);
    assert_eq!(script.free(), res(1, 4096 - 256 - 128));
}

#[test]
fn a_run_is_acknowledged_by_the_master_and_its_end_told_as_an_event() {
    let (mut script, run) = Script::with_executor();
    script.update(2, "a", TaskState::Finished, 3);
    script.acknowledge(1, "a", 3);
    script.skip();
    script.update(2, &run, TaskState::Failed, 4);
    script.expect(&expect![[r#"
        2< Acknowledge ex1 #4
        1< ExecutorEnded x is failed (None): 
    "#]]);
    let agents = script.master.snapshot().agents;
    assert!(agents[0].allocated.is_empty(), "what it had is free");
    // Its acknowledgement was lost: it is acknowledged again, and nothing else happens.
    script.update(2, &run, TaskState::Failed, 4);
    script.expect(&expect![[r#"
        2< Acknowledge ex1 #4
    "#]]);
}

#[test]
fn an_executor_without_tasks_keeps_what_it_has() {
    let (mut script, _) = Script::with_executor();
    script.update(2, "a", TaskState::Finished, 3);
    script.acknowledge(1, "a", 3);
    script.pass_alive(seconds(600), &[1], &[2]);
    assert_eq!(script.runs(), [(TaskState::Running, 0)]);
    let held = &script.master.snapshot().agents[0].allocated;
    assert_eq!(*held, res(1, 256));
}

#[test]
fn what_frameworks_may_not_say_of_executors_is_an_error() {
    let (mut script, run) = Script::with_executor();
    script.pass(seconds(10));
    script.skip();
    let other = |change: fn(&mut ExecutorInfo)| {
        let mut executor = executor("x");
        change(&mut executor);
        Work::InExecutor {
            executor: executor.into(),
            run: None,
        }
    };
    let tasks = [
        changed("other", |task| {
            task.work = other(|x| x.args = vec!["y".into()])
        }),
        changed("large", |task| {
            let mut executor = executor("large");
            executor.resources = res(9, 64);
            task.work = Work::InExecutor {
                executor: executor.into(),
                run: None,
            };
        }),
        changed("run", |task| {
            task.work = Work::Executor {
                id: "x".parse().expect("an executor id"),
                registration_timeout: seconds(1),
            };
        }),
        changed("named", |task| {
            task.work = Work::InExecutor {
                executor: executor("x").into(),
                run: Some(RunId(7)),
            };
        }),
        changed("grouped", |task| {
            task.group = Some(TaskGroup {
                id: GroupId(7),
                size: 2,
                disk_bytes: 0,
            });
        }),
        changed(&run, |_| {}),
        changed("limited", |task| task.limits.fuel = Some(1)),
        changed("served", |task| {
            task.service = Some(Box::new(Service::at(31_000)))
        }),
        changed("disk", |task| task.resources = res(1, 64).with_disk(1)),
        changed("borrows", |task| {
            let mut executor = executor("borrows");
            executor.resources = Resources::new(100, 1 << 20).with_revocable_cpu();
            task.work = Work::InExecutor {
                executor: executor.into(),
                run: None,
            };
        }),
        changed("lent", |task| {
            task.resources = Resources::new(1000, 64 << 20).with_revocable_cpu();
        }),
    ];
    let offer = script.last_offer();
    script.launch(1, &[offer], &tasks);
    script.expect(&expect![[r#"
        1< Update other is error (TaskInvalid) on ag1: executor x runs on the agent already, and is described otherwise; describe it as before, or use another id
        1< Update large is dropped (ResourcesUnknown) on ag1: executor large does not run on the agent, and with its <9 CPUs, 64 MiB> the task does not fit into the accepted offers
        1< Update run is error (TaskInvalid) on ag1: run_of, run_id and group are the master's to say; leave them empty
        1< Update named is error (TaskInvalid) on ag1: run_of, run_id and group are the master's to say; leave them empty
        1< Update grouped is error (TaskInvalid) on ag1: run_of, run_id and group are the master's to say; leave them empty
        1< Update ex1 is error (TaskInvalid) on ag1: ids that look like ex1 are the master's to give
        1< Update limited is error (TaskInvalid) on ag1: a task in an executor has no sandbox of its own: no limits but its resources, no attached output, no mounts, volumes, service or health check; set limits on the executor
        1< Update served is error (TaskInvalid) on ag1: a task in an executor has no sandbox of its own: no limits but its resources, no attached output, no mounts, volumes, service or health check; set limits on the executor
        1< Update disk is error (TaskInvalid) on ag1: a task in an executor has no disk of its own; give the disk to the executor
        1< Update borrows is error (TaskInvalid) on ag1: executor borrows: its tasks would be ended for its sake, so it cannot have revocable CPU
        1< Update lent is error (TaskInvalid) on ag1: a task in an executor cannot be slowed down by itself, so it cannot have revocable CPU
    "#]]);
    assert_eq!(script.runs().len(), 1, "no run was left behind");
}

#[test]
fn an_executor_that_is_ending_takes_no_tasks() {
    let (mut script, _) = Script::with_executor();
    script.shut_down("x");
    script.expect(&expect![[r#"
        2< Kill ex1 grace Some(2s)
    "#]]);
    script.pass(seconds(10));
    script.skip();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[inside("b", "x", res(1, 64))]);
    assert!(script.said("Update b is dropped (ExecutorTerminated)"));
    script.shut_down("nobody");
    assert!(script.said("Refused: ShutdownExecutor: executor nobody does not run on agent"));
}

#[test]
fn messages_pass_between_a_scheduler_and_its_own_guests() {
    let (mut script, run) = Script::with_executor();
    script.message(Correspondent::Executor("x".parse().expect("an id")), 2);
    script.expect(&expect![[r#"
        2< Message ex1 xx
    "#]]);
    script.message(Correspondent::Executor("y".parse().expect("an id")), 2);
    script.message(Correspondent::Task(id("a")), 2);
    script.message(Correspondent::Task(id("nobody")), 2);
    assert_eq!(script.take(), "", "a task in an executor has no ears");
    script.message(Correspondent::Task(id("a")), MAX_MESSAGE_BYTES + 1);
    script.expect(&expect![[r#"
        1< Refused: Message: the message has 65537 bytes, and the most are 65536
    "#]]);
    let said = |task: &str| AgentEvent::Message {
        key: TaskKey {
            framework: script.frameworks[0],
            task: id(task),
        },
        data: b"ho".to_vec(),
    };
    let events = [said(&run), said("nobody")];
    for event in events {
        script.say(2, event);
    }
    script.expect(&expect![[r#"
        1< Message ho from Executor("x")
    "#]]);
    assert_eq!(script.master.stats().messages_dropped, 4);
}

#[test]
fn an_agent_brings_its_executors_back() {
    let (mut script, _) = Script::with_executor();
    let bring = |script: &Script, info: SharedTask| AgentTask {
        framework: script.frameworks[0],
        role: Role::default_role(),
        task: info,
        latest: TaskState::Running,
        unacknowledged: None,
    };
    let there = script.master.snapshot().frameworks[0].executors[0]
        .run
        .info
        .clone();
    let task_there = script.master.snapshot().frameworks[0].tasks[0].info.clone();
    let tasks = vec![bring(&script, there), bring(&script, task_there)];
    script.restart();
    let framework = script.frameworks[0];
    let info_of = nesos_types::framework::FrameworkInfo::new("a", [Role::default_role()]);
    script.subscribe_as(3, Some(framework), info_of);
    let agent = script.agents[0];
    script.register_as(4, Some(agent), info("host", res(4, 4096)), tasks);
    assert_eq!(script.runs(), [(TaskState::Running, 1)]);
    let allocated = &script.master.snapshot().agents[0].allocated;
    assert_eq!(*allocated, res(2, 256 + 64));
}

#[test]
fn an_executor_goes_with_its_agent_and_comes_back_with_it() {
    let (mut script, run) = Script::with_executor();
    let info_there = script.master.snapshot().frameworks[0].executors[0]
        .run
        .info
        .clone();
    script.hang_up_agent(2);
    script.pass_alive(seconds(700), &[1], &[]);
    assert!(script.said("Update a is unreachable"));
    assert!(!script.said(&run), "nobody is told of a run's state");
    assert!(script.runs().is_empty());
    let tasks = vec![AgentTask {
        framework: script.frameworks[0],
        role: Role::default_role(),
        task: info_there,
        latest: TaskState::Running,
        unacknowledged: None,
    }];
    script.skip();
    let agent = script.agents[0];
    script.register_as(5, Some(agent), info("host", res(4, 4096)), tasks);
    assert!(script.said("Update a is gone"), "{}", script.take());
    assert_eq!(script.runs(), [(TaskState::Running, 0)]);
}

#[test]
fn a_framework_that_ends_takes_its_executors_along() {
    let (mut script, _) = Script::with_executor();
    script.call(1, SchedulerCall::Teardown);
    assert!(script.said("2< ShutdownFramework fw1"));
    assert_eq!(script.free(), res(4, 4096));
}

#[test]
fn a_group_is_one_with_its_executor_and_all_or_nothing() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let group = |tasks: Vec<SharedTask>| SchedulerCall::Accept {
        offers: vec![offer],
        operations: vec![Operation::LaunchGroup(tasks)],
        filters: Filters::none(),
    };
    let tasks = vec![inside("a", "x", res(1, 64)), inside("b", "x", res(3, 64))];
    script.call(1, group(tasks));
    assert!(script.said("Update a is error (TaskInvalid) on ag1: task b of the group"));
    assert!(script.runs().is_empty(), "nor is there a run");
    script.pass(seconds(2));
    let offer = script.last_offer();
    let tasks = vec![inside("a", "x", res(1, 64)), inside("b", "x", res(2, 64))];
    script.call(
        1,
        SchedulerCall::Accept {
            offers: vec![offer],
            operations: vec![Operation::LaunchGroup(tasks)],
            filters: Filters::none(),
        },
    );
    assert!(script.said("Launch ex1, a, b of fw1"), "{}", script.take());
    let tasks = &script.master.snapshot().frameworks[0].tasks;
    let groups: Vec<_> = tasks.iter().map(|task| task.info.group.clone()).collect();
    assert!(groups[0].is_some() && groups[0] == groups[1]);
    assert_eq!(groups[0].as_ref().map(|group| group.size), Some(2));
}

#[test]
fn the_signers_of_a_role_go_with_its_launches() {
    let mut script = Script::ready();
    script.set_role("*", |change| {
        change.signers = Some(vec!["a key".to_owned()])
    });
    script.skip();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("a", res(1, 64))]);
    script.expect(&expect![[r#"
        2< Launch a of fw1 for *, signed
    "#]]);
}

/// What an agent brings of this framework.
fn brought(script: &Script, info: TaskInfo) -> AgentTask {
    AgentTask {
        framework: script.frameworks[0],
        role: Role::default_role(),
        task: info.into(),
        latest: TaskState::Running,
        unacknowledged: None,
    }
}

fn run_of_x(run: u128) -> TaskInfo {
    TaskInfo::from((RunId(run), &executor("x")))
}

#[test]
fn an_agent_that_brings_runs_that_cannot_be_is_not_believed() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let mut lie = TaskInfo::clone(&task("lie", res(1, 64)));
    lie.work = run_of_x(1).work;
    let tasks = vec![brought(&script, lie)];
    script.register_as(2, None, info("host", res(4, 4096)), tasks);
    let offer = script.last_offer();
    script.skip();
    script.launch(1, &[offer], &[inside("a", "x", res(1, 64))]);
    assert!(script.said("Launch ex1, a of fw1"), "{}", script.take());
}

#[test]
fn of_two_runs_of_an_executor_the_one_that_is_left_is_found() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let tasks = [1, 2].map(|run| brought(&script, run_of_x(run))).to_vec();
    script.register_as(2, None, info("host", res(4, 4096)), tasks);
    let first = RunId(1).to_string();
    script.update(2, &first, TaskState::Failed, 1);
    script.skip();
    script.shut_down("x");
    assert!(script.said("Kill ex"), "{}", script.take());
    let mut old = brought(&script, run_of_x(1));
    old.latest = TaskState::Failed;
    let tasks = vec![brought(&script, run_of_x(2)), old];
    let agent = script.agents[0];
    script.register_as(3, Some(agent), info("host", res(4, 4096)), tasks);
    assert_eq!(script.runs().len(), 1);
}

#[test]
fn a_shutdown_waits_for_the_agent_to_come_back() {
    let (mut script, run) = Script::with_executor();
    let there = script.master.snapshot().frameworks[0].executors[0]
        .run
        .info
        .clone();
    script.hang_up_agent(2);
    script.shut_down("x");
    script.pass_alive(seconds(700), &[1], &[]);
    script.skip();
    let tasks = vec![brought(&script, TaskInfo::clone(&there))];
    let agent = script.agents[0];
    script.register_as(5, Some(agent), info("host", res(4, 4096)), tasks);
    assert!(script.said("5< Kill ex"), "{}", script.take());
    drop(run);
}

#[test]
fn the_run_of_a_groups_executor_goes_before_all_members() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    let tasks = vec![task("s", res(1, 64)), inside("b", "x", res(1, 64))];
    script.call(
        1,
        SchedulerCall::Accept {
            offers: vec![offer],
            operations: vec![Operation::LaunchGroup(tasks)],
            filters: Filters::none(),
        },
    );
    assert!(script.said("Launch ex1, s, b of fw1"), "{}", script.take());
}

#[test]
fn a_task_whose_executor_ended_meanwhile_may_try_again() {
    let (mut script, run) = Script::with_executor();
    script.pass(seconds(10));
    let offer = script.last_offer();
    script.update(2, &run, TaskState::Failed, 9);
    script.skip();
    script.launch(1, &[offer], &[inside("b", "x", res(2, 64))]);
    assert!(
        script.said("Update b is dropped (ResourcesUnknown)"),
        "{}",
        script.take()
    );
}

#[test]
fn a_drain_ends_executors_with_their_tasks_and_waits_for_both() {
    let (mut script, run) = Script::with_executor();
    let agent = script.agents[0];
    let order = AgentOrder::Drain(Drain::default());
    script.ask(OperatorRequest::OrderAgent { agent, order });
    let said = script.take();
    assert!(said.contains("Kill a grace None (AgentDraining)"), "{said}");
    assert_eq!(said.matches("(AgentDraining)").count(), 2, "{said}");
    let drained = |script: &Script| script.master.snapshot().agents[0].drained;
    script.update(2, "a", TaskState::Killed, 3);
    script.acknowledge(1, "a", 3);
    assert!(!drained(&script), "its executor has still to end");
    script.update(2, &run, TaskState::Killed, 4);
    assert!(drained(&script));
}
