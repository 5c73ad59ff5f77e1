//! How a task moves on and ends: its resources go when its latest state is terminal, the task itself
//! when its scheduler has acknowledged that.

use nesos_types::ids::TaskKey;
use nesos_types::task::{SharedTask, TaskReason, TaskState};

use super::progress;
use crate::decision::{Decisions, Happening};
use crate::master::Master;
use crate::table::TaskSlot;

impl Master {
    /// A task is in a later state than was known. Earlier ones are ignored: repeated updates must not
    /// take it back.
    pub(crate) fn advance(
        &mut self,
        slot: TaskSlot,
        state: TaskState,
        reason: Option<TaskReason>,
        out: &mut Decisions,
    ) {
        let task = &mut self.tasks[slot];
        if progress(state) <= progress(task.state) {
            return;
        }
        task.state = state;
        task.updated_at = self.now;
        let (client, agent, framework) = (task.client, task.agent, task.framework);
        let info = SharedTask::clone(&task.info);
        let is_run = info.run_of().is_some();
        if !is_run {
            out.observed(Happening::TaskUpdated {
                key: TaskKey {
                    framework: self.frameworks[framework].id,
                    task: info.id.clone(),
                },
                agent: self.agents[agent].id,
                state,
                reason,
            });
        }
        if state.is_terminal() {
            self.stats.tasks_ended += u64::from(!is_run);
            self.let_go(agent, slot, framework, &info);
            self.release(client, agent, &info.resources);
        }
    }

    /// A task is over and everybody knows: it passes into its framework's history.
    pub(crate) fn retire(&mut self, slot: TaskSlot) {
        let task = self.tasks.remove(slot);
        let agent = &mut self.agents[task.agent];
        agent.tasks.remove(&slot);
        if agent.orders.drain.is_some() {
            self.draining.push(task.agent);
        }
        let framework = &mut self.frameworks[task.framework];
        framework.tasks.remove(&task.info.id);
        if task.info.run_of().is_none() {
            let view = task.view(framework.id, agent.id);
            framework.remember(view, self.config.max_completed_tasks);
        }
    }
}
