//! The masters: their reigns and leases, and the way from an event over a commit to its effects, as the real
//! driver goes it. One event is a batch here, so that every order of batches is one that can be.

use std::collections::VecDeque;
use std::time::Duration;

use nesos_master_core as master;
use nesos_master_core::{ConnectionId, Effect, Event, Master, Record};
use nesos_types::message::{AgentCommand, SchedulerCall, SchedulerEvent};
use nesos_types::time::Time;
use rand::{Rng, RngCore};

use super::host;
use super::network::{End, Peer};
use super::pauses::Process;
use super::seat::{Reign, Seat};
use super::store::LEASE;
use super::world::{Message, What, World};

/// How much of a lease a master trusts by its own clock, in hundredths: clocks drift.
const TRUSTED_PERCENT: u32 = 90;

/// How often whoever leads renews the lease, and how often the others ask for it.
const LEASE_TURN: Duration = Duration::from_secs(3);

impl World {
    /// A master's process starts.
    pub(super) fn start_seat(&mut self, s: usize) {
        self.seats[s].start(self.now);
        self.note(|| format!("master {s} starts"));
        if self.options.masters == 1 {
            let term = self.store.open();
            self.begin_reign(s, term, Time::MAX);
        } else {
            self.take_lease_turn(s);
        }
    }

    /// A master leads from now on: it recovers from what was committed.
    fn begin_reign(&mut self, s: usize, term: u64, fence: Time) {
        self.note(|| format!("master {s} leads, term {term}"));
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let records = self.store.records.values().cloned();
        let config = self.options.config.clone();
        let own = self.seats[s].clock.at(self.now);
        let core = Master::recover(config, seed, own, records);
        self.seats[s].reign = Some(Reign {
            core,
            term,
            fence,
            inbox: VecDeque::new(),
            waiting: None,
        });
        self.recoveries += 1;
        self.sabotage_recovery(s);
    }

    /// The process ends, by a fault or because it has lost its lease, and is started again.
    pub(super) fn crash_seat(&mut self, s: usize) {
        if !self.seats[s].up || self.is_paused(Process::Seat(s)) {
            return;
        }
        self.note(|| format!("master {s} ends"));
        self.seats[s].crash();
        for connection in self.network.of_seat(s) {
            self.hang_up(connection, End::Master);
        }
        self.queue
            .push(self.now + host::PROCESS_START, What::SeatStarts(s));
    }

    // The lease.

    /// Whoever leads sees whether it still does, and renews; the others ask whether they may.
    pub(super) fn on_lease_turn(&mut self, s: usize, process: u32) {
        if self.seats[s].process != process || !self.seats[s].up {
            return;
        }
        let leads = self.seats[s].reign.is_some();
        if leads && !self.may_speak(s) {
            return self.crash_seat(s);
        }
        self.take_lease_turn(s);
    }

    fn take_lease_turn(&mut self, s: usize) {
        let seat = &self.seats[s];
        let (process, own) = (seat.process, seat.clock.at(self.now));
        let term = seat.reign.as_ref().map(|reign| reign.term);
        if self.reaches_store(s) {
            let at = self.now + self.store_delay() / 2;
            let asked = What::LeaseAsked {
                seat: s,
                process,
                term,
                sent: own,
            };
            self.queue.push(at, asked);
        }
        let jitter = Duration::from_millis(self.rng.random_range(0..300));
        let again = What::LeaseTurn { seat: s, process };
        self.queue.push(self.now + LEASE_TURN + jitter, again);
    }

    /// The store hears a question about the lease.
    pub(super) fn on_lease_asked(
        &mut self,
        s: usize,
        process: u32,
        asked: Option<u64>,
        sent: Time,
    ) {
        if self.now < self.store.fails_until && self.rng.random_bool(0.5) {
            return;
        }
        let term = match asked {
            Some(term) => self.store.renew(term, self.now).then_some(term),
            None => self.store.acquire(self.now),
        };
        self.note(|| format!("master {s} asks for {asked:?} and gets {term:?}"));
        let at = self.now + self.store_delay() / 2;
        let answer = What::LeaseAnswered {
            seat: s,
            process,
            asked,
            term,
            sent,
        };
        if self.reaches_store(s) {
            self.queue.push(at, answer);
        }
    }

    /// A master hears what the store says of the lease: it holds from the moment when it was asked for.
    pub(super) fn on_lease_answered(
        &mut self,
        s: usize,
        process: u32,
        asked: Option<u64>,
        term: Option<u64>,
        sent: Time,
    ) {
        if self.seats[s].process != process {
            return;
        }
        let fence = sent + LEASE * TRUSTED_PERCENT / 100;
        match (asked, term) {
            (None, Some(term))
                if fence > self.seats[s].clock.at(self.now) && self.seats[s].reign.is_none() =>
            {
                self.begin_reign(s, term, fence);
            }
            (Some(_), Some(_)) => {
                if let Some(reign) = &mut self.seats[s].reign {
                    reign.fence = reign.fence.max(fence);
                }
            }
            (Some(_), None) if !self.speaks_deposed() => self.crash_seat(s),
            _ => {}
        }
    }

    fn may_speak(&self, s: usize) -> bool {
        self.seats[s].may_speak(self.now) || self.speaks_deposed()
    }

    /// The master that leads, as the store has it.
    pub(super) fn leader(&self) -> Option<usize> {
        self.seats.iter().position(|seat| {
            let reign = seat.reign.as_ref();
            reign.is_some_and(|reign| self.store.holds(reign.term, self.now))
        })
    }

    /// Its core.
    pub(super) fn leading_core(&self) -> Option<&Master> {
        let reign = self.seats[self.leader()?].reign.as_ref()?;
        Some(&reign.core)
    }

    /// When the next core of a master wants to be woken, and which.
    pub(super) fn next_tick(&self) -> Option<(Time, usize)> {
        let seats = self.seats.iter().enumerate();
        let awake = seats.filter(|(s, _)| !self.is_paused(Process::Seat(*s)));
        let due = awake.filter_map(|(s, seat)| Some((seat.due()?.max(self.now), s)));
        due.min()
    }

    // From an event to its effects.

    /// A master hears something. While a commit is under way it waits.
    pub(super) fn tell_master(&mut self, s: usize, event: Event) {
        self.count(1);
        let events = self.sabotage_master_event(s, event);
        for event in events.into_iter().flatten() {
            let Some(reign) = &mut self.seats[s].reign else {
                return;
            };
            if reign.waiting.is_some() {
                reign.inbox.push_back(event);
            } else {
                self.turn(s, event);
            }
        }
    }

    /// One event from end to end, as far as that goes without waiting.
    fn turn(&mut self, s: usize, event: Event) {
        self.note_event(s, &event);
        let own = self.seats[s].clock.at(self.now);
        let mut out = std::mem::take(&mut self.master_out);
        let Some(reign) = &mut self.seats[s].reign else {
            return;
        };
        reign.core.handle(own, event, &mut out);
        self.check_after_event(s);
        self.sabotage_decisions(s, &mut out);
        let records = std::mem::take(&mut out.records);
        if records.is_empty() {
            self.perform_all(s, &mut out.effects);
        } else {
            self.commit(s, records, &mut out.effects);
        }
        self.master_out = out;
    }

    fn commit(&mut self, s: usize, records: Vec<Record>, effects: &mut Vec<Effect>) {
        let took = self.store_delay();
        if took.is_zero() {
            let records = self.sabotage_records(records);
            self.store.put(records);
            return self.perform_all(s, effects);
        }
        let process = self.seats[s].process;
        let Some(reign) = &mut self.seats[s].reign else {
            return;
        };
        reign.waiting = Some(std::mem::take(effects));
        let what = What::Commit {
            seat: s,
            process,
            term: reign.term,
            records,
        };
        if self.reaches_store(s) {
            self.queue.push(self.now + took / 2, what);
        }
    }

    /// Records arrive at the store, whether or not whoever sent them still lives.
    pub(super) fn on_commit(&mut self, s: usize, process: u32, term: u64, records: Vec<Record>) {
        let fails = self.now < self.store.fails_until;
        let holds = self.store.holds(term, self.now) || self.commits_unfenced();
        // A request is lost, or its answer is.
        let arrives = !fails || self.rng.random_bool(0.5);
        if holds && arrives {
            let own = self.store.holds(term, self.now);
            let words = vec![format!("master {s} ")];
            self.must(own, words, || {
                format!("master {s} commits without the lease")
            });
            let records = self.sabotage_records(records);
            self.store.put(records);
        }
        let at = self.now + self.store_delay() / 2;
        let done = holds && arrives && !fails;
        let answer = What::Committed {
            seat: s,
            process,
            done,
        };
        if self.reaches_store(s) {
            self.queue.push(at, answer);
        }
    }

    /// A master's own file is always there; a store elsewhere is not, while the master is isolated.
    fn reaches_store(&self, s: usize) -> bool {
        self.options.masters == 1 || self.seats[s].isolated_until <= self.now
    }

    /// A master hears what became of its commit. One that failed ends it, as it ends the real one.
    pub(super) fn on_committed(&mut self, s: usize, process: u32, done: bool) {
        if self.seats[s].process != process {
            return;
        }
        if !done && !self.speaks_deposed() {
            return self.crash_seat(s);
        }
        let reign = self.seats[s].reign.as_mut();
        if let Some(mut effects) = reign.and_then(|reign| reign.waiting.take()) {
            self.perform_all(s, &mut effects);
        }
        self.take_what_waited(s);
    }

    fn take_what_waited(&mut self, s: usize) {
        while let Some(reign) = &mut self.seats[s].reign
            && reign.waiting.is_none()
            && let Some(event) = reign.inbox.pop_front()
        {
            self.turn(s, event);
        }
    }

    /// Effects leave, while the lease cannot have run out.
    pub(super) fn perform_all(&mut self, s: usize, effects: &mut Vec<Effect>) {
        if !self.may_speak(s) {
            effects.clear();
            return self.crash_seat(s);
        }
        let term = self.seats[s].reign.as_ref().map(|reign| reign.term);
        let leads = term.is_some_and(|term| self.store.holds(term, self.now));
        self.must(
            leads || effects.is_empty(),
            vec![format!("master {s} ")],
            || format!("master {s} speaks, and its lease has run out"),
        );
        for effect in effects.drain(..) {
            self.perform_of_master(s, effect);
        }
    }

    fn perform_of_master(&mut self, s: usize, effect: Effect) {
        match effect {
            Effect::ToScheduler(connection, event) => {
                if self.network.open(connection, End::Master).is_some() {
                    self.check_to_scheduler(connection, s, &event);
                    self.note(|| format!("to {connection:?}: {event:?}"));
                    self.send(connection, End::Peer, Message::Event(event));
                }
            }
            Effect::ToAgent(connection, command) => {
                let open = self.network.open(connection, End::Master);
                if let Some(Peer::Agent(i, _)) = open {
                    self.check_to_agent(connection, s, i, &command);
                    self.note(|| format!("to {connection:?}, agent {i} : {command:?}"));
                    self.send(connection, End::Peer, Message::Command(command));
                }
            }
            Effect::Close(connection) => self.hang_up(connection, End::Master),
            Effect::Reply(request, reply) => self.on_reply(request, &reply),
            Effect::Observed(_) => {}
        }
    }

    // What the checker hears of it.

    fn note_event(&mut self, s: usize, event: &Event) {
        self.note(|| format!("master {s} hears {event:?}"));
        if !self.ledger.kept {
            return;
        }
        match event {
            Event::SchedulerCalled(
                _,
                SchedulerCall::Accept { offers, .. } | SchedulerCall::Decline { offers, .. },
            ) => self.ledger.answered(offers),
            Event::Operator(_, master::OperatorRequest::TeardownFramework(framework)) => {
                self.ledger.removes(*framework);
            }
            _ => {}
        }
    }

    fn check_to_scheduler(&mut self, connection: ConnectionId, s: usize, event: &SchedulerEvent) {
        if !self.ledger.kept {
            return;
        }
        let durable = self.ledger.scheduler_may_hear(event, &self.store);
        self.hold_to(durable);
        match event {
            SchedulerEvent::Offers(offers) => {
                for offer in offers {
                    let fits = self.ledger.offers(connection, s, offer, &self.hosts);
                    self.hold_to(fits);
                }
            }
            SchedulerEvent::Rescind(offer) => {
                let open = self.ledger.rescinds(connection, *offer);
                self.hold_to(open);
            }
            _ => {}
        }
    }

    fn check_to_agent(
        &mut self,
        connection: ConnectionId,
        s: usize,
        i: usize,
        command: &AgentCommand,
    ) {
        if !self.ledger.kept {
            return;
        }
        let durable = self.ledger.agent_may_hear(connection, command, &self.store);
        self.hold_to(durable);
        match command {
            AgentCommand::Registered { agent, .. } => self.ledger.names(connection, s, *agent, i),
            AgentCommand::Launch {
                framework, tasks, ..
            } => {
                let once = self.ledger.launches(connection, *framework, tasks);
                self.hold_to(once);
            }
            _ => {}
        }
    }

    /// How long the store takes there and back.
    pub(super) fn store_delay(&mut self) -> Duration {
        if self.options.faults.every.is_none() && self.options.masters == 1 {
            return Duration::ZERO;
        }
        if self.now < self.store.slow_until {
            return Duration::from_millis(self.rng.random_range(500..15_000));
        }
        Duration::from_micros(self.rng.random_range(200..4_000))
    }

    /// A seat that a peer can reach, or hears of from another: that of a master that leads, as far as it knows.
    pub(super) fn seat_for(&self, first: usize) -> Option<usize> {
        let reachable = |seat: &Seat| seat.up && seat.isolated_until <= self.now;
        let first = first % self.seats.len();
        let asked = &self.seats[first];
        if !reachable(asked) || (self.is_paused(Process::Seat(first)) && asked.reign.is_none()) {
            return None;
        }
        if asked.reign.is_some() {
            return Some(first);
        }
        self.leader().filter(|s| reachable(&self.seats[*s]))
    }
}
