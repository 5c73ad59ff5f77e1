//! The agent and its master: connecting, registering, noticing its silence, trying again.

use std::time::Duration;

use nesos_types::ids::AgentId;
use nesos_types::message::{AgentCommand, AgentEvent, Refusal};
use nesos_types::time::Time;
use rand::Rng;

use crate::agent::Agent;
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect, Stopped};

/// How far the agent is with its master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MasterState {
    /// Cells of an earlier agent process are still to be asked; only then is it known what runs.
    #[default]
    Recovering,
    /// Nothing, until the pause is over.
    Waiting,
    /// A connection is being made.
    Connecting,
    /// The registration was sent.
    Registering,
    /// The master took the registration.
    Registered,
}

/// The master, as the agent sees it.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    pub(crate) state: MasterState,
    /// Numbers connections: what an older one says is ignored.
    pub(crate) connection: u64,
    /// Failed attempts since the last registration.
    attempts: u32,
    heard_at: Time,
    silence: Duration,
    pub(crate) due_at: Option<Time>,
}

impl Registration {
    pub(crate) fn is_registered(&self) -> bool {
        self.state == MasterState::Registered
    }

    fn is(&self, connection: u64) -> bool {
        self.connection == connection
            && matches!(
                self.state,
                MasterState::Connecting | MasterState::Registering | MasterState::Registered
            )
    }
}

impl Agent {
    fn await_master(&mut self, at: Time) {
        self.deadlines
            .set(&mut self.master.due_at, Some(at), Timer::Master);
    }

    /// Begins to register once every cell of an earlier process has spoken or was given up.
    pub(crate) fn check_recovered(&mut self, now: Time, out: &mut Decisions) {
        if self.recovered && self.master.state == MasterState::Recovering && self.cells.all_met() {
            self.connect_master(now, out);
        }
    }

    /// The master's moment has come.
    pub(crate) fn on_master_due(&mut self, now: Time, out: &mut Decisions) {
        self.master.due_at = None;
        match self.master.state {
            MasterState::Recovering => self.give_up_unmet_cells(now, out),
            MasterState::Waiting => self.connect_master(now, out),
            MasterState::Connecting | MasterState::Registering => self.leave_master(now, out),
            MasterState::Registered => {
                let gone_at = self.master.heard_at + self.master.silence;
                if gone_at <= now {
                    self.leave_master(now, out);
                } else {
                    self.await_master(gone_at);
                }
            }
        }
    }

    fn connect_master(&mut self, now: Time, out: &mut Decisions) {
        self.master.connection += 1;
        self.master.state = MasterState::Connecting;
        self.await_master(now + self.config.register_timeout);
        out.push(Effect::ConnectMaster {
            connection: self.master.connection,
        });
    }

    /// Closes the connection, to try again later.
    fn leave_master(&mut self, now: Time, out: &mut Decisions) {
        out.push(Effect::DisconnectMaster);
        self.lose_master(now);
    }

    /// Without a master nothing is repeated; after a pause the agent registers again.
    fn lose_master(&mut self, now: Time) {
        // Where nobody listens nobody is burdened, and whoever begins to is to have its agents at once.
        let longest = match self.master.state {
            MasterState::Connecting => self.config.connect_backoff_max,
            _ => self.config.register_backoff_max,
        };
        self.master.state = MasterState::Waiting;
        self.pause_updates();
        let pause = self.next_backoff(longest);
        self.await_master(now + pause);
    }

    /// Doubles with each failure, and is spread so that a thousand agents do not return at once.
    fn next_backoff(&mut self, longest: Duration) -> Duration {
        let doubled = self
            .config
            .register_backoff_min
            .saturating_mul(1 << self.master.attempts.min(20));
        self.master.attempts = self.master.attempts.saturating_add(1);
        let pause = doubled.min(longest);
        pause.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    pub(crate) fn on_master_connected(&mut self, now: Time, connection: u64, out: &mut Decisions) {
        if !self.master.is(connection) || self.master.state != MasterState::Connecting {
            return;
        }
        self.master.state = MasterState::Registering;
        self.await_master(now + self.config.register_timeout);
        let tasks = self.tasks.select(|task| !task.answer && !task.silent);
        out.push(Effect::SendMaster(AgentEvent::Register {
            agent: self.id,
            info: self.config.info.clone(),
            tasks: tasks
                .into_iter()
                .map(|handle| self.tasks[handle].for_master())
                .collect(),
        }));
    }

    pub(crate) fn on_master_disconnected(&mut self, now: Time, connection: u64) {
        if self.master.is(connection) {
            self.lose_master(now);
        }
    }

    pub(crate) fn on_master_command(
        &mut self,
        now: Time,
        connection: u64,
        command: AgentCommand,
        out: &mut Decisions,
    ) {
        if !self.master.is(connection) {
            return;
        }
        self.master.heard_at = now;
        match command {
            AgentCommand::Registered {
                agent,
                ping_interval,
            } => self.on_registered(now, agent, ping_interval, out),
            AgentCommand::Refused(refusal) => self.on_refused(now, refusal, out),
            AgentCommand::Launch {
                framework,
                role,
                signers,
                tasks,
            } => self.on_launch(now, framework, &role, &signers, tasks, out),
            AgentCommand::Kill { key, grace, reason } => {
                self.on_kill(now, key, grace, reason, out);
            }
            AgentCommand::Message { key, data } => self.on_message(key, data, out),
            AgentCommand::Prewarm { bundle, repository } => {
                self.on_prewarm(now, bundle, repository, out);
            }
            AgentCommand::SetApart(resources) => self.on_set_apart(resources, out),
            AgentCommand::Acknowledge { key, update } => {
                self.on_acknowledge(now, &key, update, out);
            }
            AgentCommand::ShutdownFramework(framework) => {
                self.on_shutdown_framework(now, framework, out);
            }
            AgentCommand::Reconcile(keys) => self.on_reconcile(now, keys, out),
            AgentCommand::Ping => out.push(Effect::SendMaster(AgentEvent::Pong)),
        }
    }

    fn on_registered(
        &mut self,
        now: Time,
        id: AgentId,
        ping_interval: Duration,
        out: &mut Decisions,
    ) {
        if self.id != Some(id) {
            self.become_agent(id);
        }
        self.stats.registrations += 1;
        self.master.state = MasterState::Registered;
        self.master.attempts = 0;
        self.master.silence = ping_interval * self.config.missed_pings;
        self.await_master(now + self.master.silence);
        self.resume_updates(now, out);
        self.report_slack_anew(out);
        self.tell_compiled_anew(out);
    }

    /// A new name: statuses that have not been heard are to carry it.
    fn become_agent(&mut self, id: AgentId) {
        self.id = Some(id);
        self.journal.touch_agent();
        for handle in self.tasks.select(|task| task.updates.head().is_some()) {
            for status in self.tasks[handle].updates.iter_mut() {
                status.agent = Some(id);
            }
            self.touch(handle);
        }
    }

    fn on_refused(&mut self, now: Time, refusal: Refusal, out: &mut Decisions) {
        if !refusal.is_permanent() {
            self.leave_master(now, out);
            return;
        }
        out.push(Effect::DisconnectMaster);
        if matches!(refusal, Refusal::AgentRemoved { .. }) {
            self.discard_everything(out);
        }
        self.stop(Stopped::Refused(refusal), out);
    }
}
