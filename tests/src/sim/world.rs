//! The world: everything that happens, one thing at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_agent_core as agent;
use nesos_agent_core::{AgentConfig, Oversubscription};
use nesos_master_core as master;
use nesos_master_core::{ConnectionId, Master, Record, Subject};
use nesos_types::cell::CellCommand;
use nesos_types::ids::TaskKey;
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;
use nesos_types::time::Time;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faults::Fault;
use super::host::{self, Host, HostEvent};
use super::network::{End, Network, Peer};
use super::queue::Queue;
use super::scheduler::SimScheduler;
use super::{Options, Outcome};
use crate::stage::agent_info;

/// How many times as long as a task the run of an executor lasts.
const RUN_LASTS: u64 = 3;

/// What is on its way over a connection.
#[derive(Debug)]
pub(crate) enum Message {
    /// The other side opened it.
    Opened,
    /// The other side closed it, or it broke.
    Closed,
    Call(SchedulerCall),
    Event(SchedulerEvent),
    Command(AgentCommand),
    Said(AgentEvent),
}

/// What happens next.
#[derive(Debug)]
pub(crate) enum What {
    /// A message arrives at the master.
    ToMaster(ConnectionId, Message),
    /// A message arrives at the other end.
    ToPeer(ConnectionId, Message),
    /// A connection cannot be made.
    Unreachable(Peer),
    /// A scheduler may have something to do.
    SchedulerWakes(usize),
    /// Something happens on an agent's host.
    Host(usize, HostEvent),
    /// Something goes wrong.
    Fault,
    /// A connection that fell silent breaks at last.
    Breaks(ConnectionId),
    /// The master is started again.
    MasterStarts,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(super) options: Options,
    pub(super) now: Time,
    pub(super) began: Time,
    pub(super) queue: Queue<What>,
    pub(super) rng: ChaCha8Rng,
    pub(super) network: Network,
    /// `None` while it is down.
    pub(super) master: Option<Master>,
    /// What the master made durable.
    store: BTreeMap<Subject, Record>,
    pub(super) hosts: Vec<Host>,
    pub(super) schedulers: Vec<SimScheduler>,
    pub(super) events: u64,
    pub(super) faults: u64,
    digest: u64,
    master_out: master::Decisions,
    agent_out: agent::Decisions,
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        let began = Time::ZERO + Duration::from_secs(1_000_000);
        let mut world = Self {
            options: options.clone(),
            now: began,
            began,
            queue: Queue::new(),
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            network: Network::new(options.faults.delay),
            master: None,
            store: BTreeMap::new(),
            hosts: Vec::new(),
            schedulers: Vec::new(),
            events: 0,
            faults: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            master_out: master::Decisions::default(),
            agent_out: agent::Decisions::default(),
        };
        world.start_master();
        world.add_hosts();
        world.add_schedulers();
        world.schedule_fault();
        world
    }

    fn add_hosts(&mut self) {
        for i in 0..self.options.agents {
            let cpus = self.rng.random_range(1..=8);
            let resources = Resources::new(cpus * 1000, (cpus * 2) << 30).with_disk(cpus << 30);
            let info = agent_info(&format!("host-{i}"), resources);
            let mut config = AgentConfig::new(info);
            config.oversubscription = self.options.lending.then(Oversubscription::default);
            self.hosts.push(Host::new(config));
            let at = self.now + Duration::from_millis(self.rng.random_range(0..2000));
            self.queue.push(at, What::Host(i, HostEvent::Start));
        }
    }

    fn add_schedulers(&mut self) {
        for i in 0..self.options.frameworks {
            let role: Role = format!("role-{}", i % 7).parse().expect("a role");
            let cpu_milli = [250, 500, 1000][i % 3];
            let jobs = self.options.jobs;
            let kills = self.options.faults.kills_per_mille;
            let name = format!("framework-{i}");
            let scheduler = SimScheduler::new(name, role, jobs, cpu_milli, self.now);
            let scheduler = scheduler.changing_its_mind(kills);
            self.schedulers.push(
                scheduler
                    .reserving(self.options.reserving_per_mille)
                    .executing(self.options.executors_per_mille),
            );
            if self.options.lending && i % 2 == 1 {
                self.schedulers[i].borrow();
            }
            let at = self.now + Duration::from_millis(self.rng.random_range(0..2000));
            self.queue.push(at, What::SchedulerWakes(i));
        }
    }

    /// Lets everything happen until all is done and quiet.
    pub(crate) fn run(&mut self) {
        let give_up_at = self.now + self.options.give_up_after;
        while !self.is_done() {
            let next = self.queue.next_at().unwrap_or(Time::MAX);
            let due = self.master.as_ref().and_then(Master::next_deadline);
            if due.is_some_and(|due| due < next || due <= self.now) && next > self.now {
                self.now = self.now.max(due.unwrap_or(self.now));
                self.tell_master(master::Event::Tick);
            } else {
                let (at, what) = self.queue.pop().expect("something always happens");
                self.now = at;
                self.happen(what);
            }
            assert!(self.now < give_up_at, "{}", self.what_is_open());
        }
    }

    fn is_done(&self) -> bool {
        self.events.is_multiple_of(256)
            && self.now >= self.began + self.options.faults.until
            && self.schedulers.iter().all(SimScheduler::is_done)
            && self.is_quiet()
    }

    fn happen(&mut self, what: What) {
        match what {
            What::ToMaster(connection, message) => self.arrive_at_master(connection, message),
            What::ToPeer(connection, message) => self.arrive_at_peer(connection, message),
            What::Unreachable(Peer::Scheduler(i)) => {
                self.schedulers[i].disconnected(self.now);
                self.wake_scheduler(i);
            }
            What::Unreachable(Peer::Agent(i, connection)) => {
                let message = "nobody answers".to_owned();
                let event = agent::Event::MasterDisconnected {
                    connection,
                    message,
                };
                self.tell_agent(i, event);
            }
            What::SchedulerWakes(i) => self.scheduler_wakes(i),
            What::Host(i, event) => self.on_host(i, event),
            What::Fault => self.strike(),
            What::Breaks(connection) => self.break_connection(connection),
            What::MasterStarts => self.start_master(),
        }
    }

    /// Notes that something happened, for the digest and the count.
    fn count(&mut self, what: u64) {
        self.events += 1;
        for word in [self.now.as_micros(), what] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    // The master.

    pub(super) fn start_master(&mut self) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let records = self.store.values().cloned();
        let config = self.options.config.clone();
        self.master = Some(Master::recover(config, seed, self.now, records));
    }

    /// The master hears something; what it decides is done at once.
    fn tell_master(&mut self, event: master::Event) {
        self.count(1);
        let Some(core) = &mut self.master else { return };
        let mut out = std::mem::take(&mut self.master_out);
        core.handle(self.now, event, &mut out);
        self.check_after_event();
        for record in out.records.drain(..) {
            match record {
                Record::Forgotten(subject) => self.store.remove(&subject),
                record => self.store.insert(record.subject(), record),
            };
        }
        for effect in out.effects.drain(..) {
            match effect {
                master::Effect::ToScheduler(connection, event) => {
                    self.send(connection, End::Peer, Message::Event(event));
                }
                master::Effect::ToAgent(connection, command) => {
                    self.send(connection, End::Peer, Message::Command(command));
                }
                master::Effect::Close(connection) => self.hang_up(connection, End::Master),
                master::Effect::Reply(..) | master::Effect::Observed(_) => {}
            }
        }
        self.master_out = out;
    }

    fn arrive_at_master(&mut self, connection: ConnectionId, message: Message) {
        let Some(peer) = self.network.open(connection, End::Master) else {
            return;
        };
        let event = match (message, peer) {
            (Message::Opened, Peer::Scheduler(_)) => master::Event::SchedulerConnected(connection),
            (Message::Opened, Peer::Agent(..)) => master::Event::AgentConnected(connection),
            (Message::Closed, peer) => {
                self.network.close(connection, End::Master);
                match peer {
                    Peer::Scheduler(_) => master::Event::SchedulerDisconnected(connection),
                    Peer::Agent(..) => master::Event::AgentDisconnected(connection),
                }
            }
            (Message::Call(call), _) => master::Event::SchedulerCalled(connection, call),
            (Message::Said(event), _) => master::Event::AgentSaid(connection, event),
            (Message::Event(_) | Message::Command(_), _) => return,
        };
        self.tell_master(event);
    }

    // Connections.

    /// Opens a connection to the master: both ends hear of it, or the peer that nobody answers.
    fn connect(&mut self, peer: Peer) -> Option<ConnectionId> {
        let delay = self.network.delay(&mut self.rng);
        if self.master.is_none() {
            self.queue.push(self.now + delay, What::Unreachable(peer));
            return None;
        }
        let connection = self.network.connect(peer, self.now);
        self.send(connection, End::Master, Message::Opened);
        self.send(connection, End::Peer, Message::Opened);
        Some(connection)
    }

    fn send(&mut self, connection: ConnectionId, to: End, message: Message) {
        let arrives = self.network.send(connection, to, self.now, &mut self.rng);
        let Some(at) = arrives else { return };
        let twice = self.options.faults.duplicates_per_mille;
        if twice > 0
            && self.rng.random_ratio(twice, 1000)
            && let Some(again) = repeatable(&message)
        {
            self.queue.push(at, arrival(connection, to, again));
        }
        self.queue.push(at, arrival(connection, to, message));
    }

    /// One end closes the connection: the other hears of it after what was sent before.
    fn hang_up(&mut self, connection: ConnectionId, end: End) {
        if self.network.open(connection, end).is_none() {
            return;
        }
        let other = match end {
            End::Master => End::Peer,
            End::Peer => End::Master,
        };
        self.send(connection, other, Message::Closed);
        self.network.close(connection, end);
    }

    /// A connection breaks: both ends learn of it, and what is on the way by then is lost.
    pub(super) fn break_connection(&mut self, connection: ConnectionId) {
        self.network.silence(connection);
        for end in [End::Master, End::Peer] {
            let at = self.now + self.network.delay(&mut self.rng);
            self.queue
                .push(at, arrival(connection, end, Message::Closed));
        }
    }

    // Schedulers.

    fn wake_scheduler(&mut self, i: usize) {
        let at = self.schedulers[i].wake_at;
        self.queue.push(at, What::SchedulerWakes(i));
    }

    fn scheduler_wakes(&mut self, i: usize) {
        if self.schedulers[i].wake_at > self.now {
            return;
        }
        self.count(2);
        match self.schedulers[i].link {
            Some(link) => {
                for call in self.schedulers[i].woken(self.now) {
                    self.send(link, End::Master, Message::Call(call));
                }
                self.wake_scheduler(i);
            }
            None => {
                self.schedulers[i].wake_at = Time::MAX;
                self.connect(Peer::Scheduler(i));
            }
        }
    }

    fn arrive_at_scheduler(&mut self, i: usize, connection: ConnectionId, message: Message) {
        self.count(3);
        let calls = match message {
            Message::Opened => {
                let subscribe = self.schedulers[i].connected(connection, self.now);
                self.wake_scheduler(i);
                vec![subscribe]
            }
            Message::Event(event) => self.schedulers[i].hear(event, &mut self.rng),
            _ => {
                self.network.close(connection, End::Peer);
                self.schedulers[i].disconnected(self.now);
                self.wake_scheduler(i);
                return;
            }
        };
        for call in calls {
            self.send(connection, End::Master, Message::Call(call));
        }
    }

    fn arrive_at_peer(&mut self, connection: ConnectionId, message: Message) {
        match self.network.open(connection, End::Peer) {
            Some(Peer::Scheduler(i)) => self.arrive_at_scheduler(i, connection, message),
            Some(Peer::Agent(i, attempt)) => {
                self.arrive_at_agent(i, connection, attempt, message);
            }
            None => {}
        }
    }

    // Agents.

    fn arrive_at_agent(&mut self, i: usize, link: ConnectionId, connection: u64, message: Message) {
        let event = match message {
            Message::Opened => agent::Event::MasterConnected { connection },
            Message::Command(command) => agent::Event::MasterCommand {
                connection,
                command,
            },
            _ => {
                self.network.close(link, End::Peer);
                agent::Event::MasterDisconnected {
                    connection,
                    message: "the connection is over".to_owned(),
                }
            }
        };
        self.tell_agent(i, event);
    }

    pub(super) fn tell_agent(&mut self, i: usize, event: agent::Event) {
        self.count(4);
        let mut out = std::mem::take(&mut self.agent_out);
        self.hosts[i].handle(self.now, event, &mut out);
        for effect in out.effects.drain(..) {
            self.perform(i, effect);
        }
        self.agent_out = out;
        if self.hosts[i].begin_to_write() {
            let process = self.hosts[i].process;
            self.on_host_after(i, host::DISK_FLUSH, HostEvent::Written { process });
        }
        self.wake_agent(i);
    }

    fn wake_agent(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let due = host.agent.as_ref().and_then(agent::Agent::next_deadline);
        if let Some(due) = due.filter(|due| *due < host.wake_at) {
            host.wake_at = due;
            let process = host.process;
            let wake = What::Host(i, HostEvent::Wake { process });
            self.queue.push(due.max(self.now), wake);
        }
    }

    pub(super) fn on_host_after(&mut self, i: usize, delay: Duration, event: HostEvent) {
        self.queue.push(self.now + delay, What::Host(i, event));
    }

    /// The agent's core hears something from its own host after a while.
    pub(super) fn tell_agent_after(&mut self, i: usize, delay: Duration, event: agent::Event) {
        let process = self.hosts[i].process;
        self.on_host_after(i, delay, HostEvent::Core { process, event });
    }

    fn perform(&mut self, i: usize, effect: agent::Effect) {
        match effect {
            agent::Effect::ConnectMaster { connection } => {
                self.leave_master(i);
                self.hosts[i].link = self.connect(Peer::Agent(i, connection));
            }
            agent::Effect::DisconnectMaster => self.leave_master(i),
            agent::Effect::SendMaster(event) => {
                if let Some(link) = self.hosts[i].link {
                    self.send(link, End::Master, Message::Said(event));
                }
            }
            agent::Effect::StartCell { cell, .. } => {
                self.hosts[i].cell_up(cell);
                self.on_host_after(i, host::CELL_START, HostEvent::CellUp { cell });
            }
            agent::Effect::ConnectCell { cell, .. } => self.greet(i, cell),
            agent::Effect::SendCell { cell, command } => self.tell_cell(i, cell, command),
            agent::Effect::DiscardCell { cell, .. } => {
                self.hosts[i].cells.remove(&cell);
            }
            agent::Effect::FetchBundle(bundle) => {
                let ready = Host::bundle_ready(bundle);
                self.tell_agent_after(i, host::BUNDLE_FETCH, ready);
            }
            agent::Effect::KeepVolumes { keep } => self.hosts[i].volumes = keep,
            agent::Effect::ReleaseBundle(_) | agent::Effect::RemoveSandbox { .. } => {}
            agent::Effect::Stop(why) => panic!("agent {i} stopped: {why:?}"),
        }
    }

    pub(super) fn leave_master(&mut self, i: usize) {
        if let Some(link) = self.hosts[i].link.take() {
            self.hang_up(link, End::Peer);
        }
    }

    fn greet(&mut self, i: usize, cell: agent::CellId) {
        for event in self.hosts[i].greet(cell) {
            self.tell_agent_after(i, host::CELL_HOP, event);
        }
    }

    fn tell_cell(&mut self, i: usize, cell: agent::CellId, command: CellCommand) {
        match command {
            CellCommand::Launch(launch) => {
                let key = launch.key.clone();
                let lives = if launch.task.run_of().is_some() {
                    RUN_LASTS
                } else {
                    1
                };
                let launched = self.hosts[i].launch(cell, *launch, self.now);
                self.guest_lives(i, cell, key, launched, lives);
            }
            CellCommand::Assign { key, task } => {
                let assigned = self.hosts[i].assign(cell, key.clone(), task, self.now);
                self.guest_lives(i, cell, key, assigned, 1);
            }
            CellCommand::Kill { key, grace } => {
                let now = self.now;
                let killed = self.hosts[i].guest_ends(cell, &key, None, TaskState::Killed, now);
                for event in killed {
                    self.tell_agent_after(i, grace.min(host::CELL_HOP), event);
                }
            }
            CellCommand::Acknowledge { key, sequence } => {
                self.hosts[i].acknowledged(cell, &key, sequence);
            }
            // Nobody here writes to guests, no guest asks for a bundle, and how fast a guest is changes nothing
            // about when it ends.
            CellCommand::Message { .. }
            | CellCommand::BundleReady { .. }
            | CellCommand::Throttle { .. } => {}
            CellCommand::MeasureUsage { interval } => self.measure(i, cell, interval),
            CellCommand::Retire => {
                if self.hosts[i].is_empty(cell) {
                    self.hosts[i].cells.remove(&cell);
                    let message = "it retired".to_owned();
                    let gone = agent::Event::CellDisconnected { cell, message };
                    self.tell_agent_after(i, host::CELL_HOP, gone);
                }
            }
        }
    }

    /// A guest that was started ends some time later, by itself.
    fn guest_lives(
        &mut self,
        i: usize,
        cell: agent::CellId,
        key: TaskKey,
        started: Option<(u64, agent::Event)>,
        times: u64,
    ) {
        let Some((run, event)) = started else {
            return;
        };
        self.tell_agent_after(i, host::CELL_HOP, event);
        let longest = self.options.task_time.as_micros();
        let longest = u64::try_from(longest).expect("shorter than an age") * times;
        let takes = Duration::from_micros(self.rng.random_range(50..longest));
        let fails = self.options.faults.failures_per_mille;
        let state = match fails > 0 && self.rng.random_ratio(fails, 1000) {
            true => TaskState::Failed,
            false => TaskState::Finished,
        };
        let ends = HostEvent::GuestEnds {
            cell,
            key,
            run,
            state,
        };
        self.on_host_after(i, takes, ends);
    }

    fn on_host(&mut self, i: usize, event: HostEvent) {
        match event {
            HostEvent::Core { process, event } => {
                if process == self.hosts[i].process {
                    self.tell_agent(i, event);
                }
            }
            HostEvent::Wake { process } => {
                let host = &mut self.hosts[i];
                if process == host.process && host.wake_at <= self.now {
                    host.wake_at = Time::MAX;
                    self.tell_agent(i, agent::Event::Tick);
                }
            }
            HostEvent::Start => {
                let seed = self.rng.next_u64();
                self.hosts[i].start(self.now, seed);
                self.wake_agent(i);
            }
            HostEvent::Written { process } => {
                if process == self.hosts[i].process
                    && let Some(committed) = self.hosts[i].written()
                {
                    self.tell_agent(i, committed);
                }
            }
            HostEvent::CellUp { cell } => {
                if self.hosts[i].cells.contains_key(&cell) {
                    let started = agent::Event::CellStarted { cell, pid: cell.0 };
                    self.tell_agent_after(i, Duration::ZERO, started);
                }
                self.greet(i, cell);
            }
            HostEvent::Measures {
                cell,
                turn,
                interval,
            } => self.measured(i, cell, turn, interval),
            HostEvent::GuestEnds {
                cell,
                key,
                run,
                state,
            } => {
                let ended = self.hosts[i].guest_ends(cell, &key, Some(run), state, self.now);
                for event in ended {
                    self.tell_agent_after(i, host::CELL_HOP, event);
                }
            }
        }
    }

    // Faults.

    pub(super) fn schedule_fault(&mut self) {
        let Some(every) = self.options.faults.every else {
            return;
        };
        let every = u64::try_from(every.as_micros()).expect("shorter than an age");
        let after = Duration::from_micros(self.rng.random_range(0..=2 * every));
        if self.now + after < self.began + self.options.faults.until {
            self.queue.push(self.now + after, What::Fault);
        }
    }

    fn strike(&mut self) {
        self.schedule_fault();
        self.faults += 1;
        let fault = Fault::MIX[self.rng.random_range(0..Fault::MIX.len())];
        let agent = self.rng.random_range(0..self.hosts.len());
        let scheduler = self.rng.random_range(0..self.schedulers.len());
        match fault {
            Fault::SchedulerBreak => {
                if let Some(link) = self.schedulers[scheduler].link {
                    self.break_connection(link);
                }
            }
            Fault::AgentBreak => {
                if let Some(link) = self.hosts[agent].link {
                    self.break_connection(link);
                }
            }
            Fault::AgentSilence => {
                if let Some(link) = self.hosts[agent].link {
                    self.network.silence(link);
                    let heals = Duration::from_secs(self.rng.random_range(20..200));
                    self.queue.push(self.now + heals, What::Breaks(link));
                }
            }
            Fault::AgentCrash => self.crash_agent(agent),
            Fault::CellCrash => self.crash_cell(agent),
            Fault::MasterCrash => self.crash_master(),
        }
    }

    fn crash_agent(&mut self, i: usize) {
        if self.hosts[i].agent.is_none() {
            return;
        }
        self.leave_master(i);
        self.hosts[i].crash();
        self.on_host_after(i, host::PROCESS_START, HostEvent::Start);
    }

    fn crash_cell(&mut self, i: usize) {
        let cells = &mut self.hosts[i].cells;
        let Some(cell) = cells.keys().next().copied() else {
            return;
        };
        cells.remove(&cell);
        let message = "killed by signal 9".to_owned();
        let failed = agent::Event::CellFailed { cell, message };
        self.tell_agent_after(i, host::CELL_HOP, failed);
    }

    fn crash_master(&mut self) {
        if self.master.take().is_none() {
            return;
        }
        for connection in self.network.ids() {
            self.hang_up(connection, End::Master);
        }
        let at = self.now + host::PROCESS_START;
        self.queue.push(at, What::MasterStarts);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            events: self.events,
            virtual_time: self.now.since(self.began),
            jobs_done: self
                .schedulers
                .iter()
                .map(|scheduler| scheduler.jobs_done)
                .sum(),
            attempts: self.schedulers.iter().map(SimScheduler::attempts).sum(),
            volumes: self.volumes(),
            executed: self.schedulers.iter().map(|one| one.executed).sum(),
            borrowed: self.schedulers.iter().map(|one| one.borrowed).sum(),
            preempted: self.schedulers.iter().map(|one| one.preempted).sum(),
            faults: self.faults,
            digest: self.digest,
        }
    }
}

fn arrival(connection: ConnectionId, to: End, message: Message) -> What {
    match to {
        End::Master => What::ToMaster(connection, message),
        End::Peer => What::ToPeer(connection, message),
    }
}

/// A copy of a message that may arrive twice without harm: what the protocol repeats anyway.
fn repeatable(message: &Message) -> Option<Message> {
    match message {
        Message::Event(event @ SchedulerEvent::Update(_)) => Some(Message::Event(event.clone())),
        Message::Command(
            command @ (AgentCommand::Acknowledge { .. }
            | AgentCommand::Kill { .. }
            | AgentCommand::Launch { .. }
            | AgentCommand::ShutdownFramework(_)
            | AgentCommand::Ping),
        ) => Some(Message::Command(command.clone())),
        Message::Said(event @ (AgentEvent::Update { .. } | AgentEvent::Pong)) => {
            Some(Message::Said(event.clone()))
        }
        Message::Call(
            call @ (SchedulerCall::Acknowledge { .. }
            | SchedulerCall::Kill { .. }
            | SchedulerCall::Reconcile { .. }
            | SchedulerCall::Decline { .. }
            | SchedulerCall::Revive { .. }
            | SchedulerCall::Heartbeat),
        ) => Some(Message::Call(call.clone())),
        _ => None,
    }
}
