//! What an agent shows of itself: a copy, for readers that never touch the core.

use nesos_types::agent::AgentInfo;
use nesos_types::ids::{AgentId, TaskKey};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;
use serde::Serialize;

use crate::agent::Agent;
use crate::event::CellId;
use crate::stats::Stats;

/// An agent at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id, once it has one.
    pub id: Option<AgentId>,
    /// What it says of itself.
    pub info: AgentInfo,
    /// Whether the master has taken its registration.
    pub registered: bool,
    /// What live tasks use.
    pub used: Resources,
    /// Its cells.
    pub cells: Vec<CellView>,
    /// Its tasks, those included that ended and were not acknowledged, as they came.
    pub tasks: Vec<TaskView>,
    /// How many directories of ended tasks there are.
    pub sandboxes_kept: usize,
    /// What those hold, in bytes, as far as was reported.
    pub sandbox_bytes_kept: u64,
    /// Counters.
    pub stats: Stats,
}

/// A cell at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellView {
    /// Its number.
    pub cell: CellId,
    /// Whose sandboxes it holds.
    pub role: Role,
    /// Its process, where it is known.
    pub pid: Option<u32>,
    /// Whether tasks can be launched into it at once.
    pub ready: bool,
    /// Tasks that are in it or wait for it.
    pub tasks: usize,
}

/// A task at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// Its name in the cluster.
    pub key: TaskKey,
    /// The role that its resources are allocated to.
    pub role: Role,
    /// Where its sandbox is or will be.
    pub cell: Option<CellId>,
    /// Its latest state.
    pub state: TaskState,
    /// How many statuses have not been acknowledged.
    pub unacknowledged: usize,
}

impl Agent {
    /// A copy of what there is to see.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (sandboxes_kept, sandbox_bytes_kept) = self.sandboxes.kept();
        Snapshot {
            id: self.id,
            info: self.config.info.clone(),
            registered: self.master.is_registered(),
            used: self.used.clone(),
            cells: self.view_cells(),
            tasks: self.view_tasks(),
            sandboxes_kept,
            sandbox_bytes_kept,
            stats: self.stats,
        }
    }

    fn view_cells(&self) -> Vec<CellView> {
        let cells = self.cells.table.iter();
        let view = cells.map(|(id, cell)| CellView {
            cell: *id,
            role: cell.role.clone(),
            pid: cell.pid,
            ready: cell.is_ready(),
            tasks: cell.live,
        });
        view.collect()
    }

    fn view_tasks(&self) -> Vec<TaskView> {
        let tasks = self.tasks.select(|task| !task.answer).into_iter();
        let view = tasks.map(|handle| {
            let task = &self.tasks[handle];
            TaskView {
                key: task.key.clone(),
                role: task.role.clone(),
                cell: task.cell,
                state: task.latest,
                unacknowledged: task.updates.iter().count(),
            }
        });
        view.collect()
    }
}
