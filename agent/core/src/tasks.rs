//! The tasks of an agent: every one that it was given and whose end has not been acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::TaskRecord;
use crate::event::{BundleKey, CellId};
use crate::slack::Samples;
use crate::updates::UpdateStream;
use nesos_types::ids::TaskKey;
use nesos_types::message::AgentTask;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskReason, TaskState};
use nesos_types::time::Time;
use slab::Slab;

/// A task's place in the table; used again after the task is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskHandle(usize);

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits for its bundle, its cell, or a task before it.
    Waiting,
    /// Its cell was told to launch it.
    Launched,
    /// Its state is terminal; its statuses are still on their way.
    Ended,
}

/// A kill that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// When the guest's grace is over.
    pub(crate) by: Time,
    /// What the terminal status says.
    pub(crate) reason: TaskReason,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: TaskKey,
    pub(crate) role: Role,
    pub(crate) info: SharedTask,
    /// Whose signature its bundle must have.
    pub(crate) signers: Arc<[String]>,
    /// Whether it keeps its bundle from being let go.
    pub(crate) holds_bundle: bool,
    /// Where the sandbox is or will be; none for a task that was refused.
    pub(crate) cell: Option<CellId>,
    /// Numbers tasks in the order in which they came, and tells a task from a later one in its place.
    pub(crate) serial: u64,
    pub(crate) generation: u32,
    pub(crate) stage: Stage,
    pub(crate) latest: TaskState,
    pub(crate) kill: Option<Kill>,
    /// The framework is over: nobody wants to hear of this task.
    pub(crate) silent: bool,
    /// Only the answer to a question about a task that never was here.
    pub(crate) answer: bool,
    pub(crate) updates: UpdateStream,
    pub(crate) repeat_at: Option<Time>,
    /// Until when it has to be ready, if it is a run of an executor that is not.
    pub(crate) ready_by: Option<Time>,
    /// Whether it is a run of an executor that was given a task.
    pub(crate) was_used: bool,
    /// What it has used lately, where CPU is lent and this is not a task that borrows it.
    pub(crate) samples: Option<Box<Samples>>,
    /// The thousandths of a core that it may use for now, if not all that it accepted.
    pub(crate) throttle: Option<u64>,
    /// The newest of the cell's statuses that was taken, that is durable, that was acknowledged.
    pub(crate) cell_sequence: u64,
    pub(crate) safe_sequence: u64,
    /// The checkpoint says that its cell was not told to launch it, and the cell has not confirmed that yet: it
    /// may have been told after that was written.
    pub(crate) in_doubt: bool,
    /// Whether the task changed since the last checkpoint was taken.
    pub(crate) dirty: bool,
    /// Whether the task is in a checkpoint.
    pub(crate) recorded: bool,
}

impl Task {
    /// A task that has just come.
    pub(crate) fn new(key: TaskKey, role: Role, info: SharedTask, cell: Option<CellId>) -> Self {
        Self {
            key,
            role,
            info,
            signers: Arc::default(),
            holds_bundle: false,
            cell,
            serial: 0,
            generation: 0,
            stage: Stage::Waiting,
            latest: TaskState::Staging,
            kill: None,
            silent: false,
            answer: false,
            updates: UpdateStream::default(),
            repeat_at: None,
            ready_by: None,
            was_used: false,
            in_doubt: false,
            samples: None,
            throttle: None,
            cell_sequence: 0,
            safe_sequence: 0,
            dirty: false,
            recorded: false,
        }
    }

    /// A task as the checkpoint has it.
    pub(crate) fn recover(record: TaskRecord) -> Self {
        let stage = match (record.latest.is_terminal(), record.launched) {
            (true, _) => Stage::Ended,
            (false, true) => Stage::Launched,
            (false, false) => Stage::Waiting,
        };
        let mut task = Self::new(record.key(), record.role, record.task, record.cell);
        task.signers = record.signers;
        task.generation = record.generation;
        task.stage = stage;
        task.latest = record.latest;
        task.kill = record.kill_by.map(|by| Kill {
            by,
            reason: record.kill_reason.unwrap_or(TaskReason::KillRequested),
        });
        task.silent = record.silent;
        task.updates = UpdateStream::resume(record.pending);
        task.cell_sequence = record.cell_sequence;
        task.safe_sequence = record.cell_sequence;
        task.was_used = task.latest == TaskState::Running;
        task.in_doubt = stage == Stage::Waiting;
        task.recorded = true;
        task
    }

    /// The task as the checkpoint keeps it.
    pub(crate) fn record(&self) -> TaskRecord {
        TaskRecord {
            framework: self.key.framework,
            role: self.role.clone(),
            task: self.info.clone(),
            signers: self.signers.clone(),
            cell: self.cell,
            serial: self.serial,
            generation: self.generation,
            launched: self.stage == Stage::Launched,
            latest: self.latest,
            cell_sequence: self.cell_sequence,
            pending: self.updates.iter().cloned().collect(),
            kill_by: self.kill.map(|kill| kill.by),
            kill_reason: self.kill.map(|kill| kill.reason),
            silent: self.silent,
        }
    }

    /// The task as a registration brings it back.
    pub(crate) fn for_master(&self) -> AgentTask {
        AgentTask {
            framework: self.key.framework,
            role: self.role.clone(),
            task: self.info.clone(),
            latest: self.latest,
            unacknowledged: self.updates.head().cloned(),
        }
    }

    /// Whether the task holds resources.
    pub(crate) fn is_live(&self) -> bool {
        self.stage != Stage::Ended
    }

    /// What the task runs.
    pub(crate) fn bundle(&self) -> BundleKey {
        BundleKey {
            repository: self.info.repository.clone(),
            digest: self.info.bundle,
            signers: self.signers.clone(),
            metering: self.info.limits.metering,
        }
    }

    /// How long a killed guest has, if the kill itself does not say.
    pub(crate) fn grace(&self, default: Duration) -> Duration {
        self.info.kill_grace.unwrap_or(default)
    }
}

/// All tasks, by handle and by key.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slab: Slab<Task>,
    by_key: BTreeMap<TaskKey, TaskHandle>,
    next_serial: u64,
}

impl Tasks {
    /// Adds a task whose key is not there yet.
    pub(crate) fn insert(&mut self, mut task: Task) -> TaskHandle {
        task.serial = self.next_serial;
        self.next_serial += 1;
        let key = task.key.clone();
        let handle = TaskHandle(self.slab.insert(task));
        let before = self.by_key.insert(key, handle);
        assert!(before.is_none(), "a task stands twice in the table");
        handle
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, handle: TaskHandle) -> Task {
        let task = self.slab.remove(handle.0);
        self.by_key.remove(&task.key);
        task
    }

    /// Finds a task.
    pub(crate) fn find(&self, key: &TaskKey) -> Option<TaskHandle> {
        self.by_key.get(key).copied()
    }

    /// The task at a place, if it is still the one with this serial number.
    pub(crate) fn same(&mut self, handle: TaskHandle, serial: u64) -> Option<&mut Task> {
        self.slab
            .get_mut(handle.0)
            .filter(|task| task.serial == serial)
    }

    /// The task, if it is still there: when one ends others may end with it, and a task of which nobody wants to
    /// hear goes at once.
    pub(crate) fn get(&self, handle: TaskHandle) -> Option<&Task> {
        self.slab.get(handle.0)
    }

    /// All tasks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskHandle, &Task)> {
        self.slab.iter().map(|(at, task)| (TaskHandle(at), task))
    }

    /// The handles of the tasks that a question is true of, in the order in which they came.
    pub(crate) fn select(&self, wanted: impl Fn(&Task) -> bool) -> Vec<TaskHandle> {
        let mut found: Vec<_> = self
            .iter()
            .filter(|(_, task)| wanted(task))
            .map(|(handle, task)| (task.serial, handle))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, handle)| handle).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

impl std::ops::Index<TaskHandle> for Tasks {
    type Output = Task;
    fn index(&self, handle: TaskHandle) -> &Task {
        &self.slab[handle.0]
    }
}
impl std::ops::IndexMut<TaskHandle> for Tasks {
    fn index_mut(&mut self, handle: TaskHandle) -> &mut Task {
        &mut self.slab[handle.0]
    }
}
