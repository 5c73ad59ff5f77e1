//! A script: events in, a readable trace of everything that comes out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use expect_test::Expect;
use nesos_master_core::{
    ConnectionId, Decisions, Effect, Event, Happening, Master, MasterConfig, NewPolicy,
    OperatorReply, OperatorRequest, Record, RequestId,
};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, OfferId, TaskId, TaskKey, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, AgentTask, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleChange};
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

/// A master under test and what it did since the last look.
pub(crate) struct Script {
    pub(crate) master: Master,
    config: MasterConfig,
    now: Time,
    trace: String,
    records: Vec<Record>,
    reply: Option<OperatorReply>,
    pub(crate) offers: Vec<OfferId>,
    /// The same offers in full.
    pub(crate) received: Vec<Offer>,
    pub(crate) frameworks: Vec<FrameworkId>,
    pub(crate) agents: Vec<AgentId>,
    /// Ids that were seen, in the order in which they were.
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// CPUs and MiB.
pub(crate) fn res(cpus: u64, mib: u64) -> Resources {
    Resources::new(cpus * 1000, mib << 20)
}

pub(crate) fn id(text: &str) -> TaskId {
    text.parse().expect("a task id")
}

pub(crate) fn task(text: &str, resources: Resources) -> SharedTask {
    SharedTask::new(TaskInfo::new(id(text), Digest([0; 32]), resources))
}

pub(crate) fn info(hostname: &str, resources: Resources) -> AgentInfo {
    AgentInfo::new(hostname, resources)
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::with(MasterConfig::default())
    }

    pub(crate) fn with(config: MasterConfig) -> Self {
        let now = Time::ZERO + seconds(1000);
        Self {
            master: Master::recover(config.clone(), [1; 32], now, []),
            config,
            now,
            trace: String::new(),
            records: Vec::new(),
            reply: None,
            offers: Vec::new(),
            received: Vec::new(),
            frameworks: Vec::new(),
            agents: Vec::new(),
            names: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// A framework on connection 1 and an agent of 4 CPUs and 4 GiB on connection 2, with one offer.
    pub(crate) fn ready() -> Self {
        let mut script = Self::new();
        script.subscribe(1, "a");
        script.register(2, "host", res(4, 4096));
        script.trace.clear();
        script
    }

    /// The master dies and another one takes over what was durable.
    pub(crate) fn restart(&mut self) {
        let records = self.records.clone();
        self.master = Master::recover(self.config.clone(), [2; 32], self.now, records);
        self.master.check_invariants();
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.handle(event);
        if self
            .master
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            self.handle(Event::Tick);
        }
    }

    fn handle(&mut self, event: Event) {
        let mut decisions = Decisions::default();
        self.master.handle(self.now, event, &mut decisions);
        self.look_at(decisions);
    }

    /// An operator changes what is decided of a role.
    pub(crate) fn set_role(&mut self, name: &str, decide: impl FnOnce(&mut RoleChange)) {
        let mut change = RoleChange::of(name.parse().expect("a role"));
        decide(&mut change);
        let request = OperatorRequest::ChangeRoles {
            changes: vec![change],
            force: false,
        };
        self.event(Event::Operator(RequestId(0), request));
    }

    /// An operator sets the policy.
    pub(crate) fn set_policy(&mut self, policy: NewPolicy) {
        let mut decisions = Decisions::default();
        self.master.set_policy(self.now, policy, &mut decisions);
        self.look_at(decisions);
        self.pass(Duration::ZERO);
    }

    fn look_at(&mut self, decisions: Decisions) {
        self.master.check_invariants();
        for record in decisions.records {
            let line = render_record(&record);
            self.line(&line);
            self.records.push(record);
        }
        for effect in decisions.effects {
            self.note(&effect);
            if let Some(line) = render_effect(&effect) {
                self.line(&line);
            }
        }
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::ToScheduler(_, SchedulerEvent::Offers(offers)) => {
                self.offers.extend(offers.iter().map(|offer| offer.id));
                self.received.extend(offers.iter().cloned());
            }
            Effect::ToScheduler(_, SchedulerEvent::Subscribed { framework, .. })
                if !self.frameworks.contains(framework) =>
            {
                self.frameworks.push(*framework);
            }
            Effect::ToAgent(_, AgentCommand::Registered { agent, .. })
                if !self.agents.contains(agent) =>
            {
                self.agents.push(*agent);
            }
            Effect::Reply(_, reply) => self.reply = Some(reply.clone()),
            _ => {}
        }
    }

    fn line(&mut self, line: &str) {
        let line = self.rename(line);
        let _ = writeln!(self.trace, "{line}");
    }

    /// Replaces ids by names that count: `fw1`, `ag2`.
    fn rename(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some((at, prefix)) = find_id(rest) {
            let end = at + 35;
            out.push_str(&rest[..at]);
            let count = self.counts.entry(prefix).or_default();
            let name = self
                .names
                .entry(rest[at..end].to_owned())
                .or_insert_with(|| {
                    *count += 1;
                    format!("{prefix}{count}")
                });
            out.push_str(name);
            rest = &rest[end..];
        }
        out + rest
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Time passes, deadline by deadline.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.master.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.handle(Event::Tick);
        }
        self.now = until;
    }

    /// Time passes while agents answer pings and schedulers heartbeats; those are not in the trace.
    pub(crate) fn pass_alive(&mut self, duration: Duration, schedulers: &[u64], agents: &[u64]) {
        let until = self.now + duration;
        while self.now < until {
            let step = until.since(self.now).min(seconds(10));
            self.pass(step);
            for connection in schedulers {
                self.call(*connection, SchedulerCall::Heartbeat);
            }
            for connection in agents {
                self.say(*connection, AgentEvent::Pong);
            }
        }
        let lines = self.trace.lines();
        let kept: Vec<_> = lines
            .filter(|line| !line.ends_with(" Ping") && !line.ends_with(" Heartbeat"))
            .collect();
        self.trace = kept.iter().map(|line| format!("{line}\n")).collect();
    }

    /// What came out since the last look.
    pub(crate) fn expect(&mut self, expected: &Expect) {
        expected.assert_eq(&self.take());
    }

    /// What came out since the last look, as text.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.trace)
    }

    /// Whether something that came out since the last look holds this text.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.trace.contains(text)
    }

    /// What came out so far is of no interest.
    pub(crate) fn skip(&mut self) {
        self.trace.clear();
    }

    // Schedulers.

    pub(crate) fn subscribe(&mut self, connection: u64, name: &str) {
        let role = Role::default_role();
        self.subscribe_as(connection, None, FrameworkInfo::new(name, [role]));
    }

    pub(crate) fn subscribe_as(
        &mut self,
        connection: u64,
        framework: Option<FrameworkId>,
        info: FrameworkInfo,
    ) {
        self.event(Event::SchedulerConnected(ConnectionId(connection)));
        let suppressed = [].into();
        self.call(
            connection,
            SchedulerCall::Subscribe {
                framework,
                info,
                suppressed,
            },
        );
    }

    pub(crate) fn call(&mut self, connection: u64, call: SchedulerCall) {
        self.event(Event::SchedulerCalled(ConnectionId(connection), call));
    }

    pub(crate) fn launch(&mut self, connection: u64, offers: &[OfferId], tasks: &[SharedTask]) {
        self.call(
            connection,
            SchedulerCall::Accept {
                offers: offers.to_vec(),
                operations: vec![Operation::Launch(tasks.to_vec())],
                filters: Filters::default(),
            },
        );
    }

    /// Turns an offer down.
    pub(crate) fn decline(&mut self, connection: u64, offer: OfferId, filters: Filters) {
        let offers = vec![offer];
        self.call(connection, SchedulerCall::Decline { offers, filters });
    }

    pub(crate) fn last_offer(&self) -> OfferId {
        *self.offers.last().expect("an offer was made")
    }

    pub(crate) fn acknowledge(&mut self, connection: u64, task: &str, update: u128) {
        let (agent, task, update) = (self.agents[0], id(task), UpdateId(update));
        self.call(
            connection,
            SchedulerCall::Acknowledge {
                agent,
                task,
                update,
            },
        );
    }

    pub(crate) fn kill(&mut self, connection: u64, task: &str) {
        let (task, grace) = (id(task), None);
        self.call(connection, SchedulerCall::Kill { task, grace });
    }

    pub(crate) fn hang_up_scheduler(&mut self, connection: u64) {
        self.event(Event::SchedulerDisconnected(ConnectionId(connection)));
    }

    // Agents.

    pub(crate) fn register(&mut self, connection: u64, hostname: &str, resources: Resources) {
        self.register_as(connection, None, info(hostname, resources), Vec::new());
    }

    pub(crate) fn register_as(
        &mut self,
        connection: u64,
        agent: Option<AgentId>,
        info: AgentInfo,
        tasks: Vec<AgentTask>,
    ) {
        self.event(Event::AgentConnected(ConnectionId(connection)));
        self.say(connection, AgentEvent::Register { agent, info, tasks });
    }

    pub(crate) fn say(&mut self, connection: u64, event: AgentEvent) {
        self.event(Event::AgentSaid(ConnectionId(connection), event));
    }

    pub(crate) fn update(&mut self, connection: u64, text: &str, state: TaskState, update: u128) {
        self.update_ahead(connection, text, state, update, state);
    }

    /// An update of a task that is further along than the update.
    pub(crate) fn update_ahead(
        &mut self,
        connection: u64,
        text: &str,
        state: TaskState,
        update: u128,
        latest: TaskState,
    ) {
        let mut status = TaskStatus::new(id(text), state, StatusSource::Cell, self.now);
        status.update = Some(UpdateId(update));
        status.agent = Some(self.agents[0]);
        let framework = self.frameworks[0];
        self.say(
            connection,
            AgentEvent::Update {
                framework,
                status,
                latest,
            },
        );
    }

    /// A task as an agent brings it back.
    pub(crate) fn brought(&self, text: &str, resources: Resources, latest: TaskState) -> AgentTask {
        AgentTask {
            framework: self.frameworks[0],
            role: Role::default_role(),
            task: task(text, resources),
            latest,
            unacknowledged: None,
        }
    }

    pub(crate) fn hang_up_agent(&mut self, connection: u64) {
        self.event(Event::AgentDisconnected(ConnectionId(connection)));
    }

    pub(crate) fn operator(&mut self, request: OperatorRequest) {
        self.event(Event::Operator(RequestId(7), request));
    }

    /// An operator asks and is answered.
    pub(crate) fn ask(&mut self, request: OperatorRequest) -> OperatorReply {
        self.operator(request);
        self.reply.take().expect("every request is answered")
    }

    /// Which incarnation of a volume an agent was told of last, or is to be told of.
    pub(crate) fn incarnation(&self, volume: &str) -> u64 {
        let told = self.records.iter().rev().find_map(|record| match record {
            Record::SetApart { set_apart, .. } => Some(&set_apart.incarnations),
            _ => None,
        });
        let volume = volume.parse().expect("a volume id");
        told.expect("something was set apart")[&volume]
    }

    /// What is free on the only agent.
    pub(crate) fn free(&self) -> Resources {
        self.master.snapshot().agents[0].free.clone()
    }
}

fn find_id(text: &str) -> Option<(usize, &'static str)> {
    ["fw", "ag", "of", "ex"]
        .into_iter()
        .filter_map(|prefix| Some((text.find(&format!("{prefix}-"))?, prefix)))
        .min()
}

fn render_record(record: &Record) -> String {
    match record {
        Record::FrameworkSubscribed {
            framework, info, ..
        } => format!("durable: {framework} subscribed as {:?}", info.name),
        Record::FrameworkRemoved { framework, .. } => format!("durable: {framework} removed"),
        Record::AgentAdmitted { agent, info, .. } => {
            format!("durable: {agent} admitted {}", info.resources)
        }
        Record::AgentUnreachable { agent, .. } => format!("durable: {agent} unreachable"),
        Record::AgentRemoved { agent, .. } => format!("durable: {agent} removed"),
        Record::AgentGone { agent, .. } => format!("durable: {agent} is gone"),
        Record::AgentOrdered { agent, orders } => match orders.drain {
            Some(drain) if drain.mark_gone => format!("durable: {agent} is drained, and goes"),
            Some(_) => format!("durable: {agent} is drained"),
            None => format!("durable: {agent} is deactivated"),
        },
        Record::SetApart { agent, set_apart } if set_apart.resources.is_empty() => {
            format!("durable: nothing is set apart on {agent}")
        }
        Record::SetApart { agent, set_apart } => {
            format!("durable: set apart on {agent}: {}", set_apart.resources)
        }
        Record::RoleChanged { role, settings } => format!(
            "durable: role {role} weighs {}, priority {}, guarantee [{}], limit [{}]",
            settings.weight, settings.priority, settings.guarantee, settings.limit
        ),
        Record::PolicySet { policy } => format!("durable: policy {policy:?}"),
        Record::Forgotten(subject) => format!("durable: {subject} forgotten"),
    }
}

fn render_effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::ToScheduler(to, event) => format!("{}< {}", to.0, render_event(event)),
        Effect::ToAgent(to, command) => format!("{}< {}", to.0, render_command(command)),
        Effect::Close(connection) => format!("{}< (closed)", connection.0),
        Effect::Reply(_, reply) => format!("reply: {reply:?}"),
        Effect::Observed(Happening::TaskUpdated {
            key, state, reason, ..
        }) => match reason {
            Some(reason) => format!("seen: {} is {state} ({reason:?})", key.task),
            None => format!("seen: {} is {state}", key.task),
        },
        Effect::Observed(Happening::RemovalLimitReached { removed, known }) => {
            format!("seen: {removed} of {known} agents are lost, and no more will be")
        }
        Effect::Observed(Happening::PolicyChanged(view)) => match &view.fault {
            Some(fault) => format!("seen: policy {} failed: {fault}", view.name),
            None => format!("seen: policy {}", view.name),
        },
        Effect::Observed(_) => return None,
    })
}

fn render_event(event: &SchedulerEvent) -> String {
    match event {
        SchedulerEvent::Subscribed { framework, .. } => format!("Subscribed {framework}"),
        SchedulerEvent::Offers(offers) => {
            let offers = offers.iter().map(|offer| {
                let (id, agent, role) = (offer.id, offer.agent, &offer.role);
                format!("{id} of {agent} for {role} {}", offer.resources)
            });
            format!("Offers {}", offers.collect::<Vec<_>>().join(", "))
        }
        SchedulerEvent::Rescind(offer) => format!("Rescind {offer}"),
        SchedulerEvent::Update(status) => render_status(status),
        SchedulerEvent::FrameworkUpdated => "FrameworkUpdated".to_owned(),
        SchedulerEvent::AgentLost(agent) => format!("AgentLost {agent}"),
        SchedulerEvent::Message { from, data, .. } => {
            format!("Message {} from {from:?}", String::from_utf8_lossy(data))
        }
        SchedulerEvent::ExecutorEnded {
            executor,
            state,
            reason,
            message,
            ..
        } => format!("ExecutorEnded {executor} is {state} ({reason:?}): {message}"),
        SchedulerEvent::Refused(refusal) => format!("Refused: {refusal}"),
        SchedulerEvent::Heartbeat => "Heartbeat".to_owned(),
    }
}

fn render_status(status: &TaskStatus) -> String {
    let mut text = format!("Update {} is {}", status.task, status.state);
    if let Some(reason) = status.reason {
        let _ = write!(text, " ({reason:?})");
    }
    if let Some(update) = status.update {
        let _ = write!(text, " #{}", update.0);
    }
    if let Some(agent) = status.agent {
        let _ = write!(text, " on {agent}");
    }
    if !status.message.is_empty() {
        let _ = write!(text, ": {}", status.message);
    }
    text
}

fn render_command(command: &AgentCommand) -> String {
    let keys = |keys: &[TaskKey]| {
        let names = keys.iter().map(|key| key.task.to_string());
        names.collect::<Vec<_>>().join(", ")
    };
    match command {
        AgentCommand::Registered { agent, .. } => format!("Registered {agent}"),
        AgentCommand::Refused(refusal) => format!("Refused: {refusal}"),
        AgentCommand::Launch {
            framework,
            role,
            signers,
            tasks,
        } => {
            let tasks = tasks.iter().map(|task| task.id.to_string());
            let tasks = tasks.collect::<Vec<_>>().join(", ");
            let signed = if signers.is_empty() { "" } else { ", signed" };
            format!("Launch {tasks} of {framework} for {role}{signed}")
        }
        AgentCommand::Message { key, data } => {
            format!("Message {} {}", key.task, String::from_utf8_lossy(data))
        }
        AgentCommand::Prewarm { bundle, .. } => format!("Prewarm {bundle}"),
        AgentCommand::Kill { key, grace, reason } => match reason {
            TaskReason::KillRequested => format!("Kill {} grace {grace:?}", key.task),
            reason => format!("Kill {} grace {grace:?} ({reason:?})", key.task),
        },
        AgentCommand::SetApart(set_apart) if set_apart.resources.is_empty() => {
            "SetApart nothing".to_owned()
        }
        AgentCommand::SetApart(set_apart) => format!("SetApart {}", set_apart.resources),
        AgentCommand::Acknowledge { key, update } => {
            format!("Acknowledge {} #{}", key.task, update.0)
        }
        AgentCommand::ShutdownFramework(framework) => format!("ShutdownFramework {framework}"),
        AgentCommand::Reconcile(asked) => format!("Reconcile {}", keys(asked)),
        AgentCommand::Ping => "Ping".to_owned(),
    }
}
