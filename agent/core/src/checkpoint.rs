//! What of an agent survives its process: typed records, written in groups behind the events.
//!
//! A record is put when its subject changed since the last checkpoint was taken, deleted when the
//! subject is over. A task that came and went between two checkpoints is never in one. How records
//! are encoded and where they lie is the driver's business; unknown fields are to be skipped and
//! missing ones take their default, so that versions can read one another.

use std::path::PathBuf;
use std::sync::Arc;

use nesos_types::ids::{AgentId, FrameworkId, TaskKey};
use nesos_types::reservation::SetApart;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;
use serde::{Deserialize, Serialize};

use crate::event::CellId;

/// A group of changes, to be made durable in one commit, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// To be said back in [`Event::Committed`](crate::Event::Committed).
    pub sequence: u64,
    /// At most one change for each key.
    pub changes: Vec<Change>,
}

/// One change of the durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a record, over the one of the same key if there is one.
    Put(Record),
    /// Remove a record, if it is there.
    Delete(RecordKey),
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// The agent itself.
    Agent,
    /// A cell.
    Cell(CellId),
    /// A task.
    Task(TaskKey),
}

/// A durable fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The agent itself.
    Agent(AgentRecord),
    /// A cell.
    Cell(CellRecord),
    /// A task.
    Task(Box<TaskRecord>),
}

impl Record {
    /// The record's name.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Agent(_) => RecordKey::Agent,
            Self::Cell(cell) => RecordKey::Cell(cell.cell),
            Self::Task(task) => RecordKey::Task(task.key()),
        }
    }
}

/// Who the agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentRecord {
    /// The id that the master gave it.
    pub id: Option<AgentId>,
    /// The boot of the host during which this was written.
    pub boot_id: String,
    /// The number of the next cell.
    pub next_cell: u32,
    /// What the master last said to be set apart on it at run time.
    pub set_apart: SetApart,
}

/// A cell process. Written before the cell is given its first task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Its number.
    pub cell: CellId,
    /// Whose sandboxes it holds.
    pub role: Role,
    /// Its process, where it is known.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// A task that is not over: it runs, or its last status has not been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The framework that launched it.
    pub framework: FrameworkId,
    /// The role that its resources are allocated to.
    pub role: Role,
    /// What was launched.
    pub task: SharedTask,
    /// PEM public keys of which one must have signed its bundle.
    #[serde(default)]
    pub signers: Arc<[String]>,
    /// Where its sandbox is or will be; none for a task that was refused.
    #[serde(default)]
    pub cell: Option<CellId>,
    /// Orders tasks as they came.
    #[serde(default)]
    pub serial: u64,
    /// Tells its directory from those of earlier tasks with the same id.
    #[serde(default)]
    pub generation: u32,
    /// Whether the cell was told to launch it.
    #[serde(default)]
    pub launched: bool,
    /// The latest state.
    pub latest: TaskState,
    /// The newest of the cell's statuses that was taken.
    #[serde(default)]
    pub cell_sequence: u64,
    /// Statuses that were not acknowledged, the oldest first.
    #[serde(default)]
    pub pending: Vec<TaskStatus>,
    /// When a killed guest's grace is over.
    #[serde(default)]
    pub kill_by: Option<Time>,
    /// Why it was killed.
    #[serde(default)]
    pub kill_reason: Option<TaskReason>,
    /// Whether the framework is over and wants to hear nothing more.
    #[serde(default)]
    pub silent: bool,
}

impl TaskRecord {
    /// The task's name in the cluster.
    #[must_use]
    pub fn key(&self) -> TaskKey {
        TaskKey {
            framework: self.framework,
            task: self.task.id.clone(),
        }
    }
}

/// A sandbox directory that was found when the agent started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSandbox {
    /// Which directory, relative to the agent's directory of sandboxes.
    pub directory: PathBuf,
    /// When it was last changed.
    pub changed_at: Time,
    /// How much it holds.
    pub bytes: u64,
}

/// What an agent starts from: its checkpoint, and what lies on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Nothing for an agent that was never registered.
    pub agent: Option<AgentRecord>,
    /// All cells, in any order.
    pub cells: Vec<CellRecord>,
    /// All tasks, in any order.
    pub tasks: Vec<TaskRecord>,
    /// The sandbox directories, those of live tasks included.
    pub sandboxes: Vec<FoundSandbox>,
}
