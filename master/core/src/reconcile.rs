//! Reconciliation: what the master can say of tasks, and when it must not say anything yet.

use nesos_types::ids::{AgentId, TaskId};
use nesos_types::task::{TaskReason, TaskState};

use crate::agents::Link;
use crate::decision::Decisions;
use crate::master::Master;
use crate::registry::AgentFact;
use crate::table::{FrameworkSlot, TaskSlot};
use crate::tasks::status_by_master;

impl Master {
    /// A scheduler asks for the state of some tasks, or of all that the master holds.
    pub(crate) fn on_reconcile(
        &mut self,
        framework: FrameworkSlot,
        tasks: &[(TaskId, Option<AgentId>)],
        out: &mut Decisions,
    ) {
        if tasks.is_empty() {
            let all = self.frameworks[framework].tasks.values().copied();
            let is_run = |slot: &TaskSlot| self.tasks[*slot].info.run_of().is_some();
            let all: Vec<_> = all.filter(|slot| !is_run(slot)).collect();
            for slot in all {
                self.answer_known(slot, out);
            }
        }
        for (task, agent) in tasks {
            self.reconcile_one(framework, task, *agent, out);
        }
    }

    /// Explicit reconciliation of one task.
    pub(crate) fn reconcile_one(
        &mut self,
        framework: FrameworkSlot,
        task: &TaskId,
        agent: Option<AgentId>,
        out: &mut Decisions,
    ) {
        if let Some(&slot) = self.frameworks[framework].tasks.get(task) {
            self.answer_known(slot, out);
            return;
        }
        if let Some((state, message)) = self.state_of_unknown(agent) {
            let mut status = status_by_master(
                task.clone(),
                state,
                TaskReason::Reconciliation,
                message,
                self.now,
            );
            status.agent = agent;
            self.tell_status(framework, status, out);
        }
    }

    fn answer_known(&mut self, slot: TaskSlot, out: &mut Decisions) {
        let task = &self.tasks[slot];
        let status = status_by_master(
            task.info.id.clone(),
            task.reported_state(),
            TaskReason::Reconciliation,
            "",
            self.now,
        );
        let status = status.on(self.agents[task.agent].id);
        self.tell_status(task.framework, status, out);
    }

    /// The state of a task that the master does not hold, by what became of its agent. `None` while
    /// an agent that might bring it has still to come back.
    fn state_of_unknown(&self, agent: Option<AgentId>) -> Option<(TaskState, String)> {
        let unknown = || (TaskState::Unknown, "the task is not known".to_owned());
        let Some(id) = agent else {
            return (self.recovered == 0).then(unknown);
        };
        if let Some(slot) = self.agents.find(id) {
            return match self.agents[slot].link {
                Link::Recovered => None,
                Link::Connected(_) | Link::Disconnected { .. } => Some((
                    TaskState::Gone,
                    "its agent is there and does not have it".to_owned(),
                )),
            };
        }
        Some(match self.registry.agent(id) {
            Some(AgentFact::Unreachable { at, .. }) => (
                TaskState::Unreachable,
                format!("its agent has been unreachable since {at}"),
            ),
            Some(AgentFact::Removed { at }) => (TaskState::Gone, format!("its agent left at {at}")),
            Some(AgentFact::Gone { at }) => (
                TaskState::GoneByOperator,
                format!("an operator said at {at} that its agent is gone"),
            ),
            Some(AgentFact::Admitted { .. }) | None => unknown(),
        })
    }
}
