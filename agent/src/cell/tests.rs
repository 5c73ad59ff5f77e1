//! The table of sandboxes, with guests that do as the test says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nesos_api::v1;
use nesos_runtime::{Exit, Observer, SandboxSpec, Stdin, Stdout};
use nesos_types::bundle::Digest;
use nesos_types::cell::{CellCommand, CellEvent, SandboxLaunch};
use nesos_types::ids::{FrameworkId, TaskId, TaskKey};
use nesos_types::limits::Usage;
use nesos_types::resources::Resources;
use nesos_types::task::{Stdio, TaskInfo, TaskReason, TaskState};

use super::launcher::{Guest, GuestIo, Kill, Launcher};
use super::lifetime::{self, End, Graces};
use super::outbox::Session;
use super::sandboxes::{Sandboxes, Seat};

/// Launches nothing, and remembers who was to be told.
#[derive(Clone, Default)]
struct Stage {
    guests: Arc<Mutex<Vec<Actor>>>,
    kills: Arc<Mutex<Vec<(TaskId, Kill)>>>,
}

struct Actor {
    task: TaskId,
    observer: Box<dyn Observer>,
}

#[derive(Clone)]
struct Handle {
    task: TaskId,
    kills: Arc<Mutex<Vec<(TaskId, Kill)>>>,
}

impl Launcher for Stage {
    type Guest = Handle;
    fn launch(&self, spec: SandboxSpec, observer: Box<dyn Observer>) -> Handle {
        let task = spec.task.id.clone();
        let actor = Actor {
            task: task.clone(),
            observer,
        };
        self.guests.lock().expect("not poisoned").push(actor);
        let kills = self.kills.clone();
        Handle { task, kills }
    }
}

impl Guest for Handle {
    fn kill(&self, kill: &Kill) {
        let kill = (self.task.clone(), kill.clone());
        self.kills.lock().expect("not poisoned").push(kill);
    }
}

impl Stage {
    fn launched(&self) -> Vec<String> {
        let guests = self.guests.lock().expect("not poisoned");
        guests.iter().map(|guest| guest.task.to_string()).collect()
    }

    fn run(&self, number: usize) {
        self.guests.lock().expect("not poisoned")[number]
            .observer
            .running();
    }

    fn exit(&self, number: usize) {
        let exit = Exit {
            state: TaskState::Finished,
            reason: TaskReason::Exited,
            message: String::new(),
            exit_code: Some(0),
            backtrace: Vec::new(),
            usage: Usage::default(),
            data: vec![1, 2, 3],
        };
        self.guests.lock().expect("not poisoned")[number]
            .observer
            .exited(exit);
    }
}

fn cell() -> (Stage, Arc<Sandboxes<Stage>>) {
    let stage = Stage::default();
    (stage.clone(), Sandboxes::new(stage))
}

fn key(task: &str) -> TaskKey {
    TaskKey {
        framework: FrameworkId(1),
        task: task.parse().expect("a task id"),
    }
}

fn launch(task: &str, stdio: Stdio) -> CellCommand {
    let key = key(task);
    let mut info = TaskInfo::new(key.task.clone(), Digest([0; 32]), Resources::default());
    info.stdio = stdio;
    CellCommand::Launch(Box::new(SandboxLaunch {
        key,
        task: Arc::new(info),
        compiled: PathBuf::from("/nowhere/image"),
        directory: PathBuf::from("/nowhere/sandbox"),
        volumes: Vec::new(),
        fuel_per_cpu_second: 0,
    }))
}

fn kill(task: &str) -> CellCommand {
    let grace = Duration::from_secs(1);
    CellCommand::Kill {
        key: key(task),
        grace,
    }
}

fn acknowledge(task: &str, sequence: u32) -> CellCommand {
    CellCommand::Acknowledge {
        key: key(task),
        sequence,
    }
}

fn io() -> GuestIo {
    GuestIo {
        stdin: Stdin::Empty,
        stdout: Stdout::Null,
        stderr: Stdout::Null,
    }
}

/// What the agent has heard since it last listened: `hello` with what the cell holds, and updates.
fn heard(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.events.try_recv().ok())
        .map(
            |event: v1::CellEvent| match event.try_into().expect("valid") {
                CellEvent::Hello { sandboxes, .. } => {
                    let mut held: Vec<String> = sandboxes
                        .iter()
                        .map(|report| format!(" {}:{}", report.key.task, report.state))
                        .collect();
                    held.sort();
                    format!("hello{}", held.concat())
                }
                CellEvent::Update {
                    key,
                    sequence,
                    status,
                } => {
                    let reason = status.reason.map(|reason| format!(" {reason:?}"));
                    let reason = reason.unwrap_or_default();
                    format!("{} {sequence} {}{reason}", key.task, status.state)
                }
            },
        )
        .collect()
}

#[tokio::test]
async fn sandboxes_start_in_order_and_once() {
    let (stage, cell) = cell();
    for task in ["b", "a", "b", "c"] {
        cell.on_command(launch(task, Stdio::Retained));
    }
    assert_eq!(stage.launched(), ["b", "a", "c"]);
}

#[tokio::test]
async fn statuses_are_repeated_on_each_connection_until_acknowledged() {
    let (stage, cell) = cell();
    let mut first = cell.connect();
    cell.on_command(launch("a", Stdio::Retained));
    stage.run(0);
    assert_eq!(heard(&mut first), ["hello", "a 1 running"]);
    stage.exit(0);
    assert_eq!(heard(&mut first), ["a 2 finished Exited"]);
    cell.on_command(acknowledge("a", 1));

    let mut second = cell.connect();
    assert!(first.replaced.is_cancelled() && first.events.recv().await.is_none());
    assert_eq!(
        heard(&mut second),
        ["hello a:finished", "a 2 finished Exited"]
    );
    assert!(!cell.is_empty());
    cell.on_command(acknowledge("a", 2));
    assert!(cell.is_empty());
    assert_eq!(heard(&mut cell.connect()), ["hello"]);
}

#[tokio::test]
async fn what_happens_while_nobody_listens_is_told_later() {
    let (stage, cell) = cell();
    let session = cell.connect();
    cell.on_command(launch("a", Stdio::Retained));
    cell.disconnect(session.number);
    assert!(!cell.is_connected());
    stage.run(0);
    stage.exit(0);
    let told = ["hello a:finished", "a 1 running", "a 2 finished Exited"];
    assert_eq!(heard(&mut cell.connect()), told);
}

#[tokio::test]
async fn the_end_of_an_older_connection_does_not_end_the_newer() {
    let (_stage, cell) = cell();
    let older = cell.connect();
    let mut newer = cell.connect();
    cell.disconnect(older.number);
    assert!(cell.is_connected());
    assert_eq!(heard(&mut newer), ["hello"]);
}

#[tokio::test]
async fn a_kill_reaches_the_guest() {
    let (stage, cell) = cell();
    cell.on_command(launch("a", Stdio::Retained));
    cell.on_command(kill("a"));
    cell.on_command(kill("unknown"));
    let kills = stage.kills.lock().expect("not poisoned");
    assert_eq!(kills.len(), 1);
    assert_eq!(kills[0].0, key("a").task);
    assert_eq!(kills[0].1.reason, TaskReason::KillRequested);
}

#[tokio::test]
async fn an_attached_task_waits_for_its_only_client() {
    let (stage, cell) = cell();
    assert!(matches!(cell.take_seat(&key("a")), Seat::Unknown));
    cell.on_command(launch("a", Stdio::Attached));
    assert!(stage.launched().is_empty());
    let Seat::Free(launch) = cell.take_seat(&key("a")) else {
        panic!("the seat is taken");
    };
    assert!(matches!(cell.take_seat(&key("a")), Seat::Taken));
    cell.start(*launch, io());
    assert_eq!(stage.launched(), ["a"]);
    stage.exit(0);
    assert!(matches!(cell.take_seat(&key("a")), Seat::Ended));
}

#[tokio::test]
async fn nobody_attaches_to_a_task_that_keeps_its_output() {
    let (_stage, cell) = cell();
    cell.on_command(launch("a", Stdio::Retained));
    assert!(matches!(cell.take_seat(&key("a")), Seat::NotAttached));
}

#[tokio::test]
async fn a_task_that_waits_for_its_client_can_be_killed() {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(launch("a", Stdio::Attached));
    cell.on_command(kill("a"));
    let told = ["hello", "a 1 killed KilledDuringLaunch"];
    assert_eq!(heard(&mut session), told);
    assert!(stage.launched().is_empty() && cell.is_quiet());
}

#[tokio::test]
async fn a_kill_between_seat_and_start_is_kept() {
    let (stage, cell) = cell();
    cell.on_command(launch("a", Stdio::Attached));
    let Seat::Free(launch) = cell.take_seat(&key("a")) else {
        panic!("the seat is taken");
    };
    cell.on_command(kill("a"));
    cell.start(*launch, io());
    assert_eq!(stage.kills.lock().expect("not poisoned").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_is_not_waited_for_for_ever() {
    let (_stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(launch("a", Stdio::Attached));
    assert_eq!(heard(&mut session), ["hello"]);
    let event = session.events.recv().await.expect("a status");
    let event: CellEvent = event.try_into().expect("valid");
    let CellEvent::Update { status, .. } = event else {
        panic!("not an update: {event:?}");
    };
    assert_eq!(status.state, TaskState::Dropped);
    assert_eq!(status.reason, Some(TaskReason::LaunchFailed));
}

const GRACES: Graces = Graces {
    orphan: Duration::from_secs(900),
    idle: Duration::from_secs(60),
};

#[tokio::test(start_paused = true)]
async fn an_empty_cell_without_an_agent_goes_after_the_idle_grace() {
    let (_stage, cell) = cell();
    let began = tokio::time::Instant::now();
    assert_eq!(lifetime::outlive(&cell, GRACES).await, End::Idle);
    assert_eq!(began.elapsed(), GRACES.idle);
}

#[tokio::test(start_paused = true)]
async fn a_cell_with_sandboxes_outlives_its_agent_for_the_orphan_grace() {
    let (_stage, cell) = cell();
    cell.on_command(launch("a", Stdio::Retained));
    let began = tokio::time::Instant::now();
    assert_eq!(lifetime::outlive(&cell, GRACES).await, End::Orphaned);
    assert_eq!(began.elapsed(), GRACES.orphan);
}

#[tokio::test(start_paused = true)]
async fn a_retired_cell_goes_with_its_last_status() {
    let (stage, cell) = cell();
    let _session = cell.connect();
    cell.on_command(launch("a", Stdio::Retained));
    cell.on_command(CellCommand::Retire);
    let end = tokio::spawn({
        let cell = cell.clone();
        async move { lifetime::outlive(&cell, GRACES).await }
    });
    stage.exit(0);
    tokio::task::yield_now().await;
    assert!(!end.is_finished());
    cell.on_command(acknowledge("a", 1));
    assert_eq!(end.await.expect("no panic"), End::Retired);
}

#[tokio::test(start_paused = true)]
async fn a_terminated_cell_ends_its_sandboxes_and_waits_to_be_heard() {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(launch("a", Stdio::Retained));
    let end = tokio::spawn({
        let cell = cell.clone();
        async move { lifetime::wind_up(&cell, End::Terminated).await }
    });
    tokio::task::yield_now().await;
    let reason = stage.kills.lock().expect("not poisoned")[0].1.reason;
    assert_eq!(reason, TaskReason::CellTerminated);
    cell.on_command(launch("b", Stdio::Retained));
    let refused = ["hello", "b 1 dropped LaunchFailed"];
    assert_eq!(heard(&mut session), refused);
    stage.exit(0);
    cell.on_command(acknowledge("a", 1));
    assert!(!end.is_finished());
    cell.on_command(acknowledge("b", 1));
    end.await.expect("no panic");
}
