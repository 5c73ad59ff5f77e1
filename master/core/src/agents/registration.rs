//! How agents join and come back, and what they bring.

use std::collections::BTreeSet;
use std::sync::Arc;

use nesos_types::agent::AgentInfo;
use nesos_types::ids::{AgentId, FrameworkId, TaskKey};
use nesos_types::message::{AgentCommand, AgentTask, Refusal};
use nesos_types::task::{SharedTask, TaskReason, TaskState};
use nesos_types::time::Time;

use super::liveness::Ending;
use super::{Agent, Link};
use crate::deadlines::Deadline;
use crate::decision::{Decisions, Happening, Record};
use crate::event::ConnectionId;
use crate::executors;
use crate::master::{Master, Peer};
use crate::registry::AgentFact;
use crate::table::{AgentSlot, FrameworkSlot, TaskSlot};
use crate::tasks::{Task, status_by_master};
use crate::validate;

/// How an agent comes.
enum Coming {
    /// For the first time.
    New,
    /// Over a new connection, after a break or a restart of the master.
    Back(AgentSlot),
    /// After it was given up.
    Again { since: Time },
}

impl Master {
    /// An agent registers: for the first time, or with its id and the tasks that it still has.
    pub(crate) fn on_register(
        &mut self,
        connection: ConnectionId,
        id: Option<AgentId>,
        info: AgentInfo,
        tasks: Vec<AgentTask>,
        out: &mut Decisions,
    ) {
        let Some(coming) = self.how_it_comes(id) else {
            let agent = id.expect("only an agent with an id is turned away");
            self.refuse_agent(connection, Refusal::AgentRemoved { agent }, out);
            return;
        };
        let id = id.unwrap_or_else(|| self.ids.agent());
        if let Some(refusal) = self.why_not(id, &info) {
            let current = self.connections.get(&connection).copied();
            self.refuse_agent(connection, refusal, out);
            if let Some(Peer::Agent(slot)) = current {
                self.on_agent_gone(slot, out);
            }
            return;
        }
        let features = self.agents.share(&info.features);
        let info = Arc::new(AgentInfo { features, ..info });
        let announce = matches!(coming, Coming::Again { .. });
        let slot = match coming {
            Coming::New => self.admit(id, info, self.now, out),
            Coming::Again { since } => self.admit(id, info, since, out),
            Coming::Back(slot) => {
                self.come_back(slot, connection, info, out);
                slot
            }
        };
        self.connect(slot, connection, out);
        self.take_tasks(slot, tasks, announce, out);
        self.go_on_draining(slot, out);
        self.touch_agent(slot);
    }

    /// Why what an agent says that it has cannot be.
    fn why_not(&self, id: AgentId, info: &AgentInfo) -> Option<Refusal> {
        if let Err(why) = validate::configured(&info.resources) {
            return Some(Refusal::InvalidCall {
                call: "Register".to_owned(),
                why,
            });
        }
        let set_apart = self.registry.set_apart(id)?;
        let fits = Agent::total_of(&info.resources, &set_apart.resources).is_some();
        (!fits).then(|| Refusal::AgentShrunk {
            agent: id,
            reserved: set_apart.resources.to_string(),
            offered: info.resources.to_string(),
        })
    }

    /// `None` if it may not come: its id was never given out, or is barred.
    fn how_it_comes(&self, id: Option<AgentId>) -> Option<Coming> {
        let Some(id) = id else {
            return Some(Coming::New);
        };
        match self.registry.agent(id)? {
            AgentFact::Admitted { .. } => self.agents.find(id).map(Coming::Back),
            AgentFact::Unreachable { since, .. } => Some(Coming::Again { since: *since }),
            AgentFact::Removed { .. } | AgentFact::Gone { .. } => None,
        }
    }

    fn admit(
        &mut self,
        agent: AgentId,
        info: Arc<AgentInfo>,
        since: Time,
        out: &mut Decisions,
    ) -> AgentSlot {
        let admitted = Record::AgentAdmitted {
            agent,
            info: Arc::clone(&info),
            since,
        };
        self.record(admitted, out);
        let link = Link::Disconnected { since: self.now };
        let set_apart = self.registry.set_apart(agent).cloned().unwrap_or_default();
        let mut entering = Agent::new(agent, info, set_apart, since, link);
        entering.orders = self.registry.orders(agent);
        let slot = self.agents.insert(entering);
        self.count_agent(slot);
        slot
    }

    /// A known agent has a new connection: an older one is over, and so is what was offered of it.
    fn come_back(
        &mut self,
        slot: AgentSlot,
        connection: ConnectionId,
        info: Arc<AgentInfo>,
        out: &mut Decisions,
    ) {
        self.rescind_agent(slot, TaskReason::AgentReregistered, out);
        self.hear_of(slot);
        let agent = &mut self.agents[slot];
        match agent.link {
            Link::Connected(older) if older != connection => {
                let refusal = Refusal::AgentReplaced { agent: agent.id };
                self.refuse_agent(older, refusal, out);
            }
            Link::Recovered => {
                self.recovered -= 1;
                agent.link = Link::Disconnected { since: self.now };
                self.count_agent(slot);
            }
            Link::Connected(_) | Link::Disconnected { .. } => {}
        }
        self.set_slack(slot, 0, out);
        if self.agents[slot].info != info {
            self.change_agent(slot, info, out);
        }
    }

    fn change_agent(&mut self, slot: AgentSlot, info: Arc<AgentInfo>, out: &mut Decisions) {
        if self.agents[slot].info.attributes != info.attributes {
            self.clear_agent_filters(slot);
        }
        self.uncount_agent(slot);
        let agent = &mut self.agents[slot];
        let total = Agent::total_of(&info.resources, &agent.set_apart.resources);
        let total = total.expect("it was compared with what is set apart");
        let revocable = agent.revocable();
        agent.total = total.checked_add(&revocable).unwrap_or(total);
        agent.info = Arc::clone(&info);
        let admitted = Record::AgentAdmitted {
            agent: agent.id,
            info,
            since: agent.since,
        };
        self.record(admitted, out);
        self.count_agent(slot);
        self.recount(slot);
    }

    /// What an agent has is the cluster's from now on.
    fn count_agent(&mut self, slot: AgentSlot) {
        let agent = &self.agents[slot];
        self.allocator.policy.grow(&agent.info.resources);
        self.allocator.quotas.count_reservations(&agent.total, true);
    }

    /// What an agent has is the cluster's no more.
    pub(crate) fn uncount_agent(&mut self, slot: AgentSlot) {
        let agent = &self.agents[slot];
        self.allocator.policy.shrink(&agent.info.resources);
        self.allocator
            .quotas
            .count_reservations(&agent.total, false);
    }

    fn connect(&mut self, slot: AgentSlot, connection: ConnectionId, out: &mut Decisions) {
        self.connections.insert(connection, Peer::Agent(slot));
        let agent = &mut self.agents[slot];
        agent.link = Link::Connected(connection);
        agent.last_heard = self.now;
        agent.compiled.clear();
        let ping_interval = self.config.ping_interval;
        let ping_at = self.now + ping_interval;
        self.deadlines
            .rearm(&mut agent.deadline, ping_at, Deadline::Agent(slot));
        let registered = AgentCommand::Registered {
            agent: agent.id,
            ping_interval,
        };
        out.tell_agent(connection, registered);
        if let Some(set_apart) = self.registry.set_apart(agent.id) {
            out.tell_agent(connection, AgentCommand::SetApart(set_apart.clone()));
        }
        out.observed(Happening::AgentAdded {
            agent: agent.id,
            hostname: agent.info.hostname.clone(),
        });
    }

    /// Compares what an agent brings with what the master has.
    fn take_tasks(
        &mut self,
        agent: AgentSlot,
        brought: Vec<AgentTask>,
        announce: bool,
        out: &mut Decisions,
    ) {
        let mut over: BTreeSet<FrameworkId> = BTreeSet::new();
        let mut present: BTreeSet<TaskSlot> = BTreeSet::new();
        for task in brought {
            match self.frameworks.find(task.framework) {
                Some(framework) => {
                    present.extend(self.take_task(agent, framework, task, announce, out))
                }
                None => {
                    over.insert(task.framework);
                }
            }
        }
        for framework in over {
            self.shut_down(agent, framework, out);
        }
        self.ask_for_missing(agent, &present, out);
        if announce {
            let gone = Ending {
                state: TaskState::Gone,
                reason: TaskReason::AgentReregistered,
                message: "the agent came back without the task",
            };
            self.give_up_lost(self.agents[agent].id, gone, out);
        }
    }

    /// Takes in one task that an agent brings. `None` if another agent has a task of the same id.
    fn take_task(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkSlot,
        brought: AgentTask,
        announce: bool,
        out: &mut Decisions,
    ) -> Option<TaskSlot> {
        if !executors::is_credible(&brought.task) {
            return None;
        }
        let id = brought.task.id.clone();
        let slot = match self.frameworks[framework].tasks.get(&id) {
            Some(&slot) if self.tasks[slot].agent == agent => slot,
            Some(_) => {
                self.kill_twin(agent, brought, out);
                return None;
            }
            None => self.add_brought(agent, framework, &brought, out),
        };
        self.advance(slot, brought.latest, None, out);
        let task = &mut self.tasks[slot];
        if let Some(status) = brought.unacknowledged {
            task.unacknowledged = status.update.is_some() && task.info.run_of().is_none();
            task.status = Some(status);
        }
        let state = task.state;
        let is_run = task.info.run_of().is_some();
        if announce && !state.is_terminal() && !is_run {
            let message = "the agent came back and brought the task";
            let reason = TaskReason::AgentReregistered;
            let status = status_by_master(id, state, reason, message, self.now);
            self.tell_status(framework, status.on(self.agents[agent].id), out);
        }
        self.send_kill(slot, out);
        Some(slot)
    }

    /// An id was used again while its first bearer could not be seen: the later one stays.
    fn kill_twin(&mut self, agent: AgentSlot, brought: AgentTask, out: &mut Decisions) {
        if let Some(connection) = self.agents[agent].connection() {
            let key = TaskKey {
                framework: brought.framework,
                task: brought.task.id.clone(),
            };
            let kill = AgentCommand::Kill {
                key,
                grace: None,
                reason: TaskReason::KillRequested,
            };
            out.tell_agent(connection, kill);
        }
    }

    /// Enters a task that an agent brings, with the resources that it holds.
    fn add_brought(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkSlot,
        brought: &AgentTask,
        out: &mut Decisions,
    ) -> TaskSlot {
        let client = self.client_of(framework, &brought.role);
        let id = &brought.task.id;
        let away = self.frameworks[framework].unreachable.remove(id);
        let slot = self.tasks.insert(Task {
            info: SharedTask::clone(&brought.task),
            framework,
            client,
            role: brought.role.clone(),
            agent,
            state: TaskState::Staging,
            status: None,
            unacknowledged: false,
            kill: away
                .as_ref()
                .and_then(|away| away.kill)
                .or_else(|| self.frameworks[framework].absent_kills.remove(id)),
            since: away.map_or(self.now, |away| away.view.since),
            updated_at: self.now,
        });
        self.allocator.clients[client].holdings += 1;
        self.allocator.charge(client, &brought.task.resources);
        self.frameworks[framework].tasks.insert(id.clone(), slot);
        self.frameworks[framework].bundles.note(brought.task.bundle);
        self.agents[agent].enter(slot, framework, &brought.task);
        self.recount(agent);
        if brought.task.run_of().is_some() {
            return slot;
        }
        out.observed(Happening::TaskAdded {
            key: TaskKey {
                framework: brought.framework,
                task: id.clone(),
            },
            agent: self.agents[agent].id,
        });
        slot
    }

    /// Tasks that the master has and the agent did not bring: their launch was lost on the way, or
    /// the agent has lost them. It says which.
    fn ask_for_missing(
        &mut self,
        agent: AgentSlot,
        present: &BTreeSet<TaskSlot>,
        out: &mut Decisions,
    ) {
        let missing: Vec<_> = self.agents[agent]
            .tasks
            .difference(present)
            .map(|slot| &self.tasks[*slot])
            .map(|task| TaskKey {
                framework: self.frameworks[task.framework].id,
                task: task.info.id.clone(),
            })
            .collect();
        if let (Some(connection), false) = (self.agents[agent].connection(), missing.is_empty()) {
            out.tell_agent(connection, AgentCommand::Reconcile(missing));
        }
    }
}
