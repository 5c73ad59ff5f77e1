//! An agent's host: the real core of an agent, and stand-ins for its disk, its bundle cache and its
//! cells with their sandboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use nesos_agent_core::checkpoint::{Change, Checkpoint, Record, RecordKey, Recovered};
use nesos_agent_core::{Agent, AgentConfig, BundleKey, CellId, Decisions, Event};
use nesos_master_core::ConnectionId;
use nesos_types::cell::{CellEvent, SandboxLaunch, SandboxReport};
use nesos_types::ids::{TaskId, TaskKey, UpdateId};
use nesos_types::role::Role;
use nesos_types::task::{
    SharedTask, StatusSource, TaskReason, TaskState, TaskStatus, end_in_executor,
};
use nesos_types::time::Time;

use super::clock::{Clock, Oscillator};

/// What happens on a host by itself. Numbers tell what it was meant for: a process that is gone by
/// then is not hit.
#[expect(
    clippy::large_enum_variant,
    reason = "what the core hears is the common case; a box would cost an allocation for each"
)]
#[derive(Debug)]
pub(crate) enum HostEvent {
    /// The agent's core hears something.
    Core { process: u32, event: Event },
    /// The agent's core has a deadline.
    Wake { process: u32 },
    /// The agent's process is started again.
    Start,
    /// A checkpoint is on the disk.
    Written { process: u32 },
    /// A cell's process runs.
    CellUp { cell: CellId },
    /// A cell says what its guests use, if that is still wanted.
    Measures {
        cell: CellId,
        turn: u64,
        interval: Duration,
    },
    /// A guest ends.
    GuestEnds {
        cell: CellId,
        key: TaskKey,
        run: u64,
        state: TaskState,
    },
}

/// A guest in its sandbox, as its cell sees it.
#[derive(Debug)]
struct Sandbox {
    task: SharedTask,
    since: Time,
    state: TaskState,
    sequence: u64,
    run: u64,
    /// What the agent has not acknowledged, oldest first.
    owed: Vec<(u64, TaskStatus)>,
}

/// A cell's process.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    role: Option<Role>,
    /// Which process of the agent has connected to it last.
    heard_by: u32,
    sandboxes: BTreeMap<TaskKey, Sandbox>,
    /// Counts how often somebody wanted to know what its guests use; only the last one is told.
    pub(super) measuring: u64,
}

impl Cell {
    /// Tasks that it has something of: a guest, or something to say.
    pub(super) fn keys(&self) -> impl Iterator<Item = &TaskKey> {
        self.sandboxes.keys()
    }

    /// What it has still to say, with when that was said first, and whether a run of an executor is meant.
    fn owed(&self) -> impl Iterator<Item = (Time, bool, CellEvent)> {
        self.sandboxes.iter().flat_map(|(key, sandbox)| {
            let is_run = sandbox.task.run_of().is_some();
            sandbox.owed.iter().map(move |(sequence, status)| {
                let event = CellEvent::Update {
                    key: key.clone(),
                    sequence: *sequence,
                    status: status.clone(),
                };
                (status.at, is_run, event)
            })
        })
    }

    /// Guests that run, each with its task and since when.
    pub(super) fn live(&self) -> impl Iterator<Item = (&TaskKey, &SharedTask, Time)> {
        let live = self.sandboxes.iter();
        let live = live.filter(|(_, sandbox)| !sandbox.state.is_terminal());
        live.map(|(key, sandbox)| (key, &sandbox.task, sandbox.since))
    }
}

/// An agent's host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: AgentConfig,
    /// `None` while the process is down.
    pub(crate) agent: Option<Agent>,
    /// Numbers processes of the agent.
    pub(crate) process: u32,
    pub(crate) link: Option<ConnectionId>,
    /// The earliest wake that is scheduled.
    pub(crate) wake_at: Time,
    /// What the disk holds, and what is being written to it.
    disk: BTreeMap<RecordKey, Record>,
    pub(crate) writing: Option<Checkpoint>,
    pub(crate) cells: BTreeMap<CellId, Cell>,
    runs: u64,
    pub(crate) oscillator: Oscillator,
    pub(crate) clock: Clock,
    /// Until when its disk is slow.
    pub(crate) disk_slow_until: Time,
    /// At which master's seat it tries next.
    pub(crate) seat: usize,
    /// Acknowledgements that the agent's core has heard: since the last checkpoint was taken, in the one that
    /// is being written, and durable ones.
    heard: [BTreeSet<UpdateId>; 3],
    /// The directories of its persistent volumes.
    pub(crate) volumes: Vec<std::path::PathBuf>,
}

impl Host {
    pub(crate) fn new(config: AgentConfig, oscillator: Oscillator) -> Self {
        Self {
            config,
            agent: None,
            process: 0,
            link: None,
            wake_at: Time::MAX,
            disk: BTreeMap::new(),
            writing: None,
            cells: BTreeMap::new(),
            runs: 0,
            oscillator,
            clock: oscillator.start(Time::ZERO),
            disk_slow_until: Time::ZERO,
            seat: 0,
            heard: Default::default(),
            volumes: Vec::new(),
        }
    }

    /// Starts the agent's process from what the disk holds.
    pub(crate) fn start(&mut self, now: Time, seed: u64) {
        let mut state = Recovered::default();
        for record in self.disk.values().cloned() {
            match record {
                Record::Agent(agent) => state.agent = Some(agent),
                Record::Cell(cell) => state.cells.push(cell),
                Record::Task(task) => state.tasks.push(*task),
            }
        }
        if state.agent.as_ref().and_then(|agent| agent.id).is_none() {
            // As the real one does: whoever has no name keeps nothing for anybody.
            self.volumes.clear();
        }
        self.process += 1;
        self.wake_at = Time::MAX;
        self.clock = self.oscillator.start(now);
        let own = self.clock.at(now);
        self.agent = Some(Agent::recover(self.config.clone(), seed, own, state));
    }

    /// The agent's process dies. A group of changes that was on its way to the disk is there as a whole or
    /// not at all, and nobody was told.
    pub(crate) fn crash(&mut self, group_is_there: bool) {
        self.agent = None;
        self.process += 1;
        let writing = self.writing.take();
        let acknowledged = std::mem::take(&mut self.heard[1]);
        if let Some(checkpoint) = writing.filter(|_| group_is_there) {
            self.put(checkpoint.changes);
            self.heard[2].extend(acknowledged);
        }
        self.heard[0].clear();
    }

    /// The agent's core takes an event.
    pub(crate) fn handle(&mut self, now: Time, event: Event, out: &mut Decisions) {
        let own = self.clock.at(now);
        if let Some(agent) = &mut self.agent {
            agent.handle(own, event, out);
        }
    }

    /// The agent's core hears an acknowledgement.
    pub(crate) fn hear_acknowledgement(&mut self, update: UpdateId) {
        self.heard[0].insert(update);
    }

    /// Whether the agent's core has heard it, in this process or before it was durable.
    pub(crate) fn heard_acknowledged(&self, update: UpdateId) -> bool {
        self.heard.iter().any(|heard| heard.contains(&update))
    }

    /// What the disk has under a key.
    pub(crate) fn on_disk(&self, key: &RecordKey) -> Option<&Record> {
        self.disk.get(key)
    }

    /// Something to write, if the disk is not busy.
    pub(crate) fn begin_to_write(&mut self) -> bool {
        if self.writing.is_some() {
            return false;
        }
        self.writing = self.agent.as_mut().and_then(Agent::take_checkpoint);
        if self.writing.is_some() {
            let heard = std::mem::take(&mut self.heard[0]);
            self.heard[1].extend(heard);
        }
        self.writing.is_some()
    }

    /// The disk has it. Answers what the core is to hear.
    pub(crate) fn written(&mut self) -> Option<Event> {
        let checkpoint = self.writing.take()?;
        let acknowledged = std::mem::take(&mut self.heard[1]);
        self.heard[2].extend(acknowledged);
        self.put(checkpoint.changes);
        let sequence = checkpoint.sequence;
        Some(Event::Committed { sequence })
    }

    /// Tasks that the group which is being written forgets.
    pub(crate) fn forgetting(&self) -> impl Iterator<Item = &TaskKey> {
        let changes = self.writing.iter().flat_map(|group| &group.changes);
        changes.filter_map(|change| match change {
            Change::Delete(RecordKey::Task(key)) => Some(key),
            _ => None,
        })
    }

    fn put(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(record) => {
                    self.disk.insert(record.key(), record);
                }
                Change::Delete(key) => {
                    self.disk.remove(&key);
                }
            }
        }
    }

    pub(crate) fn cell_up(&mut self, cell: CellId, role: Role) {
        let process = Cell {
            role: Some(role),
            ..Cell::default()
        };
        self.cells.insert(cell, process);
    }

    /// The agent's process connects to a cell: it hears of it from now on.
    pub(crate) fn connect_cell(&mut self, cell: CellId) {
        if let Some(process) = self.cells.get_mut(&cell) {
            process.heard_by = self.process;
        }
    }

    /// Whether the agent's process hears what a cell says.
    pub(crate) fn is_connected(&self, cell: CellId) -> bool {
        let process = self.cells.get(&cell);
        process.is_some_and(|process| process.heard_by == self.process)
    }

    /// What a cell says first on a connection, followed by what is owed; or that it is not there.
    pub(crate) fn greet(&self, cell: CellId) -> Vec<Event> {
        let Some(process) = self.cells.get(&cell) else {
            let message = "no such process".to_owned();
            return vec![Event::CellFailed { cell, message }];
        };
        let reports = process
            .sandboxes
            .iter()
            .map(|(key, sandbox)| SandboxReport {
                key: key.clone(),
                task: SharedTask::clone(&sandbox.task),
                state: sandbox.state,
            });
        let hello = CellEvent::Hello {
            pid: cell.0,
            sandboxes: reports.collect(),
        };
        let mut owed: Vec<_> = process.owed().collect();
        owed.sort_by_key(|(at, is_run, _)| (*at, *is_run));
        let owed = owed.into_iter().map(|(.., event)| event);
        [hello]
            .into_iter()
            .chain(owed)
            .map(|event| Event::CellEvent { cell, event })
            .collect()
    }

    /// A guest starts. Answers its run, and what the agent hears of it.
    pub(crate) fn launch(
        &mut self,
        cell: CellId,
        launch: SandboxLaunch,
        now: Time,
    ) -> Option<(u64, Event)> {
        self.runs += 1;
        let run = self.runs;
        let process = self.cells.get_mut(&cell)?;
        if process.sandboxes.contains_key(&launch.key) {
            return None;
        }
        let sandbox = Sandbox {
            task: launch.task,
            since: now,
            state: TaskState::Staging,
            sequence: 0,
            run,
            owed: Vec::new(),
        };
        process.sandboxes.insert(launch.key.clone(), sandbox);
        let event = self.pass_into(cell, &launch.key, TaskState::Running, None, now)?;
        Some((run, event))
    }

    /// A task is given to an executor. If that is over so is the task. Answers as [`Self::launch`] does.
    pub(crate) fn assign(
        &mut self,
        cell: CellId,
        key: TaskKey,
        task: SharedTask,
        now: Time,
    ) -> Option<(u64, Event)> {
        self.runs += 1;
        let run = self.runs;
        let process = self.cells.get_mut(&cell)?;
        if process.sandboxes.contains_key(&key) {
            return None;
        }
        let executor = task.run().map(|run| TaskKey {
            framework: key.framework,
            task: run.into(),
        });
        let executor = executor.and_then(|executor| process.sandboxes.get(&executor));
        let lives = executor.is_some_and(|executor| !executor.state.is_terminal());
        let sandbox = Sandbox {
            task,
            since: now,
            state: TaskState::Staging,
            sequence: 0,
            run,
            owed: Vec::new(),
        };
        process.sandboxes.insert(key.clone(), sandbox);
        let event = if lives {
            self.pass_into(cell, &key, TaskState::Running, None, now)?
        } else {
            let reason = TaskReason::ExecutorTerminated;
            self.pass_into(cell, &key, TaskState::Failed, Some(reason), now)?
        };
        Some((run, event))
    }

    /// A guest ends, if it is still that one and still runs, and with an executor its tasks. Answers what the
    /// agent hears of it.
    pub(crate) fn guest_ends(
        &mut self,
        cell: CellId,
        key: &TaskKey,
        run: Option<u64>,
        state: TaskState,
        now: Time,
    ) -> Vec<Event> {
        let Some(process) = self.cells.get(&cell) else {
            return Vec::new();
        };
        let Some(sandbox) = process.sandboxes.get(key) else {
            return Vec::new();
        };
        if sandbox.state.is_terminal() || run.is_some_and(|run| run != sandbox.run) {
            return Vec::new();
        }
        let reason = match state {
            TaskState::Failed => Some(TaskReason::Trap),
            TaskState::Killed => Some(TaskReason::KillRequested),
            _ => None,
        };
        let (state_in, reason_in) = end_in_executor(state, reason);
        let mut events = Vec::new();
        for other in self.tasks_in(cell, key) {
            events.extend(self.pass_into(cell, &other, state_in, Some(reason_in), now));
        }
        events.extend(self.pass_into(cell, key, state, reason, now));
        events
    }

    /// The tasks in an executor that have not ended.
    fn tasks_in(&self, cell: CellId, key: &TaskKey) -> Vec<TaskKey> {
        let others = self.cells[&cell].sandboxes.iter();
        let inside = others.filter(|(other, sandbox)| {
            let run = sandbox.task.run().map(TaskId::from);
            other.framework == key.framework
                && run.as_ref() == Some(&key.task)
                && !sandbox.state.is_terminal()
        });
        inside.map(|(other, _)| other.clone()).collect()
    }

    fn pass_into(
        &mut self,
        cell: CellId,
        key: &TaskKey,
        state: TaskState,
        reason: Option<TaskReason>,
        now: Time,
    ) -> Option<Event> {
        let sandbox = self.cells.get_mut(&cell)?.sandboxes.get_mut(key)?;
        sandbox.state = state;
        sandbox.sequence += 1;
        let mut status = TaskStatus::new(key.task.clone(), state, StatusSource::Cell, now);
        if let Some(reason) = reason {
            status = status.because(reason, "as the simulation has it");
        }
        sandbox.owed.push((sandbox.sequence, status.clone()));
        let event = CellEvent::Update {
            key: key.clone(),
            sequence: sandbox.sequence,
            status,
        };
        Some(Event::CellEvent { cell, event })
    }

    /// The agent has statuses safe: a sandbox whose end is among them is forgotten.
    pub(crate) fn acknowledged(&mut self, cell: CellId, key: &TaskKey, sequence: u64) {
        let Some(process) = self.cells.get_mut(&cell) else {
            return;
        };
        let Some(sandbox) = process.sandboxes.get_mut(key) else {
            return;
        };
        sandbox.owed.retain(|(owed, _)| *owed > sequence);
        if sandbox.state.is_terminal() && sandbox.owed.is_empty() {
            process.sandboxes.remove(key);
        }
    }

    /// Whether the cell was told to retire and may: nothing runs and nothing is owed.
    pub(crate) fn is_empty(&self, cell: CellId) -> bool {
        self.cells
            .get(&cell)
            .is_none_or(|process| process.sandboxes.is_empty())
    }

    /// Guests that run on this host.
    pub(crate) fn live_guests(&self) -> impl Iterator<Item = (&TaskKey, &SharedTask)> {
        let live = self.cells.values().flat_map(Cell::live);
        live.map(|(key, task, _)| (key, task))
    }

    /// Those of them that run in a role.
    pub(crate) fn live_guests_of(
        &self,
        role: &Role,
    ) -> impl Iterator<Item = (&TaskKey, &SharedTask)> {
        let cells = self.cells.values();
        let cells = cells.filter(move |cell| cell.role.as_ref() == Some(role));
        cells.flat_map(Cell::live).map(|(key, task, _)| (key, task))
    }

    /// Answers that a bundle is there.
    pub(crate) fn bundle_ready(bundle: BundleKey) -> Event {
        let compiled = PathBuf::from("compiled");
        Event::BundleReady {
            bundle,
            compiled,
            files: None,
        }
    }
}

/// How long things on a host take.
pub(crate) const CELL_START: Duration = Duration::from_millis(8);
pub(crate) const CELL_HOP: Duration = Duration::from_micros(30);
pub(crate) const BUNDLE_FETCH: Duration = Duration::from_millis(120);
pub(crate) const DISK_FLUSH: Duration = Duration::from_millis(4);
pub(crate) const PROCESS_START: Duration = Duration::from_millis(1500);
