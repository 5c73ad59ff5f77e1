//! Status updates on their way from agents to schedulers, and acknowledgements on their way back.

use nesos_types::ids::{AgentId, FrameworkId, TaskId, TaskKey, UpdateId};
use nesos_types::message::AgentCommand;
use nesos_types::task::{TaskState, TaskStatus};

use super::progress;
use crate::agents::Agent;
use crate::decision::Decisions;
use crate::executors;
use crate::master::Master;
use crate::table::{AgentSlot, FrameworkSlot};

impl Master {
    /// An agent tells a task's status. It is passed on whatever the master knows of the task: it may
    /// be a repetition whose acknowledgement was lost. With no scheduler there it is held back, and
    /// passed on when one subscribes or when the agent repeats it.
    pub(crate) fn on_update(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkId,
        status: TaskStatus,
        latest: TaskState,
        out: &mut Decisions,
    ) {
        self.stats.updates_received += 1;
        let Some(slot) = self.frameworks.find(framework) else {
            self.shut_down(agent, framework, out);
            return;
        };
        if executors::as_run(&status.task).is_some() {
            self.on_run_update(agent, slot, &status, latest, out);
            return;
        }
        let (status, latest) = self.told_of_drain(agent, status, latest);
        self.note_status(slot, agent, &status, latest, out);
        self.tell_status(slot, status, out);
    }

    /// Tells an agent that a framework is over.
    pub(crate) fn shut_down(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkId,
        out: &mut Decisions,
    ) {
        if let Some(connection) = self.agents[agent].connection() {
            out.tell_agent(connection, AgentCommand::ShutdownFramework(framework));
        }
    }

    fn note_status(
        &mut self,
        framework: FrameworkSlot,
        agent: AgentSlot,
        status: &TaskStatus,
        latest: TaskState,
        out: &mut Decisions,
    ) {
        let Some(&slot) = self.frameworks[framework].tasks.get(&status.task) else {
            return;
        };
        if self.tasks[slot].agent != agent {
            return;
        }
        let furthest = if progress(status.state) > progress(latest) {
            status.state
        } else {
            latest
        };
        self.advance(slot, furthest, status.reason, out);
        let task = &mut self.tasks[slot];
        task.unacknowledged = status.update.is_some();
        task.status = Some(status.clone());
        if status.state.is_terminal() && status.update.is_none() {
            self.retire(slot);
        }
    }

    /// A scheduler has dealt with a status. A task whose terminal status is acknowledged is over.
    pub(crate) fn on_acknowledge(
        &mut self,
        framework: FrameworkSlot,
        agent: AgentId,
        task: TaskId,
        update: UpdateId,
        out: &mut Decisions,
    ) {
        if let Some(&slot) = self.frameworks[framework].tasks.get(&task) {
            let known = &mut self.tasks[slot];
            if let Some(status) = known
                .pending()
                .filter(|status| status.update == Some(update))
            {
                let is_terminal = status.state.is_terminal();
                known.unacknowledged = false;
                if is_terminal {
                    self.retire(slot);
                }
            }
        }
        let agent = self.agents.find(agent).map(|slot| &self.agents[slot]);
        if let Some(connection) = agent.and_then(Agent::connection) {
            self.stats.acknowledgements += 1;
            let key = TaskKey {
                framework: self.frameworks[framework].id,
                task,
            };
            out.tell_agent(connection, AgentCommand::Acknowledge { key, update });
        }
    }
}
