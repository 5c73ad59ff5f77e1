//! A stage: one master core, agents and schedulers that do as they are told, and a clock that moves
//! when it is told. Messages arrive at once and in order, so that a scenario reads like its script.
//!
//! Every event is followed by a check of the master's invariants.

use std::collections::VecDeque;
use std::time::Duration;

use nesos_master_core::{
    ConnectionId, Decisions, Effect, Event, Explanation, Master, MasterConfig, OperatorReply,
    OperatorRequest, Record, RequestId, Snapshot,
};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, TaskKey};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskState};
use nesos_types::time::Time;

mod agent;
mod scheduler;

pub use agent::{StageAgent, agent_info};
pub use scheduler::{StageScheduler, task};

/// Names a scheduler on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerName(usize);

/// Names an agent on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentName(usize);

/// The stage.
#[derive(Debug)]
pub struct Stage {
    config: MasterConfig,
    master: Master,
    now: Time,
    /// Everything that was made durable.
    records: Vec<Record>,
    /// What is still to be heard by the master.
    events: VecDeque<Event>,
    schedulers: Vec<StageScheduler>,
    agents: Vec<StageAgent>,
    replies: Vec<OperatorReply>,
    next_connection: u64,
    restarts: u8,
}

impl Stage {
    /// A master with this configuration and nobody else, at one o'clock on the virtual clock.
    #[must_use]
    pub fn new(config: MasterConfig) -> Self {
        let now = Time::ZERO + Duration::from_secs(3600);
        Self {
            master: Master::recover(config.clone(), [0; 32], now, []),
            config,
            now,
            records: Vec::new(),
            events: VecDeque::new(),
            schedulers: Vec::new(),
            agents: Vec::new(),
            replies: Vec::new(),
            next_connection: 0,
            restarts: 0,
        }
    }

    /// The time on the virtual clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// An agent with these resources comes and registers.
    pub fn agent(&mut self, hostname: &str, resources: Resources) -> AgentName {
        let name = AgentName(self.agents.len());
        self.agents
            .push(StageAgent::new(agent_info(hostname, resources)));
        self.connect_agent(name);
        name
    }

    /// An agent opens a new connection and registers with what it has.
    pub fn connect_agent(&mut self, name: AgentName) {
        let connection = self.next_connection();
        let register = self.agents[name.0].connect(connection);
        self.events.push_back(Event::AgentConnected(connection));
        self.events
            .push_back(Event::AgentSaid(connection, register));
        self.settle();
    }

    /// An agent's connection breaks.
    pub fn disconnect_agent(&mut self, name: AgentName) {
        if let Some(connection) = self.agents[name.0].connection.take() {
            self.events.push_back(Event::AgentDisconnected(connection));
        }
        self.settle();
    }

    /// A scheduler comes and subscribes in one role.
    pub fn scheduler(&mut self, name: &str, role: &Role) -> SchedulerName {
        self.scheduler_with(FrameworkInfo::new(name, [role.clone()]))
    }

    /// A scheduler comes and subscribes.
    pub fn scheduler_with(&mut self, info: FrameworkInfo) -> SchedulerName {
        let name = SchedulerName(self.schedulers.len());
        self.schedulers.push(StageScheduler::new(info));
        self.connect_scheduler(name);
        name
    }

    /// A scheduler opens a new connection and subscribes, with its id if it has one.
    pub fn connect_scheduler(&mut self, name: SchedulerName) {
        let connection = self.next_connection();
        let subscribe = self.schedulers[name.0].connect(connection);
        self.events.push_back(Event::SchedulerConnected(connection));
        self.events
            .push_back(Event::SchedulerCalled(connection, subscribe));
        self.settle();
    }

    /// A scheduler's connection breaks.
    pub fn disconnect_scheduler(&mut self, name: SchedulerName) {
        let scheduler = &mut self.schedulers[name.0];
        scheduler.offers.clear();
        if let Some(connection) = scheduler.connection.take() {
            self.events
                .push_back(Event::SchedulerDisconnected(connection));
        }
        self.settle();
    }

    /// The master dies and another one recovers from what was made durable. All connections break;
    /// nobody has come back yet.
    pub fn restart_master(&mut self) {
        self.restarts += 1;
        let seed = [self.restarts; 32];
        let records = self.records.clone();
        self.master = Master::recover(self.config.clone(), seed, self.now, records);
        self.events.clear();
        for agent in &mut self.agents {
            agent.connection = None;
        }
        for scheduler in &mut self.schedulers {
            scheduler.connection = None;
            scheduler.offers.clear();
        }
    }

    fn next_connection(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId(self.next_connection)
    }

    /// A scheduler calls.
    pub fn call(&mut self, name: SchedulerName, call: SchedulerCall) {
        if let Some(connection) = self.schedulers[name.0].connection {
            self.events
                .push_back(Event::SchedulerCalled(connection, call));
        }
        self.settle();
    }

    /// A scheduler launches tasks on the offers that it holds, all of them.
    pub fn launch(&mut self, name: SchedulerName, tasks: Vec<SharedTask>, filters: Filters) {
        self.operate(name, vec![Operation::Launch(tasks)], filters);
    }

    /// A scheduler applies operations to the offers that it holds, all of them.
    pub fn operate(&mut self, name: SchedulerName, operations: Vec<Operation>, filters: Filters) {
        let offers = std::mem::take(&mut self.schedulers[name.0].offers);
        let call = SchedulerCall::Accept {
            offers: offers.iter().map(|offer| offer.id).collect(),
            operations,
            filters,
        };
        self.call(name, call);
    }

    /// A scheduler turns down the offers that it holds, all of them.
    pub fn decline(&mut self, name: SchedulerName, filters: Filters) {
        let offers = std::mem::take(&mut self.schedulers[name.0].offers);
        let offers = offers.iter().map(|offer| offer.id).collect();
        self.call(name, SchedulerCall::Decline { offers, filters });
    }

    /// A scheduler acknowledges every status that asks for it.
    pub fn acknowledge(&mut self, name: SchedulerName) {
        for call in self.schedulers[name.0].acknowledgements() {
            self.call(name, call);
        }
    }

    /// An operator asks something.
    pub fn operator(&mut self, request: OperatorRequest) -> OperatorReply {
        self.events
            .push_back(Event::Operator(RequestId(0), request));
        self.settle();
        self.replies.pop().expect("every request is answered")
    }

    /// A task ends on its agent.
    pub fn end(
        &mut self,
        agent: AgentName,
        scheduler: SchedulerName,
        task: &str,
        state: TaskState,
    ) {
        let key = self.key(scheduler, task);
        let now = self.now;
        if let Some(update) = self.agents[agent.0].update(key, state, now) {
            self.say(agent, update);
        }
    }

    /// An agent says something.
    pub fn say(&mut self, agent: AgentName, event: AgentEvent) {
        if let Some(connection) = self.agents[agent.0].connection {
            self.events.push_back(Event::AgentSaid(connection, event));
        }
        self.settle();
    }

    /// The name in the cluster of a scheduler's task.
    #[must_use]
    pub fn key(&self, scheduler: SchedulerName, task: &str) -> TaskKey {
        TaskKey {
            framework: self.framework_id(scheduler),
            task: task.parse().expect("a task id"),
        }
    }

    /// The id that a scheduler was given.
    #[must_use]
    pub fn framework_id(&self, name: SchedulerName) -> FrameworkId {
        self.schedulers[name.0].id.expect("it has subscribed")
    }

    /// The id that an agent was given.
    #[must_use]
    pub fn agent_id(&self, name: AgentName) -> AgentId {
        self.agents[name.0].id.expect("it has registered")
    }

    /// A scheduler, to look at.
    #[must_use]
    pub fn scheduler_mut(&mut self, name: SchedulerName) -> &mut StageScheduler {
        &mut self.schedulers[name.0]
    }

    /// An agent, to look at.
    #[must_use]
    pub fn agent_mut(&mut self, name: AgentName) -> &mut StageAgent {
        &mut self.agents[name.0]
    }

    /// The offers that a scheduler holds.
    #[must_use]
    pub fn offers(&self, name: SchedulerName) -> &[Offer] {
        &self.schedulers[name.0].offers
    }

    /// The resources of the offers that a scheduler holds.
    #[must_use]
    pub fn offered(&self, name: SchedulerName) -> Vec<Resources> {
        let offers = self.offers(name).iter();
        offers.map(|offer| offer.resources.clone()).collect()
    }

    /// The master's snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.master.snapshot()
    }

    /// Why a framework waits.
    #[must_use]
    pub fn explain(&self, name: SchedulerName) -> Explanation {
        self.master.explain(self.framework_id(name))
    }

    /// What was made durable.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Time passes; whatever is due happens when it is due.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.repeat_updates();
            self.events.push_back(Event::Tick);
            self.settle();
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<Time> {
        let agents = self.agents.iter().filter_map(StageAgent::next_deadline);
        agents.chain(self.master.next_deadline()).min()
    }

    fn repeat_updates(&mut self) {
        for agent in &mut self.agents {
            let repeated = agent.repeat(self.now);
            if let Some(connection) = agent.connection {
                let events = repeated.into_iter();
                self.events
                    .extend(events.map(|event| Event::AgentSaid(connection, event)));
            }
        }
    }

    /// Lets everybody talk until nobody has anything left to say, and the allocator has run.
    fn settle(&mut self) {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None if self
                    .master
                    .next_deadline()
                    .is_some_and(|due| due <= self.now) =>
                {
                    Event::Tick
                }
                None => return,
            };
            let mut decisions = Decisions::default();
            self.master.handle(self.now, event, &mut decisions);
            self.master.check_invariants();
            self.records.extend(decisions.records);
            for effect in decisions.effects {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::ToScheduler(connection, event) => self.tell_scheduler(connection, event),
            Effect::ToAgent(connection, command) => self.tell_agent(connection, command),
            Effect::Close(connection) => {
                for agent in &mut self.agents {
                    agent.connection.take_if(|own| *own == connection);
                }
                for scheduler in &mut self.schedulers {
                    scheduler.connection.take_if(|own| *own == connection);
                }
            }
            Effect::Reply(_, reply) => self.replies.push(reply),
            Effect::Observed(_) => {}
        }
    }

    fn tell_scheduler(&mut self, connection: ConnectionId, event: SchedulerEvent) {
        let scheduler = self
            .schedulers
            .iter_mut()
            .find(|scheduler| scheduler.connection == Some(connection));
        let Some(scheduler) = scheduler else { return };
        for call in scheduler.hear(event) {
            self.events
                .push_back(Event::SchedulerCalled(connection, call));
        }
    }

    fn tell_agent(&mut self, connection: ConnectionId, command: AgentCommand) {
        let agent = self
            .agents
            .iter_mut()
            .find(|agent| agent.connection == Some(connection));
        let Some(agent) = agent else { return };
        for event in agent.hear(command, self.now) {
            self.events.push_back(Event::AgentSaid(connection, event));
        }
    }
}
