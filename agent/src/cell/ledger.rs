//! What a cell has to say about one sandbox: its statuses, numbered, held until acknowledged.

use nesos_types::cell::{CellEvent, SandboxReport};
use nesos_types::ids::TaskKey;
use nesos_types::task::{SharedTask, TaskState, TaskStatus};

/// The statuses of one task.
#[derive(Debug)]
pub(super) struct Ledger {
    task: SharedTask,
    state: TaskState,
    newest: u64,
    acknowledged: u64,
    has_run: bool,
    unacknowledged: Vec<(u64, TaskStatus)>,
}

impl Ledger {
    /// Of a task about which nothing was said yet.
    pub(super) fn new(task: SharedTask) -> Self {
        Self {
            task,
            state: TaskState::Starting,
            newest: 0,
            acknowledged: 0,
            has_run: false,
            unacknowledged: Vec::new(),
        }
    }

    /// The task.
    pub(super) fn task(&self) -> &SharedTask {
        &self.task
    }

    /// Whether the task has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state.is_terminal()
    }

    /// Whether the task has ended and everything that there was to say about it is safe.
    pub(super) fn is_settled(&self) -> bool {
        self.has_ended() && self.unacknowledged.is_empty()
    }

    /// Whether it was said that the task runs.
    pub(super) fn has_run(&self) -> bool {
        self.has_run
    }

    /// How many statuses were made since the last one that is known to be safe.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.newest - self.acknowledged
    }

    /// Numbers a status and keeps it, in place of one before it of the same state. `None` if the task had ended
    /// before: nothing follows an end.
    pub(super) fn write(&mut self, key: &TaskKey, status: TaskStatus) -> Option<CellEvent> {
        if self.has_ended() {
            return None;
        }
        let repeats = self.state == status.state;
        self.unacknowledged
            .pop_if(|(_, last)| repeats && last.state == status.state);
        self.state = status.state;
        self.has_run |= status.state == TaskState::Running;
        self.newest += 1;
        self.unacknowledged.push((self.newest, status.clone()));
        Some(CellEvent::Update {
            key: key.clone(),
            sequence: self.newest,
            status,
        })
    }

    /// Forgets the statuses up to this one.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence.min(self.newest));
        self.unacknowledged.retain(|(number, _)| *number > sequence);
    }

    /// What an agent that has come back is told first.
    pub(super) fn report(&self, key: &TaskKey) -> SandboxReport {
        SandboxReport {
            key: key.clone(),
            task: self.task.clone(),
            state: self.state,
        }
    }

    /// The statuses that are not acknowledged, oldest first.
    pub(super) fn repeat(&self, key: &TaskKey) -> impl Iterator<Item = CellEvent> {
        self.unacknowledged
            .iter()
            .map(|(sequence, status)| CellEvent::Update {
                key: key.clone(),
                sequence: *sequence,
                status: status.clone(),
            })
    }
}
