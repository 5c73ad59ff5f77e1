//! Kills: passed on to the agent, and remembered in case it is away or did not hear.

use std::time::Duration;

use nesos_types::ids::{TaskId, TaskKey};
use nesos_types::message::AgentCommand;
use nesos_types::task::TaskReason;

use crate::decision::{Decisions, OperatorReply};
use crate::master::Master;
use crate::table::{FrameworkSlot, TaskSlot};

impl Master {
    /// A scheduler wants a task ended. If the task is not here the answer is that of a reconciliation.
    pub(crate) fn on_kill(
        &mut self,
        framework: FrameworkSlot,
        task: &TaskId,
        grace: Option<Duration>,
        out: &mut Decisions,
    ) {
        if let Some(&slot) = self.frameworks[framework].tasks.get(task) {
            self.kill(slot, grace, out);
            return;
        }
        let away = self.frameworks[framework].unreachable.get_mut(task);
        let agent = away.map(|unreachable| {
            unreachable.kill = Some(shorter(unreachable.kill, grace));
            unreachable.view.agent
        });
        self.reconcile_one(framework, task, agent, out);
    }

    /// An operator wants a task ended.
    pub(crate) fn kill_by_operator(
        &mut self,
        framework: FrameworkSlot,
        task: &TaskId,
        grace: Option<Duration>,
        out: &mut Decisions,
    ) -> OperatorReply {
        let Some(&slot) = self.frameworks[framework].tasks.get(task) else {
            return OperatorReply::TaskUnknown;
        };
        self.kill(slot, grace, out);
        OperatorReply::Done
    }

    fn kill(&mut self, slot: TaskSlot, grace: Option<Duration>, out: &mut Decisions) {
        let task = &mut self.tasks[slot];
        if task.state.is_terminal() {
            return;
        }
        task.kill = Some(shorter(task.kill, grace));
        self.send_kill(slot, out);
    }

    /// Sends the kill that a task remembers, if its agent is there.
    pub(crate) fn send_kill(&self, slot: TaskSlot, out: &mut Decisions) {
        let task = &self.tasks[slot];
        let connection = self.agents[task.agent].connection();
        if let (Some(connection), Some(grace)) = (connection, task.kill) {
            let key = TaskKey {
                framework: self.frameworks[task.framework].id,
                task: task.info.id.clone(),
            };
            let reason = TaskReason::KillRequested;
            out.tell_agent(connection, AgentCommand::Kill { key, grace, reason });
        }
    }
}

/// A later kill can shorten the grace of an earlier one, never lengthen it. No grace of its own means
/// the task's.
fn shorter(earlier: Option<Option<Duration>>, later: Option<Duration>) -> Option<Duration> {
    match (earlier.flatten(), later) {
        (Some(earlier), Some(later)) => Some(earlier.min(later)),
        (earlier, later) => later.or(earlier),
    }
}
