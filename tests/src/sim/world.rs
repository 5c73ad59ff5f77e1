//! The world: everything that happens, one thing at a time.

use std::time::Duration;

use nesos_agent_core as agent;
use nesos_agent_core::{AgentConfig, Oversubscription};
use nesos_master_core as master;
use nesos_master_core::{ConnectionId, OperatorRequest, Record};
use nesos_types::ids::UpdateId;
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::time::Time;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clock::Oscillator;
use super::host::{Host, HostEvent};
use super::ledger::{Check, Complaint, Ledger};
use super::network::{End, Network, Peer};
use super::pauses::{Pauses, Process};
use super::queue::Queue;
use super::sabotage::Saboteur;
use super::scheduler::SimScheduler;
use super::seat::Seat;
use super::store::Store;
use super::trace::Trace;
use super::{Options, Outcome};
use crate::stage::agent_info;

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
    /// A master's process is started again.
    SeatStarts(usize),
    /// A process that stood still goes on.
    Resumes(Process),
    /// A master is to see to its lease.
    LeaseTurn { seat: usize, process: u32 },
    /// The store is asked for the lease, or to renew it.
    LeaseAsked {
        seat: usize,
        process: u32,
        term: Option<u64>,
        sent: Time,
    },
    /// A master hears whether it has the lease.
    LeaseAnswered {
        seat: usize,
        process: u32,
        asked: Option<u64>,
        term: Option<u64>,
        sent: Time,
    },
    /// Records arrive at the store.
    Commit {
        seat: usize,
        process: u32,
        term: u64,
        records: Vec<Record>,
    },
    /// A master hears what became of its records.
    Committed {
        seat: usize,
        process: u32,
        done: bool,
    },
    /// An operator asks for something, if it is not done yet.
    Chore(usize),
    /// A saboteur says something again for an agent.
    SaidAgain(usize, UpdateId, Box<AgentEvent>),
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
    pub(super) seats: Vec<Seat>,
    pub(super) store: Store,
    pub(super) hosts: Vec<Host>,
    pub(super) schedulers: Vec<SimScheduler>,
    pub(super) pauses: Pauses,
    /// What operators want that is not done.
    pub(super) chores: Vec<Option<OperatorRequest>>,
    pub(super) ledger: Ledger,
    pub(super) saboteur: Saboteur,
    /// What the checker found first.
    pub(super) complaint: Option<Complaint>,
    /// Written only by a run that is known to fail.
    pub(super) trace: Option<Trace>,
    pub(super) events: u64,
    pub(super) faults: u64,
    pub(super) recoveries: u64,
    digest: u64,
    pub(super) master_out: master::Decisions,
    pub(super) agent_out: agent::Decisions,
}

impl World {
    pub(crate) fn new(options: &Options, traced: bool) -> Self {
        let began = Time::ZERO + Duration::from_secs(1_000_000);
        let mut world = Self {
            options: options.clone(),
            now: began,
            began,
            queue: Queue::new(),
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            network: Network::new(options.faults.delay),
            seats: Vec::new(),
            store: Store::new(),
            hosts: Vec::new(),
            schedulers: Vec::new(),
            pauses: Pauses::new(),
            chores: Vec::new(),
            ledger: Ledger::new(options.check_every > 0),
            saboteur: Saboteur::new(options.sabotage),
            complaint: None,
            trace: traced.then(Trace::default),
            events: 0,
            faults: 0,
            recoveries: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            master_out: master::Decisions::default(),
            agent_out: agent::Decisions::default(),
        };
        world.add_seats();
        world.add_hosts();
        world.add_schedulers();
        world.schedule_fault();
        if options.limits {
            world.set_limits();
        }
        world
    }

    /// How good the clock of another machine is.
    fn any_oscillator(&mut self) -> Oscillator {
        match self.options.faults.every {
            Some(_) => Oscillator::any(&mut self.rng),
            None => Oscillator::default(),
        }
    }

    fn add_seats(&mut self) {
        for s in 0..self.options.masters {
            let oscillator = self.any_oscillator();
            self.seats.push(Seat::new(oscillator, self.now));
            self.start_seat(s);
        }
    }

    fn add_hosts(&mut self) {
        for i in 0..self.options.agents {
            let cpus = self.rng.random_range(1..=8);
            let resources = Resources::new(cpus * 1000, (cpus * 2) << 30).with_disk(cpus << 30);
            let info = agent_info(&format!("host-{i}"), resources);
            let mut config = AgentConfig::new(info);
            config.oversubscription = self.options.lending.then(Oversubscription::default);
            let oscillator = self.any_oscillator();
            self.hosts.push(Host::new(config, oscillator));
            // Limits are to be set before anybody is offered anything.
            let first = if self.options.limits { 20_000 } else { 0 };
            let at = self.now + Duration::from_millis(first + self.rng.random_range(0..2000));
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
            let endless = self.options.faults.endless_per_mille;
            let scheduler = scheduler.changing_its_mind(kills).killing(endless);
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

    /// Lets everything happen until all is done and quiet, or the checker complains.
    pub(crate) fn run(&mut self) -> Check {
        let give_up_at = self.now + self.options.give_up_after;
        while !self.is_done() {
            let next = self.queue.next_at().unwrap_or(Time::MAX);
            match self.next_tick() {
                Some((due, s)) if due < next || (due <= self.now && next > self.now) => {
                    self.now = due;
                    self.tell_master(s, master::Event::Tick);
                }
                _ => {
                    let (at, what) = self.queue.pop().expect("something always happens");
                    self.now = at;
                    self.happen(what);
                }
            }
            if let Some(complaint) = self.complaint.take() {
                return Err(complaint);
            }
            if self.now >= give_up_at {
                return Err(self.what_is_open());
            }
        }
        self.check_end()
    }

    fn is_done(&self) -> bool {
        // To look at everybody takes its time.
        let every = 256 + 4 * self.hosts.len() as u64;
        self.events.is_multiple_of(every)
            && self.now >= self.began + self.options.faults.until
            && self.schedulers.iter().all(SimScheduler::is_done)
            && !self.has_chores()
            && self.is_quiet()
    }

    pub(super) fn happen(&mut self, what: What) {
        if !self.pauses.is_empty()
            && let Some(process) = self.process_of(&what)
            && let Some(waiting) = self.pauses.get_mut(&process)
        {
            return waiting.push(what);
        }
        match what {
            What::ToMaster(connection, message) => self.arrive_at_master(connection, message),
            What::ToPeer(connection, message) => self.arrive_at_peer(connection, message),
            What::Unreachable(peer) => self.is_unreachable(peer),
            What::SchedulerWakes(i) => self.scheduler_wakes(i),
            What::Host(i, event) => self.on_host(i, event),
            What::Fault => self.strike(),
            What::Breaks(connection) => self.break_connection(connection),
            What::SeatStarts(s) => self.start_seat(s),
            What::Resumes(process) => self.resume(process),
            What::Chore(number) => self.on_chore(number),
            What::SaidAgain(i, update, said) => self.say_again(i, update, *said),
            what => self.happen_to_store(what),
        }
    }

    /// What goes on between masters and their store.
    fn happen_to_store(&mut self, what: What) {
        match what {
            What::LeaseTurn { seat, process } => self.on_lease_turn(seat, process),
            What::LeaseAsked {
                seat,
                process,
                term,
                sent,
            } => self.on_lease_asked(seat, process, term, sent),
            What::LeaseAnswered {
                seat,
                process,
                asked,
                term,
                sent,
            } => self.on_lease_answered(seat, process, asked, term, sent),
            What::Commit {
                seat,
                process,
                term,
                records,
            } => self.on_commit(seat, process, term, records),
            What::Committed {
                seat,
                process,
                done,
            } => self.on_committed(seat, process, done),
            _ => {}
        }
    }

    /// Notes that something happened, for the digest and the count.
    pub(super) fn count(&mut self, what: u64) {
        self.events += 1;
        for word in [self.now.as_micros(), what] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Writes a line for a person, if anybody is going to read it.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.write(self.now, line());
        }
    }

    /// Remembers the first complaint: the run ends with it.
    pub(super) fn hold_to(&mut self, check: Check) {
        if let Err(complaint) = check {
            self.complaint.get_or_insert(complaint);
        }
    }

    pub(super) fn must(&mut self, holds: bool, words: Vec<String>, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.complaint.get_or_insert(Complaint { what, words });
        }
    }

    fn arrive_at_master(&mut self, connection: ConnectionId, message: Message) {
        let Some(peer) = self.network.open(connection, End::Master) else {
            return;
        };
        let Some((seat, _)) = self.network.ends(connection) else {
            return;
        };
        let event = match (message, peer) {
            (Message::Opened, Peer::Scheduler(_)) => master::Event::SchedulerConnected(connection),
            (Message::Opened, Peer::Agent(..)) => master::Event::AgentConnected(connection),
            (Message::Closed, peer) => {
                self.network.close(connection, End::Master);
                self.ledger.closed(connection);
                match peer {
                    Peer::Scheduler(_) => master::Event::SchedulerDisconnected(connection),
                    Peer::Agent(..) => master::Event::AgentDisconnected(connection),
                }
            }
            (Message::Call(call), _) => master::Event::SchedulerCalled(connection, call),
            (Message::Said(event), _) => master::Event::AgentSaid(connection, event),
            (Message::Event(_) | Message::Command(_), _) => return,
        };
        self.tell_master(seat, event);
    }

    // Connections.

    /// Opens a connection to the master: both ends hear of it, or the peer that nobody answers.
    pub(super) fn connect(&mut self, peer: Peer) -> Option<ConnectionId> {
        let delay = self.network.delay(&mut self.rng);
        let first = match peer {
            Peer::Scheduler(i) => &mut self.schedulers[i].seat,
            Peer::Agent(i, _) => &mut self.hosts[i].seat,
        };
        let first = std::mem::replace(first, *first + 1);
        let Some(seat) = self.seat_for(first) else {
            self.queue.push(self.now + delay, What::Unreachable(peer));
            return None;
        };
        let connection = self.network.connect(peer, seat, self.now);
        self.send(connection, End::Master, Message::Opened);
        self.send(connection, End::Peer, Message::Opened);
        Some(connection)
    }

    fn is_unreachable(&mut self, peer: Peer) {
        match peer {
            Peer::Scheduler(i) if self.schedulers[i].link.is_none() => {
                self.schedulers[i].disconnected(self.now);
                self.wake_scheduler(i);
            }
            Peer::Scheduler(_) => {}
            Peer::Agent(i, connection) => {
                let message = "nobody answers".to_owned();
                let event = agent::Event::MasterDisconnected {
                    connection,
                    message,
                };
                self.tell_agent(i, event);
            }
        }
    }

    pub(super) fn send(&mut self, connection: ConnectionId, to: End, message: Message) {
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
    pub(super) fn hang_up(&mut self, connection: ConnectionId, end: End) {
        if self.network.open(connection, end).is_none() {
            return;
        }
        let other = match end {
            End::Master => End::Peer,
            End::Peer => End::Master,
        };
        self.send(connection, other, Message::Closed);
        self.network.close(connection, end);
        if end == End::Master {
            self.ledger.closed(connection);
        }
    }

    /// A connection breaks: both ends learn of it, and what is on the way by then is lost.
    pub(super) fn break_connection(&mut self, connection: ConnectionId) {
        self.network.silence(connection, &[End::Master, End::Peer]);
        for end in [End::Master, End::Peer] {
            let at = self.now + self.network.delay(&mut self.rng);
            self.queue
                .push(at, arrival(connection, end, Message::Closed));
        }
    }

    // What arrives.

    fn arrive_at_peer(&mut self, connection: ConnectionId, message: Message) {
        match self.network.open(connection, End::Peer) {
            Some(Peer::Scheduler(i)) => self.arrive_at_scheduler(i, connection, message),
            Some(Peer::Agent(i, attempt)) => {
                self.arrive_at_agent(i, connection, attempt, message);
            }
            None => {}
        }
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
            recoveries: self.recoveries,
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
