//! How agents are watched, and how they are lost.

use nesos_types::ids::AgentId;
use nesos_types::message::{AgentCommand, SchedulerEvent};
use nesos_types::task::{TaskReason, TaskState};
use nesos_types::time::Time;

use super::Link;
use crate::deadlines::Deadline;
use crate::decision::{Decisions, Happening, Record};
use crate::master::Master;
use crate::table::{AgentSlot, TaskSlot};
use crate::tasks::{Unreachable, status_by_master};

/// What became of an agent that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was lost from sight and may come back.
    Unreachable,
    /// It left for good.
    Left,
    /// An operator has vouched that it is dead.
    Gone,
}

/// How tasks have ended that nobody can see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) state: TaskState,
    pub(super) reason: TaskReason,
    pub(super) message: &'static str,
}

impl Master {
    /// An agent's connection broke. It has some time to come back; until then nothing of it is
    /// offered.
    pub(crate) fn on_agent_gone(&mut self, slot: AgentSlot, out: &mut Decisions) {
        let agent = &mut self.agents[slot];
        agent.link = Link::Disconnected { since: self.now };
        out.observed(Happening::AgentDisconnected(agent.id));
        let back_until = self.now + self.config.agent_reregister_timeout;
        self.deadlines
            .rearm(&mut agent.deadline, back_until, Deadline::Agent(slot));
        self.rescind_agent(slot, TaskReason::AgentDisconnected, out);
        self.touch_agent(slot);
    }

    /// An agent's deadline has come: it is to be pinged, or was silent or away for too long. What an
    /// agent says only stamps it, so that hearing from it costs nothing.
    pub(crate) fn on_agent_deadline(&mut self, slot: AgentSlot, out: &mut Decisions) {
        let agent = &mut self.agents[slot];
        agent.deadline = Time::MAX;
        let Some(connection) = agent.connection() else {
            self.give_up(slot, out);
            return;
        };
        let is_silent = self.now.since(agent.last_heard) >= self.config.ping_timeout();
        if is_silent && self.give_up(slot, out) {
            return;
        }
        out.tell_agent(connection, AgentCommand::Ping);
        let ping_at = self.now + self.config.ping_interval;
        let agent = &mut self.agents[slot];
        self.deadlines
            .rearm(&mut agent.deadline, ping_at, Deadline::Agent(slot));
    }

    /// An agent leaves for good.
    pub(crate) fn on_unregister(&mut self, slot: AgentSlot, out: &mut Decisions) {
        if let Some(connection) = self.agents[slot].connection() {
            self.connections.remove(&connection);
            out.close(connection);
        }
        self.remove_agent(slot, Fate::Left, out);
    }

    /// Takes an agent out: the durable fact first, then what follows from it.
    pub(super) fn remove_agent(&mut self, slot: AgentSlot, fate: Fate, out: &mut Decisions) {
        self.stats.agents_lost += u64::from(fate == Fate::Unreachable);
        self.end_waiting(slot);
        let id = self.agents[slot].id;
        self.record_loss(slot, fate, out);
        self.rescind_agent(slot, TaskReason::AgentRemoved, out);
        for task in self.agents[slot].tasks.clone() {
            self.lose_task(task, fate, out);
        }
        self.forget_agent(slot);
        match self.agents[slot].is_counted() {
            true => self.uncount_agent(slot),
            false => self.recovered -= 1,
        }
        let agent = self.agents.remove(slot);
        self.deadlines.remove(agent.deadline, Deadline::Agent(slot));
        for connection in self.frameworks.connections() {
            out.tell_scheduler(connection, SchedulerEvent::AgentLost(id));
        }
        out.observed(Happening::AgentRemoved(id));
    }

    fn record_loss(&mut self, slot: AgentSlot, fate: Fate, out: &mut Decisions) {
        let agent = &self.agents[slot];
        let id = agent.id;
        let record = match fate {
            Fate::Unreachable => Record::AgentUnreachable {
                agent: agent.id,
                hostname: agent.info.hostname.clone(),
                since: agent.since,
                at: self.now,
            },
            Fate::Left => Record::AgentRemoved {
                agent: agent.id,
                hostname: agent.info.hostname.clone(),
                at: self.now,
            },
            Fate::Gone => Record::AgentGone {
                agent: agent.id,
                hostname: agent.info.hostname.clone(),
                at: self.now,
            },
        };
        self.record(record, out);
        if fate != Fate::Unreachable {
            self.forget_set_apart(id, out);
            self.forget_orders(id, out);
        }
    }

    /// A task goes with its agent. One that has ended is told again when the agent comes back.
    fn lose_task(&mut self, slot: TaskSlot, fate: Fate, out: &mut Decisions) {
        let task = &self.tasks[slot];
        if task.state.is_terminal() {
            self.retire(slot);
            return;
        }
        if task.info.run_of().is_some() {
            // Whoever has tasks in it hears of those. If its agent comes back it brings the run.
            let (id, framework) = (task.info.id.clone(), task.framework);
            if let Some(kill) = task.kill.filter(|_| fate == Fate::Unreachable) {
                let most = self.config.max_completed_tasks;
                self.frameworks[framework].kill_absent(id, kill, most);
            }
            self.advance(slot, TaskState::Gone, None, out);
            self.retire(slot);
            return;
        }
        let framework = task.framework;
        let (state, reason, message) = match fate {
            Fate::Unreachable => (
                TaskState::Unreachable,
                TaskReason::AgentDisconnected,
                "the task's agent was lost from sight",
            ),
            Fate::Left => (
                TaskState::Gone,
                TaskReason::AgentRemoved,
                "the task's agent left",
            ),
            Fate::Gone => (
                TaskState::GoneByOperator,
                TaskReason::AgentRemovedByOperator,
                "an operator has said that the task's agent is gone",
            ),
        };
        let id = task.info.id.clone();
        let status = status_by_master(id, state, reason, message, self.now);
        let status = status.on(self.agents[task.agent].id);
        match fate {
            Fate::Unreachable => self.make_unreachable(slot),
            Fate::Left | Fate::Gone => {
                self.advance(slot, state, Some(reason), out);
                self.retire(slot);
            }
        }
        self.tell_status(framework, status, out);
    }

    /// Keeps a task among its framework's unreachable ones: its id may not be used again.
    fn make_unreachable(&mut self, slot: TaskSlot) {
        let task = &self.tasks[slot];
        let (client, agent, framework_slot) = (task.client, task.agent, task.framework);
        let info = task.info.clone();
        let framework = &mut self.frameworks[task.framework];
        let mut view = task.view(framework.id, self.agents[agent].id);
        view.state = TaskState::Unreachable;
        view.updated_at = self.now;
        let unreachable = Unreachable {
            view,
            kill: task.kill,
            at: self.now,
        };
        framework.tasks.remove(&info.id);
        framework.unreachable.insert(info.id.clone(), unreachable);
        if framework.unreachable.len() > self.config.max_completed_tasks {
            let oldest = framework.unreachable.iter().min_by_key(|(_, task)| task.at);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.map(|id| framework.unreachable.remove(&id));
        }
        self.agents[agent].tasks.remove(&slot);
        self.tasks.remove(slot);
        self.let_go(agent, slot, framework_slot, &info);
        self.release(client, agent, &info.resources);
    }

    /// Tasks that were lost from sight with an agent have ended with it, or without it.
    pub(super) fn give_up_lost(&mut self, agent: AgentId, ending: Ending, out: &mut Decisions) {
        let frameworks: Vec<_> = self.frameworks.iter().map(|(slot, _)| slot).collect();
        for framework in frameworks {
            let unreachable = &mut self.frameworks[framework].unreachable;
            let lost: Vec<_> = unreachable
                .extract_if(.., |_, task| task.view.agent == agent)
                .collect();
            for (task, unreachable) in lost {
                let mut view = unreachable.view;
                view.state = ending.state;
                view.updated_at = self.now;
                let most = self.config.max_completed_tasks;
                self.frameworks[framework].remember(view, most);
                let Ending {
                    state,
                    reason,
                    message,
                } = ending;
                let status = status_by_master(task, state, reason, message, self.now);
                self.tell_status(framework, status.on(agent), out);
            }
        }
    }
}
