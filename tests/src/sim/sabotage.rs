//! Saboteurs: hosts that betray their core, each in one way, to show that the checker sees it.
//!
//! A saboteur stands between host and core and tampers with what goes in, what comes out and what is kept. The
//! cores are those of every other run.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_agent_core as agent;
use nesos_agent_core::checkpoint::Change;
use nesos_master_core as master;
use nesos_master_core::snapshot::{AgentStanding, AgentView};
use nesos_master_core::{ConnectionId, Effect, Event, Record};
use nesos_types::cell::CellEvent;
use nesos_types::ids::{AgentId, TaskId};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::task::{StatusSource, TaskState, TaskStatus};
use nesos_types::time::Time;

use super::host::HostEvent;
use super::network::Peer;
use super::world::{What, World};

/// What a saboteur does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A master speaks before its commit is done.
    EffectsBeforeCommit,
    /// The store forgets every third record.
    RecordsForgotten,
    /// The store forgets what operators have decided about roles.
    RolesForgotten,
    /// The store does not compare the lease at a commit.
    UnfencedCommits,
    /// A master does not ask its fence, and goes on when it was deposed.
    DeposedSpeaks,
    /// A master tells of each rescinded offer twice.
    DoubleRescind,
    /// A recovered master takes its agents for present and empty.
    OffersBeforeAgentsAreBack,
    /// A recovered master says of tasks on agents that are not back that they are gone.
    GuessedReconciliation,
    /// A master's door acknowledges ends by itself, and passes none of them on.
    EndsSwallowed,
    /// A master's door drops the ends of some tasks: their resources are never freed.
    NeverFreed,
    /// A master hears that a task has ended when it begins: its resources are freed while it runs.
    FreedWhileRunning,
    /// Kills of some tasks do not reach the agent's core.
    KillsForgotten,
    /// Launches reach the agent's core again after a while.
    LaunchedAgain,
    /// Launches reach another agent, too.
    LaunchedElsewhere,
    /// An agent's disk says that it has written when it begins to.
    CommittedTooEarly,
    /// An agent's disk drops the last change of each group.
    TailLost,
    /// An agent's link says updates again that were acknowledged.
    AcknowledgedSaidAgain,
    /// A cell numbers what it repeats anew, so that the agent cannot tell it from what is new.
    RepetitionsNumberedAnew,
    /// A scheduler's library hands on a task's end before its begin.
    OutOfOrder,
}

impl Sabotage {
    /// Every saboteur.
    pub const ALL: [Self; 19] = [
        Self::EffectsBeforeCommit,
        Self::RecordsForgotten,
        Self::RolesForgotten,
        Self::UnfencedCommits,
        Self::DeposedSpeaks,
        Self::DoubleRescind,
        Self::OffersBeforeAgentsAreBack,
        Self::GuessedReconciliation,
        Self::EndsSwallowed,
        Self::NeverFreed,
        Self::FreedWhileRunning,
        Self::KillsForgotten,
        Self::LaunchedAgain,
        Self::LaunchedElsewhere,
        Self::CommittedTooEarly,
        Self::TailLost,
        Self::AcknowledgedSaidAgain,
        Self::RepetitionsNumberedAnew,
        Self::OutOfOrder,
    ];
}

/// What becomes of one thing that crosses a core's border: mostly itself.
pub(super) type Tampered<T> = [Option<T>; 2];

/// A saboteur's memory.
#[derive(Debug, Default)]
pub(super) struct Saboteur {
    pub(super) plan: Option<Sabotage>,
    records: u64,
    held: BTreeMap<TaskId, TaskStatus>,
}

impl Saboteur {
    pub(super) fn new(plan: Option<Sabotage>) -> Self {
        Self {
            plan,
            ..Self::default()
        }
    }
}

/// Whether a task is among those that a saboteur of some tasks has chosen.
fn is_chosen(task: &TaskId) -> bool {
    task.as_str()
        .bytes()
        .map(u32::from)
        .sum::<u32>()
        .is_multiple_of(3)
}

impl World {
    fn has(&self, plan: Sabotage) -> bool {
        self.saboteur.plan == Some(plan)
    }

    pub(super) fn speaks_deposed(&self) -> bool {
        self.has(Sabotage::DeposedSpeaks)
    }

    pub(super) fn commits_unfenced(&self) -> bool {
        self.has(Sabotage::UnfencedCommits)
    }

    // At a master.

    /// A master's core has just recovered.
    pub(super) fn sabotage_recovery(&mut self, s: usize) {
        if !self.has(Sabotage::OffersBeforeAgentsAreBack) {
            return;
        }
        let reign = self.seats[s].reign.as_ref().expect("it has just begun");
        let agents = reign.core.snapshot().agents;
        let away = agents.into_iter();
        let away = away.filter(|agent| agent.standing == AgentStanding::Recovered);
        for (n, view) in away.enumerate() {
            let connection = ConnectionId(u64::MAX - n as u64);
            let register = AgentEvent::Register {
                agent: Some(view.id),
                info: view.info.map(|info| (*info).clone()).expect("it is known"),
                tasks: Vec::new(),
            };
            self.tell_master(s, Event::AgentConnected(connection));
            self.tell_master(s, Event::AgentSaid(connection, register));
        }
    }

    /// What a master's core hears.
    pub(super) fn sabotage_master_event(&mut self, s: usize, event: Event) -> Tampered<Event> {
        if self.saboteur.plan.is_none() {
            return [Some(event), None];
        }
        if let Event::SchedulerCalled(connection, SchedulerCall::Reconcile { tasks }) = &event
            && self.has(Sabotage::GuessedReconciliation)
        {
            self.guess(s, *connection, tasks);
        }
        let Event::AgentSaid(connection, said) = event else {
            return [Some(event), None];
        };
        match self.sabotage_update(s, connection, said) {
            Some(said) => [Some(Event::AgentSaid(connection, said)), None],
            None => [None, None],
        }
    }

    /// Says of tasks on agents that are not back that they are gone.
    fn guess(&mut self, s: usize, link: ConnectionId, tasks: &[(TaskId, Option<AgentId>)]) {
        let Some(reign) = &self.seats[s].reign else {
            return;
        };
        let agents = reign.core.snapshot().agents;
        let is_away = |id: &AgentId| {
            let away = |agent: &AgentView| agent.standing == AgentStanding::Recovered;
            agents.iter().any(|agent| agent.id == *id && away(agent))
        };
        let away = tasks.iter().filter(|(_, agent)| agent.iter().any(is_away));
        let guesses = away.map(|(task, _)| {
            let (state, source) = (TaskState::Gone, StatusSource::Master);
            let status = TaskStatus::new(task.clone(), state, source, Time::ZERO);
            Effect::ToScheduler(link, SchedulerEvent::Update(status))
        });
        let mut guesses = guesses.collect();
        self.perform_all(s, &mut guesses);
    }

    fn sabotage_update(
        &mut self,
        s: usize,
        connection: ConnectionId,
        said: AgentEvent,
    ) -> Option<AgentEvent> {
        let AgentEvent::Update {
            framework,
            status,
            latest,
        } = said
        else {
            return Some(said);
        };
        let ends = status.state.is_terminal();
        if ends && self.has(Sabotage::EndsSwallowed) {
            let key = nesos_types::ids::TaskKey {
                framework,
                task: status.task,
            };
            let update = status.update?;
            let done = AgentCommand::Acknowledge { key, update };
            self.perform_all(s, &mut vec![Effect::ToAgent(connection, done)]);
            return None;
        }
        if (ends || latest.is_terminal())
            && is_chosen(&status.task)
            && self.has(Sabotage::NeverFreed)
        {
            return None;
        }
        let latest = match self.has(Sabotage::FreedWhileRunning) {
            true => TaskState::Finished,
            false => latest,
        };
        Some(AgentEvent::Update {
            framework,
            status,
            latest,
        })
    }

    /// What a master's core decided.
    pub(super) fn sabotage_decisions(&mut self, s: usize, out: &mut master::Decisions) {
        match self.saboteur.plan {
            Some(Sabotage::EffectsBeforeCommit) if !out.records.is_empty() => {
                let mut effects = std::mem::take(&mut out.effects);
                self.perform_all(s, &mut effects);
            }
            Some(Sabotage::DoubleRescind) => {
                let effects = std::mem::take(&mut out.effects);
                let twice = effects.into_iter().flat_map(|effect| match effect {
                    Effect::ToScheduler(_, SchedulerEvent::Rescind(_)) => {
                        [Some(effect.clone()), Some(effect)]
                    }
                    effect => [Some(effect), None],
                });
                out.effects = twice.flatten().collect();
            }
            _ => {}
        }
    }

    /// What the store keeps.
    pub(super) fn sabotage_records(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        match self.saboteur.plan {
            Some(Sabotage::RecordsForgotten) => records.retain(|_| {
                self.saboteur.records += 1;
                !self.saboteur.records.is_multiple_of(3)
            }),
            Some(Sabotage::RolesForgotten) => {
                records.retain(|record| !matches!(record, Record::RoleChanged { .. }));
            }
            _ => {}
        }
        records
    }

    // At an agent.

    /// What an agent's core hears from its master.
    pub(super) fn sabotage_agent_event(
        &mut self,
        i: usize,
        event: agent::Event,
    ) -> Tampered<agent::Event> {
        let agent::Event::MasterCommand { command, .. } = &event else {
            return [Some(event), None];
        };
        match (self.saboteur.plan, command) {
            (Some(Sabotage::KillsForgotten), AgentCommand::Kill { key, .. })
                if is_chosen(&key.task) =>
            {
                return [None, None];
            }
            (Some(Sabotage::LaunchedAgain), AgentCommand::Launch { .. }) => {
                self.tell_agent_after(i, Duration::from_secs(40), event.clone());
            }
            (Some(Sabotage::LaunchedElsewhere), AgentCommand::Launch { .. }) => {
                self.launch_elsewhere(i, command.clone());
            }
            _ => {}
        }
        [Some(event), None]
    }

    fn launch_elsewhere(&mut self, i: usize, command: AgentCommand) {
        let other = (i + 1) % self.hosts.len();
        let link = self.hosts[other].link;
        let ends = link.and_then(|link| self.network.ends(link));
        if let Some((_, Peer::Agent(_, connection))) = ends {
            let event = agent::Event::MasterCommand {
                connection,
                command,
            };
            self.tell_agent_after(other, Duration::ZERO, event);
        }
    }

    /// What an agent says to its master.
    pub(super) fn sabotage_said(&mut self, i: usize, said: AgentEvent) -> Tampered<AgentEvent> {
        if self.has(Sabotage::AcknowledgedSaidAgain)
            && let AgentEvent::Update { status, .. } = &said
            && let Some(update) = status.update
        {
            let again = What::SaidAgain(i, update, Box::new(said.clone()));
            self.queue.push(self.now + Duration::from_secs(3), again);
        }
        [Some(said), None]
    }

    /// An agent's link says something again, whatever became of it.
    pub(super) fn say_again(
        &mut self,
        i: usize,
        update: nesos_types::ids::UpdateId,
        said: AgentEvent,
    ) {
        if self.hosts[i].heard_acknowledged(update) {
            self.say(i, said);
        }
    }

    /// What an agent's core hears of a cell.
    pub(super) fn sabotage_cell_event(&mut self, i: usize, event: &agent::Event) {
        if self.has(Sabotage::RepetitionsNumberedAnew)
            && let agent::Event::CellEvent {
                event: CellEvent::Update { sequence: 1, .. },
                ..
            } = event
        {
            let mut again = event.clone();
            if let agent::Event::CellEvent {
                event: CellEvent::Update { sequence, .. },
                ..
            } = &mut again
            {
                *sequence += 1000;
            }
            self.tell_agent_after(i, Duration::from_millis(500), again);
        }
    }

    /// An agent's disk begins to write.
    pub(super) fn sabotage_writing(&mut self, i: usize) {
        let process = self.hosts[i].process;
        let Some(group) = &mut self.hosts[i].writing else {
            return;
        };
        match self.saboteur.plan {
            Some(Sabotage::CommittedTooEarly) => {
                let event = agent::Event::Committed {
                    sequence: group.sequence,
                };
                self.on_host_after(i, Duration::ZERO, HostEvent::Core { process, event });
            }
            Some(Sabotage::TailLost) => {
                let is_task = |change: &Change| {
                    matches!(change, Change::Put(agent::checkpoint::Record::Task(_)))
                };
                if let Some(last) = group.changes.iter().rposition(is_task) {
                    group.changes.remove(last);
                }
            }
            _ => {}
        }
    }

    // At a scheduler.

    /// What a scheduler hears.
    pub(super) fn sabotage_scheduler_event(
        &mut self,
        event: SchedulerEvent,
        calls: &mut Vec<SchedulerCall>,
    ) -> Tampered<SchedulerEvent> {
        if !self.has(Sabotage::OutOfOrder) {
            return [Some(event), None];
        }
        let SchedulerEvent::Update(status) = event else {
            return [Some(event), None];
        };
        if status.state == TaskState::Running
            && let (Some(update), Some(agent)) = (status.update, status.agent)
        {
            calls.push(SchedulerCall::Acknowledge {
                agent,
                task: status.task.clone(),
                update,
            });
            self.saboteur.held.insert(status.task.clone(), status);
            return [None, None];
        }
        let held = self.saboteur.held.remove(&status.task);
        let held = held.filter(|_| status.state.is_terminal());
        [
            Some(SchedulerEvent::Update(status)),
            held.map(SchedulerEvent::Update),
        ]
    }
}
