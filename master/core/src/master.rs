//! The master: its parts, and the one place where events are told apart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nesos_types::framework::FrameworkInfo;
use nesos_types::message::{AgentCommand, AgentEvent, Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::time::Time;

use crate::agents::{Agent, Agents, Link, Removals};
use crate::allocator::Allocator;
use crate::config::MasterConfig;
use crate::deadlines::{Deadline, Deadlines};
use crate::decision::{Decisions, Effect, OperatorReply, Record, Subject};
use crate::event::{ConnectionId, Event, OperatorRequest, RequestId};
use crate::frameworks::{CompletedFramework, Framework, Frameworks};
use crate::ids::IdSource;
use crate::offers::Offers;
use crate::policy::{configure_policy, initial_policy};
use crate::registry::{AgentFact, FrameworkFact, Registry};
use crate::stats::Stats;
use crate::table::{AgentSlot, FrameworkSlot, Table};
use crate::tasks::Tasks;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A scheduler that has not subscribed yet.
    NewScheduler,
    /// The scheduler of a framework.
    Scheduler(FrameworkSlot),
    /// An agent that has not registered yet.
    NewAgent,
    /// An agent.
    Agent(AgentSlot),
}

/// A master: a deterministic state machine that is told of events and answers with decisions.
#[derive(Debug)]
pub struct Master {
    pub(crate) config: MasterConfig,
    /// The time of the latest event. It never runs backwards.
    pub(crate) now: Time,
    pub(crate) ids: IdSource,
    pub(crate) registry: Registry,
    pub(crate) connections: BTreeMap<ConnectionId, Peer>,
    pub(crate) frameworks: Frameworks,
    pub(crate) agents: Agents,
    /// How many agents have not come back since the master restarted.
    pub(crate) recovered: usize,
    pub(crate) removals: Removals,
    pub(crate) tasks: Tasks,
    pub(crate) offers: Offers,
    pub(crate) allocator: Allocator,
    pub(crate) deadlines: Deadlines,
    /// Agents that are being drained and have a task less since the event began.
    pub(crate) draining: Vec<AgentSlot>,
    pub(crate) stats: Stats,
}

impl Master {
    /// A master that knows what the records say: nothing, if there are none.
    ///
    /// Agents that were admitted have `agent_reregister_timeout` to come back with their tasks;
    /// frameworks have their failover timeout, and a minute at the least, to subscribe again. The seed
    /// must be fresh and secret: ids come of it.
    #[must_use]
    pub fn recover(
        config: MasterConfig,
        seed: [u8; 32],
        now: Time,
        records: impl IntoIterator<Item = Record>,
    ) -> Self {
        let mut registry = Registry::default();
        records
            .into_iter()
            .for_each(|record| registry.apply(&record));
        let policy = initial_policy(&config, &registry, now);
        let mut master = Self {
            config,
            now,
            ids: IdSource::new(seed),
            registry,
            connections: BTreeMap::new(),
            frameworks: Frameworks::new(),
            agents: Agents::new(),
            recovered: 0,
            removals: Removals::new(),
            tasks: Table::new(),
            offers: Offers::new(),
            allocator: Allocator::new(policy, seed),
            deadlines: Deadlines::default(),
            draining: Vec::new(),
            stats: Stats::default(),
        };
        master.restore_roles();
        master.restore_agents();
        master.restore_frameworks();
        master
    }

    fn restore_roles(&mut self) {
        let policy = self.allocator.policy.as_mut();
        configure_policy(policy, &self.config, &self.registry);
        self.rebuild_quotas();
    }

    fn restore_agents(&mut self) {
        let back_until = self.now + self.config.agent_reregister_timeout;
        for (id, fact) in self.registry.agents() {
            if let AgentFact::Admitted { info, since } = fact {
                let set_apart = self.registry.set_apart(id).cloned().unwrap_or_default();
                let mut agent =
                    Agent::new(id, Arc::clone(info), set_apart, *since, Link::Recovered);
                agent.orders = self.registry.orders(id);
                agent.deadline = back_until;
                let slot = self.agents.insert(agent);
                self.deadlines.insert(back_until, Deadline::Agent(slot));
                self.recovered += 1;
            }
        }
        self.removals.known = self.recovered;
    }

    fn restore_frameworks(&mut self) {
        for (id, fact) in self.registry.frameworks() {
            if let FrameworkFact::Live { info, since } = fact {
                let mut framework = Framework::new(id, Arc::clone(info), *since);
                // That the master was away is no fault of the scheduler: it gets a minute at least.
                let least = FrameworkInfo::DEFAULT_FAILOVER_TIMEOUT;
                let grace = info.failover_timeout.max(least);
                framework.deadline = self.now + grace;
                let at = framework.deadline;
                let slot = self.frameworks.insert(framework);
                self.deadlines.insert(at, Deadline::Framework(slot));
            }
        }
        for id in self
            .registry
            .recently_removed(self.config.max_completed_frameworks)
        {
            if let Some(FrameworkFact::Removed { info, since, at }) = self.registry.framework(id) {
                self.frameworks.completed.push_back(CompletedFramework {
                    id,
                    info: Arc::clone(info),
                    since: *since,
                    removed_at: *at,
                    tasks: VecDeque::new(),
                });
            }
        }
    }

    /// Takes an event in and appends what is to be done to `out`.
    ///
    /// Total: whatever a door heard has an answer, and the answer may be "nothing". Call it with
    /// [`Event::Tick`] whenever [`Master::next_deadline`] has come.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Decisions) {
        self.now = self.now.max(now);
        self.stats.events += 1;
        match event {
            Event::SchedulerConnected(connection) => {
                self.connections.insert(connection, Peer::NewScheduler);
            }
            Event::SchedulerCalled(connection, call) => {
                self.on_scheduler_call(connection, call, out);
            }
            Event::AgentConnected(connection) => {
                self.connections.insert(connection, Peer::NewAgent);
            }
            Event::AgentSaid(connection, event) => self.on_agent_event(connection, event, out),
            Event::SchedulerDisconnected(connection) | Event::AgentDisconnected(connection) => {
                self.on_disconnected(connection, out);
            }
            Event::Operator(request, asked) => self.on_operator_request(request, &asked, out),
            Event::Tick => self.on_tick(out),
        }
        self.settle_drains(out);
    }

    fn on_scheduler_call(
        &mut self,
        connection: ConnectionId,
        call: SchedulerCall,
        out: &mut Decisions,
    ) {
        let current = match self.connections.get(&connection) {
            Some(Peer::Scheduler(framework)) => Some(*framework),
            Some(Peer::NewScheduler) => None,
            Some(Peer::NewAgent | Peer::Agent(_)) | None => return,
        };
        let SchedulerCall::Subscribe {
            framework: id,
            info,
            suppressed,
        } = call
        else {
            match current {
                Some(framework) => self.on_framework_call(framework, call, out),
                None => self.refuse_scheduler(connection, Refusal::NotSubscribed, out),
            }
            return;
        };
        self.on_subscribe(connection, current, id, info, &suppressed, out);
    }

    fn on_framework_call(
        &mut self,
        framework: FrameworkSlot,
        call: SchedulerCall,
        out: &mut Decisions,
    ) {
        self.frameworks[framework].last_heard = self.now;
        match call {
            SchedulerCall::Teardown => self.on_teardown(framework, out),
            SchedulerCall::Accept {
                offers,
                operations,
                filters,
            } => self.on_accept(framework, &offers, operations, filters, out),
            SchedulerCall::Decline { offers, filters } => {
                self.on_decline(framework, &offers, filters);
            }
            SchedulerCall::Request { demands } => self.on_request(framework, demands, out),
            SchedulerCall::UpdateFramework { info, suppressed } => {
                self.on_update_framework(framework, info, &suppressed, out);
            }
            SchedulerCall::Revive { roles } => self.on_revive(framework, &roles, out),
            SchedulerCall::Suppress { roles } => self.on_suppress(framework, &roles, out),
            SchedulerCall::Kill { task, grace } => self.on_kill(framework, &task, grace, out),
            SchedulerCall::Acknowledge {
                agent,
                task,
                update,
            } => self.on_acknowledge(framework, agent, task, update, out),
            SchedulerCall::Reconcile { tasks } => self.on_reconcile(framework, &tasks, out),
            SchedulerCall::Message { agent, to, data } => {
                self.on_message(framework, agent, &to, data, out);
            }
            SchedulerCall::ShutdownExecutor {
                agent,
                executor,
                grace,
            } => self.on_shutdown_executor(framework, agent, &executor, grace, out),
            SchedulerCall::Subscribe { .. } | SchedulerCall::Heartbeat => {}
        }
    }

    fn on_agent_event(&mut self, connection: ConnectionId, event: AgentEvent, out: &mut Decisions) {
        let current = match self.connections.get(&connection) {
            Some(Peer::Agent(agent)) => Some(*agent),
            Some(Peer::NewAgent) => None,
            Some(Peer::NewScheduler | Peer::Scheduler(_)) | None => return,
        };
        let Some(agent) = current else {
            match event {
                AgentEvent::Register { agent, info, tasks } => {
                    self.on_register(connection, agent, info, tasks, out);
                }
                _ => self.refuse_agent(connection, Refusal::NotSubscribed, out),
            }
            return;
        };
        self.agents[agent].last_heard = self.now;
        self.hear_of(agent);
        match event {
            // A repetition: the connection is this agent's, whatever it says.
            AgentEvent::Register { info, tasks, .. } => {
                let own = Some(self.agents[agent].id);
                self.on_register(connection, own, info, tasks, out);
            }
            AgentEvent::Update {
                framework,
                status,
                latest,
            } => self.on_update(agent, framework, status, latest, out),
            AgentEvent::Bundles { compiled, dropped } => {
                self.agents[agent].note_compiled(compiled, &dropped);
            }
            AgentEvent::Slack { cpu_milli } => self.on_slack(agent, cpu_milli, out),
            AgentEvent::Message { key, data } => self.on_guest_message(agent, &key, data, out),
            AgentEvent::Pong => {}
            AgentEvent::Unregister => self.on_unregister(agent, out),
        }
    }

    fn on_disconnected(&mut self, connection: ConnectionId, out: &mut Decisions) {
        match self.connections.remove(&connection) {
            Some(Peer::Scheduler(framework)) => self.on_scheduler_gone(framework, out),
            Some(Peer::Agent(agent)) => self.on_agent_gone(agent, out),
            Some(Peer::NewScheduler | Peer::NewAgent) | None => {}
        }
    }

    fn on_operator_request(
        &mut self,
        request: RequestId,
        asked: &OperatorRequest,
        out: &mut Decisions,
    ) {
        let reply = match asked {
            OperatorRequest::KillTask {
                framework,
                task,
                grace,
            } => match self.frameworks.find(*framework) {
                None => OperatorReply::FrameworkUnknown(*framework),
                Some(slot) => self.kill_by_operator(slot, task, *grace, out),
            },
            OperatorRequest::OrderAgent { agent, order } => {
                self.on_order_agent(*agent, *order, out)
            }
            OperatorRequest::ChangeRoles { changes, force } => {
                self.on_change_roles(changes, *force, out)
            }
            OperatorRequest::ChangeReservations { agent, change } => {
                self.on_change_reservations(*agent, change, out)
            }
            OperatorRequest::PrewarmBundle {
                repository,
                bundle,
                agents,
            } => self.on_prewarm(repository.as_ref(), *bundle, agents, out),
            OperatorRequest::TeardownFramework(framework) => {
                match self.frameworks.find(*framework) {
                    None => OperatorReply::FrameworkUnknown(*framework),
                    Some(slot) => {
                        self.remove_framework(slot, out);
                        OperatorReply::Done
                    }
                }
            }
        };
        out.effects.push(Effect::Reply(request, reply));
    }

    fn on_tick(&mut self, out: &mut Decisions) {
        while let Some(deadline) = self.deadlines.pop_due(self.now) {
            match deadline {
                Deadline::Agent(agent) => self.on_agent_deadline(agent, out),
                Deadline::Framework(framework) => self.on_framework_deadline(framework, out),
                Deadline::Offer(offer) => self.on_offer_timeout(offer, out),
                Deadline::Filter(client, agent) => self.on_filter_expired(client, agent),
                Deadline::Removal => self.on_removal_due(out),
                Deadline::Cycle => self.on_cycle(),
            }
        }
        if self.allocator.due().is_some_and(|due| due <= self.now) {
            self.allocate(out);
        }
    }

    /// Tells a scheduler that something was not done; ends its stream if the refusal is final.
    pub(crate) fn refuse_scheduler(
        &mut self,
        connection: ConnectionId,
        refusal: Refusal,
        out: &mut Decisions,
    ) {
        let is_final = refusal.is_final();
        out.tell_scheduler(connection, SchedulerEvent::Refused(refusal));
        if is_final {
            self.connections.remove(&connection);
            out.close(connection);
        }
    }

    /// Tells an agent that it may not stay, and ends its stream.
    pub(crate) fn refuse_agent(
        &mut self,
        connection: ConnectionId,
        refusal: Refusal,
        out: &mut Decisions,
    ) {
        out.tell_agent(connection, AgentCommand::Refused(refusal));
        self.connections.remove(&connection);
        out.close(connection);
    }

    /// Makes a durable fact: the registry takes it, the driver stores it.
    pub(crate) fn record(&mut self, record: Record, out: &mut Decisions) {
        self.registry.apply(&record);
        out.records.push(record);
        while let Some(subject) = self.registry.surplus(self.config.max_retired_ids) {
            let forgotten = Record::Forgotten(subject.clone());
            self.registry.apply(&forgotten);
            out.records.push(forgotten);
            if let Subject::Agent(agent) = subject {
                self.forget_set_apart(agent, out);
                self.forget_orders(agent, out);
            }
        }
    }

    /// Plain counters since the master started.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
