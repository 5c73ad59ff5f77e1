//! Tasks: soft state. What runs where, as far as its agent has told.

use nesos_types::ids::{AgentId, FrameworkId, TaskId};
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use crate::snapshot::TaskView;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, Table, TaskSlot};

mod ending;
pub(crate) mod kill;
mod updates;

use kill::Kill;

/// All tasks that the master knows of, ended ones included until they are acknowledged.
pub(crate) type Tasks = Table<TaskSlot, Task>;

/// A task on an agent that is present or may come back soon.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) info: SharedTask,
    pub(crate) framework: FrameworkSlot,
    /// Who holds its resources; only valid while it [`holds`](Self::holds) any.
    pub(crate) client: ClientSlot,
    pub(crate) role: Role,
    pub(crate) agent: AgentSlot,
    /// The latest state that the agent has told, acknowledged or not.
    pub(crate) state: TaskState,
    /// The newest status that was passed on.
    pub(crate) status: Option<TaskStatus>,
    /// Whether that status waits for its acknowledgement.
    pub(crate) unacknowledged: bool,
    /// A kill that was asked for, to be repeated when the agent comes back.
    pub(crate) kill: Option<Kill>,
    /// When it was launched, or brought back.
    pub(crate) since: Time,
    pub(crate) updated_at: Time,
}

impl Task {
    /// Whether it holds resources: until its *latest* state is terminal, even while the scheduler is
    /// still being told of an older one.
    pub(crate) fn holds(&self) -> bool {
        !self.state.is_terminal()
    }

    /// Whether it is on its way to its end.
    pub(crate) fn is_ending(&self) -> bool {
        self.kill.is_some() || self.state == TaskState::Killing
    }

    /// The state to answer a reconciliation with: that of the status which the scheduler has still
    /// to acknowledge, else the latest.
    pub(crate) fn reported_state(&self) -> TaskState {
        match &self.status {
            Some(status) if self.unacknowledged => status.state,
            _ => self.state,
        }
    }

    /// The status that waits for its acknowledgement.
    pub(crate) fn pending(&self) -> Option<&TaskStatus> {
        self.status.as_ref().filter(|_| self.unacknowledged)
    }

    pub(crate) fn view(&self, framework: FrameworkId, agent: AgentId) -> TaskView {
        let status = self.status.as_ref();
        TaskView {
            id: self.info.id.clone(),
            framework,
            role: self.role.clone(),
            agent,
            info: SharedTask::clone(&self.info),
            state: self.state,
            reason: status.and_then(|status| status.reason),
            message: status.map_or_else(String::new, |status| status.message.clone()),
            exit_code: status.and_then(|status| status.exit_code),
            usage: status.and_then(|status| status.usage),
            since: self.since,
            updated_at: self.updated_at,
        }
    }
}

/// How far along a task is. An update never takes a task back: a repeated or late one must not undo
/// what is known already.
pub(crate) fn progress(state: TaskState) -> u8 {
    match state {
        TaskState::Staging | TaskState::Unknown | TaskState::Unreachable => 0,
        TaskState::Starting => 1,
        TaskState::Running => 2,
        TaskState::Killing => 3,
        _ => 4,
    }
}

/// A task on an agent that was lost from sight.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) view: TaskView,
    pub(crate) kill: Option<Kill>,
    /// When its agent was given up.
    pub(crate) at: Time,
}

/// A status that the master makes itself: it is not repeated and needs no acknowledgement.
pub(crate) fn status_by_master(
    task: TaskId,
    state: TaskState,
    reason: TaskReason,
    message: impl Into<String>,
    now: Time,
) -> TaskStatus {
    TaskStatus::new(task, state, StatusSource::Master, now).because(reason, message)
}
