//! The table of sandboxes, with guests that do as the test says.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nesos_api::v1;
use nesos_runtime::{
    Exit, GuestEvent, GuestUpdate, MAX_STATUS_BYTES, MessageRefused, Observer, PostError,
    SandboxSpec, Stdin, Stdout, UpdateRefused, Uplink,
};
use nesos_types::bundle::Digest;
use nesos_types::cell::{CellCommand, CellEvent, SandboxLaunch};
use nesos_types::ids::{FrameworkId, TaskId, TaskKey};
use nesos_types::limits::Usage;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{Stdio, TaskInfo, TaskReason, TaskState};

use super::launcher::{Guest, GuestIo, Kill, Launcher};
use super::lifetime::{self, End, Graces};
use super::outbox::Session;
use super::sandboxes::{Sandboxes, Seat};

/// Launches nothing, and remembers who was to be told.
#[derive(Clone, Default)]
struct Stage {
    guests: Arc<Mutex<Vec<Actor>>>,
    seen: Seen,
}

/// What guests were told.
#[derive(Clone, Default)]
struct Seen {
    kills: Arc<Mutex<Vec<(TaskId, Kill)>>>,
    rates: Arc<Mutex<Vec<(TaskId, u64)>>>,
    limits: Arc<Mutex<Vec<(TaskId, u64, u64)>>>,
    posted: Arc<Mutex<Vec<(TaskId, GuestEvent)>>>,
    /// Whether mailboxes are full.
    full: Arc<AtomicBool>,
    /// Whether guests say that they are not well.
    sick: Arc<AtomicBool>,
}

struct Actor {
    task: TaskId,
    observer: Box<dyn Observer>,
    uplink: Arc<dyn Uplink>,
}

#[derive(Clone)]
struct Handle {
    task: TaskId,
    seen: Seen,
}

impl std::ops::Deref for Handle {
    type Target = Seen;
    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl std::ops::Deref for Stage {
    type Target = Seen;
    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl Launcher for Stage {
    type Guest = Handle;
    fn launch(&self, spec: SandboxSpec, observer: Box<dyn Observer>) -> Handle {
        let task = spec.task.id.clone();
        let actor = Actor {
            task: task.clone(),
            observer,
            uplink: spec.uplink,
        };
        self.guests.lock().expect("not poisoned").push(actor);
        Handle {
            task,
            seen: self.seen.clone(),
        }
    }
}

impl Guest for Handle {
    fn kill(&self, kill: &Kill) {
        let kill = (self.task.clone(), kill.clone());
        self.kills.lock().expect("not poisoned").push(kill);
    }

    fn set_cpu(&self, cpu_milli: u64) {
        let rate = (self.task.clone(), cpu_milli);
        self.rates.lock().expect("not poisoned").push(rate);
    }

    fn set_limits(&self, cpu_milli: u64, mem_bytes: u64) {
        let limits = (self.task.clone(), cpu_milli, mem_bytes);
        self.limits.lock().expect("not poisoned").push(limits);
    }

    fn post(&self, event: GuestEvent) -> Result<(), PostError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(PostError::Full);
        }
        let posted = (self.task.clone(), event);
        self.posted.lock().expect("not poisoned").push(posted);
        Ok(())
    }

    async fn healthy(&self) -> Result<(), String> {
        if self.sick.load(Ordering::SeqCst) {
            return Err("sick".to_owned());
        }
        Ok(())
    }

    fn cpu_ns(&self) -> u64 {
        5
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

#[path = "tests/executors.rs"]
mod executors;
#[path = "tests/health.rs"]
mod health;

fn cell() -> (Stage, Arc<Sandboxes<Stage>>) {
    let stage = Stage::default();
    (stage.clone(), Sandboxes::new(stage, Role::default_role()))
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
        agent: None,
        hostname: String::new(),
    }))
}

fn kill(task: &str) -> CellCommand {
    let grace = Duration::from_secs(1);
    CellCommand::Kill {
        key: key(task),
        grace,
    }
}

fn acknowledge(task: &str, sequence: u64) -> CellCommand {
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
                CellEvent::Message { key, data } => {
                    format!("{} says {}", key.task, String::from_utf8_lossy(&data))
                }
                CellEvent::BundleWanted { request, key, .. } => {
                    format!("{} wants bundle #{request}", key.task)
                }
                CellEvent::Usage { samples, .. } => {
                    let mut used: Vec<String> = samples
                        .iter()
                        .map(|sample| format!(" {}:{}", sample.key.task, sample.cpu_ns))
                        .collect();
                    used.sort();
                    format!("used{}", used.concat())
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
async fn statuses_are_repeated_in_the_order_in_which_they_were_said() {
    let (stage, cell) = cell();
    let mut first = cell.connect();
    for (i, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        cell.on_command(launch(name, Stdio::Retained));
        stage.run(i);
    }
    for i in [3, 0, 5, 1, 4, 2] {
        std::thread::sleep(Duration::from_millis(1));
        stage.exit(i);
    }
    let said = heard(&mut first);
    let ends = |lines: &[String]| {
        let lines = lines.iter().filter(|line| line.contains(" 2 finished"));
        lines.cloned().collect::<Vec<_>>()
    };
    assert_eq!(ends(&said).len(), 6);
    assert_eq!(ends(&heard(&mut cell.connect())), ends(&said));
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

fn throttle(task: &str, cpu_milli: u64) -> CellCommand {
    CellCommand::Throttle {
        key: key(task),
        cpu_milli,
    }
}

#[tokio::test]
async fn a_throttle_reaches_the_guest_even_if_it_starts_later() {
    let (stage, cell) = cell();
    cell.on_command(throttle("later", 10));
    for (task, stdio) in [("now", Stdio::Retained), ("later", Stdio::Attached)] {
        cell.on_command(launch(task, stdio));
        cell.on_command(throttle(task, 20));
    }
    let Seat::Free(launch) = cell.take_seat(&key("later")) else {
        panic!("the seat is taken");
    };
    cell.on_command(throttle("later", 30));
    cell.start(*launch, io());
    cell.on_command(throttle("later", 40));
    let rates = stage.rates.lock().expect("not poisoned");
    let rates = rates.iter().map(|(task, rate)| (task.as_str(), *rate));
    let rates: Vec<_> = rates.collect();
    let expected = [("now", 20), ("later", 30), ("later", 40)];
    assert_eq!(rates, expected);
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn measure(seconds: u64) -> CellCommand {
    let interval = Duration::from_secs(seconds);
    CellCommand::MeasureUsage { interval }
}

#[tokio::test(start_paused = true)]
async fn usage_is_told_while_the_agent_wants_to_know() {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    for task in ["a", "b"] {
        cell.on_command(launch(task, Stdio::Retained));
    }
    cell.on_command(launch("waits", Stdio::Attached));
    stage.exit(1);
    assert_eq!(heard(&mut session), ["hello", "b 1 finished Exited"]);
    pass(5).await;
    assert_eq!(heard(&mut session), [""; 0]);
    cell.on_command(measure(2));
    pass(5).await;
    assert_eq!(heard(&mut session), ["used a:5 waits:0"; 3]);
    cell.on_command(measure(0));
    pass(5).await;
    assert_eq!(heard(&mut session), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_wish_to_know_of_usage_ends_with_its_connection() {
    let (_stage, cell) = cell();
    let older = cell.connect();
    cell.on_command(measure(1));
    let mut session = cell.connect();
    pass(3).await;
    assert_eq!(heard(&mut session), ["hello"]);
    cell.on_command(measure(2));
    cell.disconnect(older.number);
    pass(1).await;
    assert_eq!(heard(&mut session), ["used"]);
    cell.disconnect(session.number);
    let mut next = cell.connect();
    pass(3).await;
    assert_eq!(heard(&mut next), ["hello"]);
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
