//! Kills: passed on to the agent, and remembered in case it is away or did not hear.

use std::time::Duration;

use nesos_types::ids::{TaskId, TaskKey};
use nesos_types::message::AgentCommand;
use nesos_types::task::TaskReason;

use crate::decision::{Decisions, OperatorReply};
use crate::master::Master;
use crate::table::{FrameworkSlot, TaskSlot};

/// A kill that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// How long the guest has to end by itself; `None` is what the task itself asks for.
    pub(crate) grace: Option<Duration>,
    /// Why it was asked for first.
    pub(crate) reason: TaskReason,
}

impl Kill {
    pub(crate) fn requested(grace: Option<Duration>) -> Self {
        let reason = TaskReason::KillRequested;
        Self { grace, reason }
    }

    /// A later kill can shorten the grace of an earlier one, never lengthen it, and leaves its reason.
    pub(crate) fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let grace = match (earlier.grace, self.grace) {
            (Some(earlier), Some(later)) => Some(earlier.min(later)),
            (earlier, later) => later.or(earlier),
        };
        Self { grace, ..earlier }
    }
}

impl Master {
    /// A scheduler wants a task ended. If the task is not here the answer is that of a reconciliation, and as
    /// long as an agent may bring it the kill is remembered.
    pub(crate) fn on_kill(
        &mut self,
        framework: FrameworkSlot,
        task: &TaskId,
        grace: Option<Duration>,
        out: &mut Decisions,
    ) {
        if let Some(&slot) = self.frameworks[framework].tasks.get(task) {
            self.kill(slot, Kill::requested(grace), out);
            return;
        }
        let known = self.frameworks[framework].unreachable.contains_key(task);
        if !known && self.recovered > 0 {
            let most = self.config.max_completed_tasks;
            let kill = Kill::requested(grace);
            self.frameworks[framework].kill_absent(task.clone(), kill, most);
        }
        let away = self.frameworks[framework].unreachable.get_mut(task);
        let agent = away.map(|unreachable| {
            unreachable.kill = Some(Kill::requested(grace).after(unreachable.kill));
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
        self.kill(slot, Kill::requested(grace), out);
        OperatorReply::Done
    }

    /// Ends a task, now or when its agent is back.
    pub(crate) fn kill(&mut self, slot: TaskSlot, kill: Kill, out: &mut Decisions) {
        let task = &mut self.tasks[slot];
        if task.state.is_terminal() {
            return;
        }
        task.kill = Some(kill.after(task.kill));
        self.send_kill(slot, out);
    }

    /// Sends the kill that a task remembers, if its agent is there.
    pub(crate) fn send_kill(&self, slot: TaskSlot, out: &mut Decisions) {
        let task = &self.tasks[slot];
        let connection = self.agents[task.agent].connection();
        if let (Some(connection), Some(kill)) = (connection, task.kill) {
            let key = TaskKey {
                framework: self.frameworks[task.framework].id,
                task: task.info.id.clone(),
            };
            let Kill { grace, reason } = kill;
            out.tell_agent(connection, AgentCommand::Kill { key, grace, reason });
        }
    }
}
