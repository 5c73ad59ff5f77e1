//! The agents' side of the world: from what an agent's core hears to what its host does about it.

use std::time::Duration;

use nesos_agent_core as agent;
use nesos_master_core::ConnectionId;
use nesos_types::cell::{CellCommand, CellEvent};
use nesos_types::ids::TaskKey;
use nesos_types::message::{AgentCommand, AgentEvent};
use nesos_types::task::TaskState;
use nesos_types::time::Time;
use rand::{Rng, RngCore};

use super::host::{self, Host, HostEvent};
use super::network::{End, Peer};
use super::scheduler::is_endless;
use super::world::{Message, What, World};

/// How many times as long as a task the run of an executor lasts.
const RUN_LASTS: u64 = 3;

impl World {
    pub(super) fn arrive_at_agent(
        &mut self,
        i: usize,
        link: ConnectionId,
        connection: u64,
        message: Message,
    ) {
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
        for event in self.sabotage_agent_event(i, event).into_iter().flatten() {
            self.tell_agent(i, event);
        }
    }

    pub(super) fn tell_agent(&mut self, i: usize, event: agent::Event) {
        self.count(4);
        self.note(|| format!("agent {i} hears {event:?}"));
        self.check_heard(i, &event);
        let mut out = std::mem::take(&mut self.agent_out);
        self.hosts[i].handle(self.now, event, &mut out);
        for effect in out.effects.drain(..) {
            self.perform(i, effect);
        }
        self.agent_out = out;
        self.begin_to_write(i);
        self.wake_agent(i);
    }

    fn check_heard(&mut self, i: usize, event: &agent::Event) {
        if let agent::Event::MasterCommand {
            command: AgentCommand::Acknowledge { key, update },
            ..
        } = event
            && self.ledger.kept
        {
            let given = self.ledger.passes_on(key, *update);
            self.hold_to(given);
            self.hosts[i].hear_acknowledgement(*update);
        }
    }

    fn begin_to_write(&mut self, i: usize) {
        if !self.hosts[i].begin_to_write() {
            return;
        }
        if self.ledger.kept {
            let forgets = self.hosts[i].forgetting();
            let settled = forgets.map(|key| self.ledger.forgets(key));
            let settled = settled.collect::<Result<(), _>>();
            self.hold_to(settled);
        }
        let takes = if self.now < self.hosts[i].disk_slow_until {
            host::DISK_FLUSH * self.rng.random_range(10..600)
        } else {
            host::DISK_FLUSH
        };
        let process = self.hosts[i].process;
        self.on_host_after(i, takes, HostEvent::Written { process });
        self.sabotage_writing(i);
    }

    pub(super) fn wake_agent(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let due = host.agent.as_ref().and_then(agent::Agent::next_deadline);
        let due = due.map(|due| host.clock.when(due));
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
        self.note(|| format!("agent {i} does {effect:?}"));
        match effect {
            agent::Effect::ConnectMaster { connection } => {
                self.leave_master(i);
                self.hosts[i].link = self.connect(Peer::Agent(i, connection));
            }
            agent::Effect::DisconnectMaster => self.leave_master(i),
            agent::Effect::SendMaster(event) => self.say(i, event),
            agent::Effect::StartCell { cell, role } => {
                self.hosts[i].cell_up(cell, role);
                self.on_host_after(i, host::CELL_START, HostEvent::CellUp { cell });
            }
            agent::Effect::ConnectCell { cell, .. } => self.greet(i, cell),
            agent::Effect::SendCell { cell, command } => self.tell_cell(i, cell, command),
            agent::Effect::DiscardCell { cell, .. } => self.remove_cell(i, cell),
            agent::Effect::FetchBundle(bundle) => {
                let ready = Host::bundle_ready(bundle);
                self.tell_agent_after(i, host::BUNDLE_FETCH, ready);
            }
            agent::Effect::KeepVolumes { keep } => self.hosts[i].volumes = keep,
            agent::Effect::ReleaseBundle(_) | agent::Effect::RemoveSandbox { .. } => {}
            agent::Effect::Stop(why) => panic!("agent {i} stopped: {why:?}"),
        }
    }

    pub(super) fn say(&mut self, i: usize, event: AgentEvent) {
        let Some(link) = self.hosts[i].link else {
            return;
        };
        for event in self.sabotage_said(i, event).into_iter().flatten() {
            if let AgentEvent::Update {
                framework, status, ..
            } = &event
                && let Some(update) = status.update.filter(|_| self.ledger.kept)
            {
                let key = TaskKey {
                    framework: *framework,
                    task: status.task.clone(),
                };
                let new = self.ledger.says(i, &key, update, &self.hosts[i]);
                self.hold_to(new);
            }
            self.send(link, End::Master, Message::Said(event));
        }
    }

    pub(super) fn leave_master(&mut self, i: usize) {
        if let Some(link) = self.hosts[i].link.take() {
            self.hang_up(link, End::Peer);
        }
    }

    // Cells.

    fn greet(&mut self, i: usize, cell: agent::CellId) {
        self.hosts[i].connect_cell(cell);
        let events = self.hosts[i].greet(cell);
        for event in events {
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
                    self.note_end(&event);
                    self.tell_agent_after(i, grace.min(host::CELL_HOP), event);
                }
            }
            CellCommand::Acknowledge { key, sequence } => {
                if self.ledger.kept {
                    let durable = self.ledger.may_forget(&key, sequence, &self.hosts[i]);
                    self.hold_to(durable);
                }
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
                    self.remove_cell(i, cell);
                    let message = "it retired".to_owned();
                    let gone = agent::Event::CellDisconnected { cell, message };
                    self.tell_agent_after(i, host::CELL_HOP, gone);
                }
            }
        }
    }

    /// A cell's process is over, with all that it held.
    pub(super) fn remove_cell(&mut self, i: usize, cell: agent::CellId) {
        if let Some(process) = self.hosts[i].cells.remove(&cell) {
            process.keys().for_each(|key| self.ledger.loses(key));
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
        if self.ledger.kept {
            let once = self.ledger.starts(&key, i);
            self.hold_to(once);
            let fits = self.ledger.fits(i, &key, &self.hosts[i]);
            self.hold_to(fits);
        }
        self.note_end(&event);
        self.tell_agent_after(i, host::CELL_HOP, event);
        if is_endless(&key.task) {
            return;
        }
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

    /// What a cell says of an end is the truth.
    fn note_end(&mut self, event: &agent::Event) {
        if let agent::Event::CellEvent {
            event: CellEvent::Update { key, status, .. },
            ..
        } = event
            && status.state.is_terminal()
        {
            self.ledger.ends(key, status.state);
        }
    }

    pub(super) fn on_host(&mut self, i: usize, event: HostEvent) {
        match event {
            HostEvent::Core { process, event } => {
                if process == self.hosts[i].process {
                    self.sabotage_cell_event(i, &event);
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
                self.note(|| format!("agent {i} starts"));
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
                    self.greet(i, cell);
                }
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
                    self.note_end(&event);
                    if self.hosts[i].is_connected(cell) {
                        self.tell_agent_after(i, host::CELL_HOP, event);
                    }
                }
            }
        }
    }
}
