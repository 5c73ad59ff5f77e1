//! The agent: its whole state, and one `match` over what it hears.

use std::collections::BTreeSet;

use nesos_types::ids::{AgentId, TaskKey, VolumeId};
use nesos_types::reservation::SetApart;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskReason, TaskState};
use nesos_types::time::Time;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bundles::Bundles;
use crate::cells::Cells;
use crate::checkpoint::{AgentRecord, RecordKey, Recovered, TaskRecord};
use crate::compiled::Compiled;
use crate::config::AgentConfig;
use crate::deadlines::{Deadlines, Timer};
use crate::decision::{Decisions, Effect};
use crate::drain::Phase;
use crate::event::Event;
use crate::journal::Journal;
use crate::launch::Queues;
use crate::registration::Registration;
use crate::sandboxes::{SandboxDir, Sandboxes};
use crate::set_apart::{incarnations, taken_by};
use crate::slack::Slack;
use crate::stats::Stats;
use crate::tasks::{Stage, Task, Tasks};

/// How long cells of an earlier agent process have to answer before the agent registers without them.
const RECOVER_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// An agent's state machine. One driver owns it.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: AgentConfig,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) id: Option<AgentId>,
    pub(crate) phase: Phase,
    /// Whether what the checkpoint named has been asked for.
    pub(crate) recovered: bool,
    /// Whether the host was started anew since the checkpoint: nothing that it names runs.
    rebooted: bool,
    pub(crate) master: Registration,
    pub(crate) cells: Cells,
    pub(crate) tasks: Tasks,
    pub(crate) queues: Queues,
    pub(crate) bundles: Bundles,
    pub(crate) sandboxes: Sandboxes,
    /// What live tasks use together, revocable resources aside.
    pub(crate) used: Resources,
    /// What the master has set apart here at run time.
    pub(crate) set_apart: SetApart,
    /// Volumes whose directories are there: those, and earlier ones that tasks still have.
    pub(crate) kept: BTreeSet<(VolumeId, u64)>,
    pub(crate) slack: Slack,
    pub(crate) compiled: Compiled,
    pub(crate) journal: Journal,
    pub(crate) deadlines: Deadlines,
    pub(crate) drain_at: Option<Time>,
    pub(crate) stats: Stats,
}

impl Agent {
    /// An agent as its checkpoint and its disk have it. It begins to act with the first
    /// [`Event::Tick`], which is due at once.
    #[must_use]
    pub fn recover(config: AgentConfig, seed: u64, now: Time, state: Recovered) -> Self {
        let record = state.agent.unwrap_or_default();
        let mut agent = Self::new(config, seed, &record);
        agent.cells = Cells::recover(record.next_cell, state.cells);
        for task in in_order(state.tasks) {
            agent.recover_task(task);
        }
        let live = |dir: &SandboxDir| agent.holds(dir);
        agent.sandboxes = Sandboxes::recover(state.sandboxes, live);
        agent.deadlines.set(&mut None, Some(now), Timer::Recover);
        agent
    }

    fn new(config: AgentConfig, seed: u64, record: &AgentRecord) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            id: record.id,
            phase: Phase::default(),
            recovered: false,
            rebooted: record.boot_id != config.boot_id,
            config,
            master: Registration::default(),
            cells: Cells::default(),
            tasks: Tasks::default(),
            queues: Queues::default(),
            bundles: Bundles::default(),
            sandboxes: Sandboxes::default(),
            used: Resources::default(),
            kept: incarnations(&record.set_apart),
            set_apart: record.set_apart.clone(),
            slack: Slack::default(),
            compiled: Compiled::default(),
            journal: Journal::default(),
            deadlines: Deadlines::default(),
            drain_at: None,
            stats: Stats::default(),
        }
    }

    fn recover_task(&mut self, record: TaskRecord) {
        let task = Task::recover(record);
        if self.tasks.find(&task.key).is_some() {
            return;
        }
        if task.is_live() {
            self.used = match self.used.checked_add(&taken_by(&task.info)) {
                Some(used) => used,
                // Only a checkpoint that was tampered with holds one port twice.
                None => return self.journal.delete(RecordKey::Task(task.key)),
            };
        }
        if let Some(cell) = task.cell.and_then(|id| self.cells.table.get_mut(&id)) {
            cell.live += usize::from(task.is_live() && task.info.has_sandbox());
        }
        self.tasks.insert(task);
    }

    fn holds(&self, dir: &SandboxDir) -> bool {
        self.tasks.find(&dir.key).is_some_and(|handle| {
            let task = &self.tasks[handle];
            task.stage == Stage::Launched
                && task.cell == Some(dir.cell)
                && task.generation == dir.generation
        })
    }

    /// Takes one event. Total: whatever comes in whatever order, nothing fails and nothing waits.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Decisions) {
        if self.phase == Phase::Stopped {
            return;
        }
        match event {
            Event::MasterConnected { connection } => {
                self.on_master_connected(now, connection, out);
            }
            Event::MasterCommand {
                connection,
                command,
            } => self.on_master_command(now, connection, command, out),
            Event::MasterDisconnected { connection, .. } => {
                self.on_master_disconnected(now, connection);
            }
            Event::CellStarted { cell, pid } => self.on_cell_started(cell, pid),
            Event::CellEvent { cell, event } => self.on_cell_event(now, cell, event, out),
            Event::CellDisconnected { cell, .. } => self.on_cell_disconnected(cell, out),
            Event::CellFailed { cell, message } => self.on_cell_failed(now, cell, &message, out),
            Event::BundleReady {
                bundle,
                compiled,
                files,
            } => {
                self.on_bundle_ready(now, bundle, compiled, files, out);
            }
            Event::BundleFailed {
                bundle,
                reason,
                message,
            } => self.on_bundle_failed(now, bundle, reason, &message, out),
            Event::Compiled(here) => self.on_compiled(here, out),
            Event::Committed { sequence } => self.on_committed(now, sequence, out),
            Event::Tick => self.on_tick(now, out),
            Event::Shutdown { grace } => self.on_shutdown(now, grace, out),
        }
        self.check_drained(out);
    }

    fn on_tick(&mut self, now: Time, out: &mut Decisions) {
        while let Some(timer) = self.deadlines.pop_due(now) {
            match timer {
                Timer::Recover => self.on_recover(now, out),
                Timer::Master => self.on_master_due(now, out),
                Timer::Repeat(task) => self.on_repeat(now, task, out),
                Timer::Registration(run) => self.on_registration_due(now, run, out),
                Timer::BundleIdle(bundle) => self.on_bundle_idle(now, bundle, out),
                Timer::CellIdle(cell) => self.on_cell_idle(now, cell, out),
                Timer::Sandboxes => {
                    self.sandboxes.sweep_at = None;
                    self.sweep_sandboxes(now, out);
                }
                Timer::Review => self.on_review(now, out),
                Timer::Drain => self.on_drain_due(out),
            }
        }
    }

    /// Asks for everything that the checkpoint names.
    fn on_recover(&mut self, now: Time, out: &mut Decisions) {
        self.recovered = true;
        if self.rebooted {
            self.forget_before_reboot(now, out);
            self.journal.touch_agent();
        }
        for (id, cell) in &self.cells.table {
            let (cell, pid) = (*id, cell.pid);
            out.push(Effect::ConnectCell { cell, pid });
        }
        for handle in self.tasks.select(Task::is_live) {
            let Some(task) = self.tasks.get(handle) else {
                continue;
            };
            let known = task
                .cell
                .is_some_and(|id| self.cells.table.contains_key(&id));
            match (task.stage, known) {
                (Stage::Launched, false) => {
                    let message = "the checkpoint does not name the cell that held the task";
                    let reason = TaskReason::CellTerminated;
                    self.lose(now, handle, TaskState::Gone, reason, message, out);
                }
                (Stage::Launched, true) => self.hold_files(handle, out),
                (Stage::Waiting, known) => {
                    if !known && self.tasks[handle].info.has_sandbox() {
                        self.place_again(handle, out);
                    }
                    self.enqueue(handle, out);
                }
                _ => {}
            }
            self.await_ready(now, handle);
        }
        self.end_orphans(now, Stage::Waiting, out);
        self.sweep_sandboxes(now, out);
        self.deadlines.set(
            &mut self.master.due_at,
            Some(now + RECOVER_WITHIN),
            Timer::Master,
        );
        self.check_recovered(now, out);
    }

    /// The host was started anew: no cell and no guest is there any more.
    fn forget_before_reboot(&mut self, now: Time, out: &mut Decisions) {
        let cells = std::mem::take(&mut self.cells.table);
        self.cells.by_role.clear();
        for id in cells.into_keys() {
            self.journal.delete(RecordKey::Cell(id));
        }
        for handle in self.tasks.select(Task::is_live) {
            let Some(task) = self.tasks.get(handle) else {
                continue;
            };
            let state = match task.stage {
                Stage::Waiting => TaskState::Dropped,
                Stage::Launched | Stage::Ended => TaskState::Gone,
            };
            let message = "the agent's host was restarted";
            self.lose(now, handle, state, TaskReason::AgentRestarted, message, out);
        }
    }

    /// When [`Event::Tick`] is due; `None` if nothing is to be done without an event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Stopped => None,
            _ => self.deadlines.next(),
        }
    }

    /// The agent's id, once the master has given it one.
    #[must_use]
    pub fn id(&self) -> Option<AgentId> {
        self.id
    }

    /// Where the sandbox of a task is or, after its end, was: the newest of that id. For a task in an executor
    /// that has not ended, the executor's.
    #[must_use]
    pub fn locate(&self, key: &TaskKey) -> Option<SandboxDir> {
        let task = self.tasks.find(key).map(|handle| &self.tasks[handle]);
        let run = task.and_then(Task::run_key);
        self.sandboxes.locate(run.as_ref().unwrap_or(key))
    }

    /// The state of a task that is not over.
    #[must_use]
    pub fn state_of(&self, key: &TaskKey) -> Option<TaskState> {
        Some(self.tasks[self.tasks.find(key)?].latest)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

fn in_order(mut records: Vec<TaskRecord>) -> Vec<TaskRecord> {
    records.sort_by_cached_key(|record| (record.serial, record.key()));
    records
}
