//! Runs of executors and the tasks in them.

use std::time::Duration;

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_agent_core::checkpoint::RecordKey;
use nesos_types::cell::CellEvent;
use nesos_types::executor::ExecutorInfo;
use nesos_types::ids::RunId;
use nesos_types::limits::Metering;
use nesos_types::message::AgentCommand;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason, TaskState, Work};

use crate::rig::{FRAMEWORK, Rig, bundle, config, digest, key, task};

const RUN: RunId = RunId(1);

fn run_id() -> String {
    RUN.to_string()
}

fn executor() -> ExecutorInfo {
    let id = "x".parse().expect("well-formed");
    ExecutorInfo::new(id, digest(1), Resources::new(500, 64 << 20))
}

fn run() -> TaskInfo {
    TaskInfo::from((RUN, &executor()))
}

fn inside(id: &str) -> TaskInfo {
    TaskInfo {
        work: Work::InExecutor {
            executor: executor().into(),
            run: Some(RUN),
        },
        ..task(id)
    }
}

/// With an executor that is ready in cell 0 and has task `a`.
fn busy() -> Rig {
    let mut rig = Rig::warm(config());
    rig.launch([run(), inside("a")]);
    rig.status(0, &run_id(), TaskState::Running);
    rig.ack(&run_id());
    rig.status(0, "a", TaskState::Running);
    // It was said to be starting before.
    rig.ack("a");
    rig.ack("a");
    rig.commit();
    rig
}

#[test]
fn tasks_wait_for_their_executor_and_nobody_waits_for_them() {
    let mut rig = Rig::warm(config());
    expect![[r#"
        cell-0 <- launch ex-00000000000000000000000000000001 from /cache/1 in sandboxes/cell-0/fw/0/ex-00000000000000000000000000000001
        master <- a starting, latest starting
        cell-0 <- launch alone from /cache/1 in sandboxes/cell-0/fw/0/alone
    "#]]
    .assert_eq(&rig.launch([run(), inside("a"), task("alone")]));
    expect![[r#"
        master <- ex-00000000000000000000000000000001 running, latest running
        cell-0 <- assign a
    "#]]
    .assert_eq(&rig.status(0, &run_id(), TaskState::Running));
    expect![[r#"
        cell-0 <- assign c
    "#]]
    .assert_eq(&rig.launch([inside("c")]));
}

#[test]
fn an_executor_that_is_not_ready_in_time_takes_its_tasks_with_it() {
    let mut rig = Rig::warm(config());
    rig.launch([run(), inside("a")]);
    rig.pass(Duration::from_secs(59));
    assert_eq!(rig.state("a"), Some(TaskState::Starting));
    let said = rig.pass(Duration::from_secs(1));
    assert!(said.contains("cell-0 <- kill ex-"), "{said}");
    let run = run_id();
    let killed = Some(TaskReason::KillRequested);
    let said = rig.status_because(0, &run, TaskState::Killed, killed);
    assert!(
        said.contains("killed/ExecutorRegistrationTimeout"),
        "{said}"
    );
    assert_eq!(rig.state("a"), Some(TaskState::Failed));
}

#[test]
fn a_bundle_that_cannot_be_had_is_the_tasks_reason_too() {
    let mut rig = Rig::warm(config());
    let mut executor = executor();
    executor.bundle = digest(2);
    let run = TaskInfo::from((RUN, &executor));
    let work = Work::InExecutor {
        executor: executor.into(),
        run: Some(RUN),
    };
    rig.launch([run, TaskInfo { work, ..task("a") }]);
    rig.ack("a");
    rig.ack(&run_id());
    let failed = Event::BundleFailed {
        bundle: bundle(2),
        reason: TaskReason::InvalidModule,
        message: "not Wasm".into(),
    };
    expect![[r#"
        master <- a error/InvalidModule, latest error "the executor ended: not Wasm"
        master <- ex-00000000000000000000000000000001 error/InvalidModule, latest error "not Wasm"
    "#]]
    .assert_eq(&rig.event(failed));
}

#[test]
fn an_executor_that_never_got_its_task_is_ended() {
    let mut rig = Rig::warm(config());
    rig.launch([run(), inside("a")]);
    rig.ack("a");
    expect![[r#"
        cell-0 <- kill ex-00000000000000000000000000000001 within 5s
        master <- ex-00000000000000000000000000000001 killing/KillRequested, latest killing "the guest has 5s to end by itself"
        master <- a killed/KilledDuringLaunch, latest killed "the task was killed before its guest started"
    "#]]
    .assert_eq(&rig.kill("a", None));
}

#[test]
fn an_executor_that_had_tasks_stays_without_them() {
    let mut rig = busy();
    rig.status(0, "a", TaskState::Finished);
    rig.ack("a");
    assert_eq!(rig.state(&run_id()), Some(TaskState::Running));
    expect![[r#"
        cell-0 <- assign b
    "#]]
    .assert_eq(&rig.launch([inside("b")]));
}

#[test]
fn a_task_for_an_executor_that_is_over_is_dropped() {
    let mut rig = busy();
    rig.kill(&run_id(), None);
    let said = rig.launch([inside("late")]);
    assert!(said.contains("late dropped/ExecutorTerminated"), "{said}");
}

#[test]
fn tasks_end_as_their_executor_was_ended() {
    let mut rig = busy();
    rig.command(AgentCommand::Kill {
        key: key(&run_id()),
        grace: None,
        reason: TaskReason::Preempted,
    });
    rig.ack(&run_id());
    let killed = Some(TaskReason::KillRequested);
    expect![[r#"
        master <- a killed/Preempted, latest killed
    "#]]
    .assert_eq(&rig.status_because(0, "a", TaskState::Killed, killed));
    expect![[r#"
        master <- ex-00000000000000000000000000000001 killed/Preempted, latest killed
    "#]]
    .assert_eq(&rig.status_because(0, &run_id(), TaskState::Killed, killed));
}

#[test]
fn a_cell_that_dies_takes_the_executor_and_its_tasks() {
    let mut rig = busy();
    let failed = Event::CellFailed {
        cell: nesos_agent_core::CellId(0),
        message: "signal 9".into(),
    };
    let said = rig.event(failed);
    assert!(said.contains("a failed/CellTerminated"), "{said}");
    assert!(
        said.contains(&format!("{} failed/CellTerminated", run_id())),
        "{said}"
    );
}

#[test]
fn an_agent_that_restarts_finds_executor_and_tasks_in_the_cell() {
    let before = busy();
    let mut rig = Rig::recover(config(), before.now, before.disk.clone());
    rig.tick();
    let there = [
        (run(), TaskState::Running),
        (inside("a"), TaskState::Running),
    ];
    rig.hello_with(0, there);
    assert_eq!(rig.state("a"), Some(TaskState::Running));
    rig.connected();
    rig.registered();
    expect![[r#"
        cell-0 <- assign b
    "#]]
    .assert_eq(&rig.launch([inside("b")]));
}

#[test]
fn a_task_that_was_assigned_before_anything_was_written_is_found() {
    let mut before = Rig::warm(config());
    before.launch([run(), inside("a")]);
    before.commit();
    before.status(0, &run_id(), TaskState::Running);
    let mut rig = Rig::recover(config(), before.now, before.disk.clone());
    rig.tick();
    let there = [
        (run(), TaskState::Running),
        (inside("a"), TaskState::Running),
    ];
    let said = rig.hello_with(0, there);
    assert!(
        !said.contains("kill") && !said.contains("assign a"),
        "{said}"
    );
    assert!(rig.state("a").is_some_and(|state| !state.is_terminal()));
}

#[test]
fn messages_go_to_guests_that_are_there_and_come_from_them() {
    let mut rig = busy();
    let message = |id: &str| AgentCommand::Message {
        key: key(id),
        data: b"hi".to_vec(),
    };
    expect![[r#"
        cell-0 <- tell ex-00000000000000000000000000000001 hi
    "#]]
    .assert_eq(&rig.command(message(&run_id())));
    assert_eq!(rig.command(message("nobody")), "");
    let said = |id: &str| CellEvent::Message {
        key: key(id),
        data: b"ho".to_vec(),
    };
    expect![[r#"
        master <- ex-00000000000000000000000000000001 says ho
    "#]]
    .assert_eq(&rig.cell_says(0, said(&run_id())));
    assert_eq!(rig.cell_says(7, said(&run_id())), "", "another cell's");
}

#[test]
fn a_bundle_for_a_child_is_fetched_once_and_answered() {
    let mut rig = busy();
    let wanted = |request| CellEvent::BundleWanted {
        request,
        key: key(&run_id()),
        bundle: digest(2),
        metering: Metering::Clock,
    };
    expect![[r#"
        fetch bundle 2
    "#]]
    .assert_eq(&rig.cell_says(0, wanted(1)));
    assert_eq!(rig.cell_says(0, wanted(2)), "");
    expect![[r#"
        cell-0 <- bundle #1 is Ok("/cache/2")
        cell-0 <- bundle #2 is Ok("/cache/2")
    "#]]
    .assert_eq(&rig.ready(2));
    expect![[r#"
        cell-0 <- bundle #3 is Ok("/cache/2")
    "#]]
    .assert_eq(&rig.cell_says(0, wanted(3)));
    let said = rig.pass(Duration::from_secs(61));
    assert!(said.contains("release bundle 2"), "{said}");
}

#[test]
fn a_bundle_that_is_expected_is_fetched_and_let_go() {
    let mut rig = Rig::warm(config());
    let prewarm = AgentCommand::Prewarm {
        bundle: digest(2),
        repository: None,
    };
    expect![[r#"
        fetch bundle 2
    "#]]
    .assert_eq(&rig.command(prewarm));
    rig.ready(2);
    let said = rig.pass(Duration::from_secs(61));
    assert!(said.contains("release bundle 2"), "{said}");
}

fn failed(cell: u32) -> Event {
    Event::CellFailed {
        cell: nesos_agent_core::CellId(cell),
        message: "signal 9".into(),
    }
}

/// Of a framework that is over: nobody wants to hear of its executor and tasks.
fn silent() -> Rig {
    let mut rig = busy();
    rig.command(AgentCommand::ShutdownFramework(FRAMEWORK));
    rig.commit();
    rig
}

#[test]
fn a_cell_that_dies_with_what_nobody_wants_to_hear_of_takes_nothing_else() {
    let mut rig = silent();
    rig.event(failed(0));
    assert_eq!(rig.state("a"), None);
    let before = silent();
    let mut rig = Rig::recover(config(), before.now, before.disk.clone());
    rig.tick();
    rig.event(failed(0));
    assert_eq!(rig.state("a"), None);
}

#[test]
fn a_host_that_is_started_anew_forgets_what_nobody_wants_to_hear_of() {
    let before = silent();
    let mut config = config();
    config.boot_id = "boot-2".into();
    let mut rig = Rig::recover(config, before.now, before.disk.clone());
    rig.tick();
    assert_eq!((rig.state("a"), rig.state(&run_id())), (None, None));
}

#[test]
fn a_checkpoint_without_the_cell_of_a_silent_task_is_survived() {
    let before = silent();
    let is_cell = |key: &RecordKey| matches!(key, RecordKey::Cell(_));
    let disk = before.disk.into_iter().filter(|(key, _)| !is_cell(key));
    let mut rig = Rig::recover(config(), before.now, disk.collect());
    rig.tick();
    assert_eq!(rig.state("a"), None);
}

#[test]
fn a_cell_that_has_lost_the_executor_has_lost_its_tasks() {
    let mut rig = Rig::warm(config());
    rig.launch([run(), inside("a")]);
    rig.status(0, &run_id(), TaskState::Running);
    rig.event(Event::CellDisconnected {
        cell: nesos_agent_core::CellId(0),
        message: "cut".into(),
    });
    rig.hello(0, &[]);
    assert_eq!(rig.state("a"), Some(TaskState::Gone));
    assert_eq!(rig.kill("a", None), "", "it is not there to be killed");
    let mut rig = silent();
    rig.event(Event::CellDisconnected {
        cell: nesos_agent_core::CellId(0),
        message: "cut".into(),
    });
    rig.hello(0, &[]);
    assert_eq!(rig.state("a"), None);
}

#[test]
fn a_task_of_an_executor_that_a_cell_does_not_have_is_not_adopted() {
    let mut rig = Rig::warm(config());
    rig.event(Event::CellDisconnected {
        cell: nesos_agent_core::CellId(0),
        message: "cut".into(),
    });
    rig.hello_with(0, [(inside("a"), TaskState::Running)]);
    assert!(rig.state("a").is_none_or(TaskState::is_terminal));
}

#[test]
fn an_executor_whose_task_is_refused_does_not_stay() {
    let mut rig = Rig::warm(config());
    let large = TaskInfo {
        resources: Resources::new(1000, 1 << 40),
        ..inside("a")
    };
    let said = rig.launch([run(), large]);
    assert!(said.contains("a dropped/ResourcesUnknown"), "{said}");
    assert!(said.contains(&format!("kill {}", run_id())), "{said}");
}

#[test]
fn a_restart_does_not_cut_the_grace_of_an_executor() {
    let mut before = busy();
    before.kill(&run_id(), Some(3600));
    before.commit();
    let mut rig = Rig::recover(config(), before.now, before.disk.clone());
    rig.tick();
    rig.hello_with(
        0,
        [
            (run(), TaskState::Running),
            (inside("a"), TaskState::Running),
        ],
    );
    let said = rig.pass(Duration::from_secs(61));
    assert!(!said.contains("within 0ns"), "{said}");
}
