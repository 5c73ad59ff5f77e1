//! The table of a cell's sandboxes: launched in the order of their commands, slowed down, measured, killed,
//! reported on until everything about them is acknowledged.
//!
//! It does not know what a guest is: a [`Launcher`] starts them, and tells a [`Reporter`] what becomes
//! of them on threads of its own. Nothing in here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use nesos_runtime::{GuestEvent, MessageRefused, Stdin};
use nesos_types::cell::{CellCommand, CellEvent, CpuSample, SandboxLaunch};
use nesos_types::ids::TaskKey;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, Stdio, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::task::AbortOnDropHandle;

use super::directory;
use super::executors::{Force, Run, force_at, run_of};
use super::launcher::{Guest, GuestIo, Kill, Launcher, spec};
use super::ledger::Ledger;
use super::measuring::Measuring;
use super::outbox::{Outbox, Session};
use super::reporter::Reporter;
use super::uplink::{GuestUplink, Wants};
use crate::clock::Clock;

/// How long an attached task waits for its client.
const CLIENT_PATIENCE: Duration = Duration::from_secs(300);

/// How long the guests of a cell that ends have to end by themselves, where their tasks do not say.
pub(super) const DEFAULT_KILL_GRACE: Duration = Duration::from_secs(3);

/// The sandboxes of a cell.
pub(super) struct Sandboxes<L: Launcher> {
    launcher: L,
    clock: Clock,
    role: Role,
    pub(super) table: DashMap<TaskKey, Entry<L::Guest>>,
    /// Runs of executors that have not ended. No lock of the table is taken while one of these is held.
    pub(super) runs: DashMap<TaskKey, Run<L::Guest>>,
    pub(super) wants: Wants,
    /// How many have not ended.
    live: AtomicUsize,
    pub(super) outbox: Outbox,
    measuring: Measuring,
    /// The agent wants the cell to end when the last sandbox is gone.
    retiring: AtomicBool,
    /// The cell is about to end: nothing is launched any more.
    closing: AtomicBool,
    /// Told when something has changed that may decide over the cell's end.
    changed: Notify,
    /// Told when a further attached task waits for its client.
    attachable: Notify,
}

pub(super) struct Entry<G> {
    pub(super) ledger: Ledger,
    stage: Stage<G>,
    /// What it may use in place of what its task accepted, for a guest that has yet to start.
    throttle: Option<u64>,
    /// What its health check has said last.
    pub(super) healthy: Option<bool>,
    /// Its probes, which end with this.
    pub(super) watch: Option<AbortOnDropHandle<()>>,
}

enum Stage<G> {
    /// Waits for its client, but not for ever.
    Waiting {
        launch: Box<SandboxLaunch>,
        _patience: AbortOnDropHandle<()>,
    },
    /// On its way to the launcher; a kill that comes meanwhile is kept.
    Starting(Option<Kill>),
    /// With the launcher.
    Started(G),
    /// In this run of an executor, which is ended if it does not obey a kill.
    InExecutor { run: TaskKey, force: Option<Force> },
    /// Over; the ledger says how.
    Ended,
}

/// What a client that wants to attach finds.
#[derive(Debug)]
pub(super) enum Seat {
    /// The task waited for its client, who has to start it.
    Free(Box<SandboxLaunch>),
    /// No such task, or not yet.
    Unknown,
    /// Another client has attached.
    Taken,
    /// The task keeps its output; nobody can attach.
    NotAttached,
    /// The task has ended.
    Ended,
}

impl<L: Launcher> Sandboxes<L> {
    /// No sandboxes yet.
    pub(super) fn new(launcher: L, role: Role) -> Arc<Self> {
        Arc::new(Self {
            launcher,
            role,
            clock: Clock::start(),
            table: DashMap::new(),
            runs: DashMap::new(),
            wants: Wants::default(),
            live: AtomicUsize::new(0),
            outbox: Outbox::default(),
            measuring: Measuring::default(),
            retiring: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            changed: Notify::new(),
            attachable: Notify::new(),
        })
    }

    /// Does what the agent asks. Must be called within a tokio runtime.
    pub(super) fn on_command(self: &Arc<Self>, command: CellCommand) {
        match command {
            CellCommand::Launch(launch) => self.on_launch(launch),
            CellCommand::Assign { key, task } => self.on_assign(&key, task),
            CellCommand::Message { key, data } => self.on_message(&key, data),
            CellCommand::BundleReady { request, compiled } => {
                self.on_bundle_ready(request, compiled);
            }
            CellCommand::Kill { key, grace } => self.kill(
                &key,
                Kill {
                    grace,
                    reason: TaskReason::KillRequested,
                    message: "",
                },
            ),
            CellCommand::Acknowledge { key, sequence } => self.on_acknowledge(&key, sequence),
            CellCommand::Throttle { key, cpu_milli } => self.on_throttle(&key, cpu_milli),
            CellCommand::MeasureUsage { interval } => {
                let sandboxes = self.clone();
                self.measuring
                    .repeat(interval, move || sandboxes.report_usage());
            }
            CellCommand::Retire => {
                self.retiring.store(true, Ordering::SeqCst);
                self.changed.notify_one();
            }
        }
    }

    fn on_launch(self: &Arc<Self>, launch: Box<SandboxLaunch>) {
        let key = launch.key.clone();
        let Slot::Vacant(slot) = self.table.entry(key.clone()) else {
            return;
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        let ledger = Ledger::new(launch.task.clone());
        if launch.task.run_of().is_some() {
            self.runs.insert(key.clone(), Run::new(&launch.task));
        }
        match launch.task.stdio {
            _ if self.closing.load(Ordering::SeqCst) => {
                drop(slot.insert(Entry::new(ledger, Stage::Starting(None))));
                self.fail_launch(&key, "the cell is ending");
            }
            Stdio::Retained => {
                drop(slot.insert(Entry::new(ledger, Stage::Starting(None))));
                self.start_retained(*launch);
            }
            Stdio::Attached => {
                let stage = Stage::Waiting {
                    launch,
                    _patience: self.be_patient_with_client_of(key),
                };
                drop(slot.insert(Entry::new(ledger, stage)));
                self.attachable.notify_waiters();
            }
        }
    }

    /// A task for an executor.
    fn on_assign(&self, key: &TaskKey, task: SharedTask) {
        let Slot::Vacant(slot) = self.table.entry(key.clone()) else {
            return;
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        let ledger = Ledger::new(task.clone());
        let run = run_of(key, &task).unwrap_or_else(|| key.clone());
        let stage = Stage::InExecutor {
            run: run.clone(),
            force: None,
        };
        drop(slot.insert(Entry::new(ledger, stage)));
        self.give_to_run(key, &run, task);
    }

    /// The scheduler writes to a guest. What it cannot hear is dropped.
    fn on_message(&self, key: &TaskKey, data: Vec<u8>) {
        let guest = self.guest(key);
        let posted = guest.map(|guest| guest.post(GuestEvent::Message(data.into())));
        if let Some(Err(error)) = posted {
            tracing::debug!(%key, %error, "a message was dropped");
        }
    }

    /// The guest of a task that has been started and is not over.
    pub(super) fn guest(&self, key: &TaskKey) -> Option<L::Guest> {
        match &self.table.get(key)?.stage {
            Stage::Started(guest) => Some(guest.clone()),
            _ => None,
        }
    }

    fn be_patient_with_client_of(self: &Arc<Self>, key: TaskKey) -> AbortOnDropHandle<()> {
        let sandboxes = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(CLIENT_PATIENCE).await;
            sandboxes.give_up_on_client_of(&key);
        }))
    }

    fn give_up_on_client_of(&self, key: &TaskKey) {
        if matches!(self.take_seat(key), Seat::Free(_)) {
            let patience_secs = CLIENT_PATIENCE.as_secs();
            self.fail_launch(
                key,
                &format!("no client attached to the task within {patience_secs} s"),
            );
        }
    }

    fn start_retained(self: &Arc<Self>, launch: SandboxLaunch) {
        let (stdout, stderr) = directory::retained_output(&launch);
        let stdin = Stdin::Empty;
        self.start(
            launch,
            GuestIo {
                stdin,
                stdout,
                stderr,
            },
        );
    }

    /// Looks for a task that waits for its client, and takes the seat beside it.
    pub(super) fn take_seat(&self, key: &TaskKey) -> Seat {
        let Some(mut entry) = self.table.get_mut(key) else {
            return Seat::Unknown;
        };
        match std::mem::replace(&mut entry.stage, Stage::Starting(None)) {
            Stage::Waiting { launch, .. } => Seat::Free(launch),
            other => {
                entry.stage = other;
                entry.occupied_seat()
            }
        }
    }

    /// Resolves when a further attached task waits for its client.
    pub(super) fn attachable(&self) -> Notified<'_> {
        self.attachable.notified()
    }

    /// Starts a task: one that keeps its output, or one whose seat was taken.
    pub(super) fn start(self: &Arc<Self>, launch: SandboxLaunch, io: GuestIo) {
        let key = launch.key.clone();
        let reporter = Reporter::new(self.clone(), key.clone());
        let uplink = Arc::new(GuestUplink::new(self.clone(), key.clone()));
        let spec = spec(launch, &self.role, io, uplink);
        let guest = self.launcher.launch(spec, Box::new(reporter));
        self.run_started(&key, &guest);
        let kept = self.table.get_mut(&key).and_then(|mut entry| {
            let Stage::Starting(kept) = &mut entry.stage else {
                return None;
            };
            let kept = kept.take();
            entry.stage = Stage::Started(guest.clone());
            if let Some(cpu_milli) = entry.throttle {
                guest.set_cpu(cpu_milli);
            }
            kept
        });
        if let Some(kill) = kept {
            guest.kill(&kill);
        }
    }

    pub(super) fn kill(self: &Arc<Self>, key: &TaskKey, kill: Kill) {
        let Some(mut entry) = self.table.get_mut(key) else {
            return;
        };
        // A task that is on its way out need not be well.
        entry.watch = None;
        match &mut entry.stage {
            Stage::Started(guest) => {
                let guest = guest.clone();
                drop(entry);
                guest.kill(&kill);
            }
            Stage::Starting(kept) => *kept = Some(kill),
            Stage::Waiting { .. } => {
                entry.stage = Stage::Starting(None);
                drop(entry);
                let status = self.status(key, TaskState::Killed).because(
                    TaskReason::KilledDuringLaunch,
                    "killed before a client attached",
                );
                self.report(key, status);
            }
            Stage::InExecutor { run, force } => {
                let by = force_at(&kill);
                if force.as_ref().is_none_or(|force| by < force.at) {
                    *force = Some(self.kill_in_run(key, run, &kill, by));
                }
            }
            Stage::Ended => {}
        }
    }

    fn on_throttle(&self, key: &TaskKey, cpu_milli: u64) {
        let Some(mut entry) = self.table.get_mut(key) else {
            return;
        };
        match &entry.stage {
            Stage::Started(guest) => guest.set_cpu(cpu_milli),
            Stage::Waiting { .. } | Stage::Starting(_) => entry.throttle = Some(cpu_milli),
            Stage::InExecutor { .. } | Stage::Ended => {}
        }
    }

    /// Tells the agent, if it is there, what the guests have used so far.
    fn report_usage(&self) {
        let at = self.clock.now();
        let live = self.table.iter();
        let live =
            live.filter(|entry| !entry.ledger.has_ended() && entry.ledger.task().has_sandbox());
        let samples = live.map(|entry| CpuSample {
            key: entry.key().clone(),
            cpu_ns: entry.cpu_ns(),
        });
        let samples = samples.collect();
        self.outbox.send(&CellEvent::Usage { at, samples });
    }

    fn on_acknowledge(&self, key: &TaskKey, sequence: u64) {
        let Slot::Occupied(mut entry) = self.table.entry(key.clone()) else {
            return;
        };
        entry.get_mut().ledger.acknowledge(sequence);
        if entry.get().ledger.is_settled() {
            drop(entry.remove());
            self.changed.notify_one();
        }
    }

    /// Passes a guest's message on, if an agent is there and not too many are on their way.
    pub(super) fn send_message(&self, event: &CellEvent) -> Result<(), MessageRefused> {
        self.outbox.send_message(event)
    }

    /// A status of this cell about a task, made now.
    pub(super) fn status(&self, key: &TaskKey, state: TaskState) -> TaskStatus {
        TaskStatus::new(
            key.task.clone(),
            state,
            StatusSource::Cell,
            self.clock.now(),
        )
    }

    fn fail_launch(&self, key: &TaskKey, why: &str) {
        let status = self.status(key, TaskState::Dropped);
        self.report(key, status.because(TaskReason::LaunchFailed, why));
    }

    /// Writes a status down and tells the agent, if it is there.
    pub(super) fn report(&self, key: &TaskKey, mut status: TaskStatus) {
        let Some(mut entry) = self.table.get_mut(key) else {
            return;
        };
        entry.healthy = status.healthy.or(entry.healthy);
        status.healthy = entry.healthy;
        let Some(event) = entry.ledger.write(key, status) else {
            return;
        };
        let guest = entry
            .ledger
            .has_ended()
            .then(|| std::mem::replace(&mut entry.stage, Stage::Ended));
        if guest.is_some() {
            entry.watch = None;
        }
        // No lock of the table is held while the outbox is, whose `connect` goes over the table.
        drop(entry);
        self.outbox.send(&event);
        if guest.is_some() {
            self.live.fetch_sub(1, Ordering::SeqCst);
            self.changed.notify_one();
        }
    }

    /// Opens a conversation with the agent; an older one is over.
    pub(super) fn connect(&self) -> Session {
        // Whether the one that comes wants to know of usage, it has yet to say.
        self.measuring.stop();
        let session = self.outbox.connect(|| self.opening());
        self.changed.notify_one();
        session
    }

    /// What is said first on each connection. Statuses written meanwhile are said again behind it.
    ///
    /// What was said before comes in the order in which it was said, and what a run of an executor ended with
    /// after what its tasks did: an agent that heard of the run first would take them for ended by it.
    fn opening(&self) -> Vec<CellEvent> {
        let mut sandboxes = Vec::with_capacity(self.table.len());
        let mut repeated = Vec::new();
        for entry in &self.table {
            let report = entry.ledger.report(entry.key());
            let is_run = report.task.run_of().is_some();
            let again = entry.ledger.repeat(entry.key());
            repeated.extend(again.map(|event| (said_at(&event), is_run, event)));
            sandboxes.push(report);
        }
        repeated.sort_by_key(|(at, is_run, _)| (*at, *is_run));
        let repeated = repeated.into_iter().map(|(.., event)| event);
        let pid = std::process::id();
        let hello = CellEvent::Hello { pid, sandboxes };
        let said = std::iter::once(hello).chain(repeated);
        said.chain(self.wants.repeat()).collect()
    }

    /// Takes note that a conversation has ended.
    pub(super) fn disconnect(&self, session: u64) {
        if self.outbox.disconnect(session) {
            self.measuring.stop();
        }
        self.changed.notify_one();
    }

    /// Ends every sandbox and launches no more.
    pub(super) fn close(self: &Arc<Self>, message: &'static str) -> Duration {
        self.closing.store(true, Ordering::SeqCst);
        let graces: Vec<(TaskKey, Duration)> = self
            .table
            .iter()
            .filter(|entry| !entry.ledger.has_ended() && entry.ledger.task().has_sandbox())
            .map(|entry| {
                let grace = entry.ledger.task().kill_grace;
                (entry.key().clone(), grace.unwrap_or(DEFAULT_KILL_GRACE))
            })
            .collect();
        for (key, grace) in &graces {
            let reason = TaskReason::CellTerminated;
            self.kill(
                key,
                Kill {
                    grace: *grace,
                    reason,
                    message,
                },
            );
        }
        graces
            .into_iter()
            .map(|(_, grace)| grace)
            .max()
            .unwrap_or_default()
    }

    /// Says nothing more to the agent, so that the conversation ends.
    pub(super) fn hang_up(&self) {
        self.outbox.hang_up();
    }

    /// Whether every sandbox has ended.
    pub(super) fn is_quiet(&self) -> bool {
        self.live.load(Ordering::SeqCst) == 0
    }

    /// Whether every sandbox has ended and every status was acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.is_quiet() && self.table.is_empty()
    }

    /// Whether an agent is there.
    pub(super) fn is_connected(&self) -> bool {
        self.outbox.is_connected()
    }

    /// Whether the agent wants the cell to end when the last sandbox is gone.
    pub(super) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::SeqCst)
    }

    /// Resolves when something has changed that may decide over the cell's end.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl<G: Guest> Entry<G> {
    fn new(ledger: Ledger, stage: Stage<G>) -> Self {
        Self {
            ledger,
            stage,
            throttle: None,
            healthy: None,
            watch: None,
        }
    }

    fn cpu_ns(&self) -> u64 {
        match &self.stage {
            Stage::Started(guest) => guest.cpu_ns(),
            Stage::Waiting { .. }
            | Stage::Starting(_)
            | Stage::InExecutor { .. }
            | Stage::Ended => 0,
        }
    }

    /// Why nobody can attach to this task.
    fn occupied_seat(&self) -> Seat {
        if self.ledger.has_ended() {
            Seat::Ended
        } else if self.ledger.task().stdio == Stdio::Attached {
            Seat::Taken
        } else {
            Seat::NotAttached
        }
    }
}

/// When a repeated status was said first.
fn said_at(event: &CellEvent) -> Time {
    match event {
        CellEvent::Update { status, .. } => status.at,
        _ => Time::ZERO,
    }
}
