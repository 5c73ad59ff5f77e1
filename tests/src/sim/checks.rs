//! What is checked while a simulation runs, and at its end.

use std::fmt::Write;
use std::time::Duration;

use nesos_agent_core::Agent;
use nesos_master_core::snapshot::{AgentStanding, AgentView};
use nesos_master_core::{ConnectionId, Decisions, Event, Master, MasterConfig};
use nesos_types::framework::FrameworkInfo;
use nesos_types::message::SchedulerCall;
use nesos_types::role::Role;

use super::host::Host;
use super::ledger::{Check, Complaint};
use super::pauses::Process;
use super::scheduler::SimScheduler;
use super::world::World;

impl World {
    /// After each event of a master: the books of one agent, and from time to time of everything.
    pub(super) fn check_after_event(&self, s: usize) {
        let every = self.options.check_every;
        if every == 0 {
            return;
        }
        if let Some(reign) = &self.seats[s].reign {
            reign
                .core
                .check_some(usize::try_from(self.events).expect("fewer than 2^64"));
        }
        if self.events.is_multiple_of(every) {
            self.check_all();
        }
    }

    fn check_all(&self) {
        let reigns = self.seats.iter().filter_map(|seat| seat.reign.as_ref());
        reigns.for_each(|reign| reign.core.check_invariants());
        for host in &self.hosts {
            host.agent.iter().for_each(Agent::check_invariants);
        }
    }

    /// Nothing is left to be done anywhere: every agent is there and has no task.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(master) = self.leading_core() else {
            return false;
        };
        let hosts_quiet = self.hosts.iter().all(|host| {
            let agent = host.agent.as_ref().map(Agent::snapshot);
            agent.is_some_and(|agent| agent.registered && agent.tasks.is_empty())
        });
        if !hosts_quiet {
            return false;
        }
        let agents = master.snapshot().agents;
        let connected = |agent: &&AgentView| agent.standing == AgentStanding::Active;
        agents.iter().filter(connected).count() == self.hosts.len()
            && agents
                .iter()
                .all(|agent| agent.standing != AgentStanding::Recovered && agent.tasks == 0)
    }

    /// At the end every job is done, every task is over everywhere, and every resource is back and offered.
    pub(super) fn check_end(&mut self) -> Check {
        self.check_all();
        let jobs = self.options.jobs * self.options.frameworks;
        let done: usize = self
            .schedulers
            .iter()
            .map(|scheduler| scheduler.jobs_done)
            .sum();
        assert_eq!(done, jobs, "jobs done");
        for host in &self.hosts {
            let left = host.live_guests().count();
            assert_eq!(left, 0, "a guest runs that nobody knows of");
        }
        let snapshot = self.leading_core().map(Master::snapshot);
        let snapshot = snapshot.expect("a master leads");
        assert!(
            snapshot
                .frameworks
                .iter()
                .all(|framework| framework.tasks.is_empty())
        );
        for agent in &snapshot.agents {
            assert!(agent.allocated.is_empty(), "{agent:?}");
            self.check_volumes(agent);
        }
        self.check_all_is_offered()
    }

    /// Somebody who wants everything comes last, and is offered all that nobody has set apart.
    fn check_all_is_offered(&mut self) -> Check {
        let Some(s) = self.leader() else {
            return Ok(());
        };
        let seat = &mut self.seats[s];
        let mut own = seat.clock.at(self.now);
        let core = &mut seat.reign.as_mut().expect("it leads").core;
        let role: Role = "inspector".parse().expect("a role");
        let subscribe = SchedulerCall::Subscribe {
            framework: None,
            info: FrameworkInfo::new("inspector", [role]),
            suppressed: [].into(),
        };
        let (link, out) = (ConnectionId(u64::MAX), &mut Decisions::default());
        core.handle(own, Event::SchedulerConnected(link), out);
        core.handle(own, Event::SchedulerCalled(link, subscribe), out);
        let until = own + core_cycle(&self.options.config);
        while let Some(due) = core.next_deadline().filter(|due| *due <= until) {
            own = own.max(due);
            core.handle(own, Event::Tick, out);
        }
        for agent in core.snapshot().agents {
            let idle = agent.free.unclaimed();
            let there = agent.standing == AgentStanding::Active;
            if there && self.options.config.is_allocatable(&idle) {
                let what = format!("{idle} of agent {} are offered to nobody", agent.id);
                let words = vec![agent.id.to_string()];
                return Err(Complaint { what, words });
            }
        }
        Ok(())
    }

    /// How many persistent volumes there are.
    pub(super) fn volumes(&self) -> usize {
        let snapshot = self.leading_core().map(Master::snapshot);
        let agents = snapshot.into_iter().flat_map(|snapshot| snapshot.agents);
        agents.map(|agent| agent.total.volumes().count()).sum()
    }

    /// An agent's host has the directories of its volumes, and no others.
    fn check_volumes(&self, view: &AgentView) {
        let is_it = |host: &&Host| host.agent.as_ref().and_then(Agent::id) == Some(view.id);
        let Some(host) = self.hosts.iter().find(is_it) else {
            return;
        };
        let mut there: Vec<_> = host
            .volumes
            .iter()
            .filter_map(|path| path.parent()?.file_name())
            .collect();
        there.sort();
        let kept = view.total.volumes();
        let mut kept: Vec<_> = kept
            .map(|(volume, _)| std::ffi::OsStr::new(volume.id.as_str()))
            .collect();
        kept.sort();
        assert_eq!(there, kept, "volumes of {}", view.id);
    }

    /// For a person who wonders why a simulation does not end.
    pub(super) fn what_is_open(&self) -> Complaint {
        let mut text = format!("not done after {:?}:", self.now.since(self.began));
        for (i, scheduler) in self.schedulers.iter().enumerate() {
            if !scheduler.is_done() {
                let _ = write!(text, "\nscheduler {i}: {}", scheduler.what_is_open());
            }
        }
        for (i, host) in self.hosts.iter().enumerate() {
            let open = host.agent.as_ref().map(Agent::snapshot);
            match open {
                Some(agent) if agent.registered && agent.tasks.is_empty() => {}
                _ => {
                    let _ = write!(text, "\nagent {i}: {}", describe(host));
                }
            }
        }
        for (s, seat) in self.seats.iter().enumerate() {
            let (up, leads) = (seat.up, seat.reign.is_some());
            let paused = self.is_paused(Process::Seat(s));
            let _ = write!(
                text,
                "\nmaster {s}: up: {up}, leads: {leads}, paused: {paused}"
            );
        }
        if let Some(master) = self.leading_core() {
            for agent in master.snapshot().agents {
                if agent.tasks > 0 || agent.standing != AgentStanding::Active {
                    let (standing, tasks) = (agent.standing, agent.tasks);
                    let _ = write!(
                        text,
                        "\nmaster: {} is {standing:?}, tasks: {tasks}",
                        agent.id
                    );
                }
            }
        }
        let open = self.schedulers.iter().flat_map(SimScheduler::open_tasks);
        let mut words: Vec<_> = open.map(ToString::to_string).take(3).collect();
        if self.leader().is_none() {
            words.push("master ".to_owned());
        }
        Complaint { what: text, words }
    }
}

/// Long enough for whatever is free to be offered.
fn core_cycle(config: &MasterConfig) -> Duration {
    config.allocation_interval * 10
}

fn describe(host: &Host) -> String {
    match host.agent.as_ref().map(Agent::snapshot) {
        None => "down".to_owned(),
        Some(agent) => format!("registered: {}, tasks: {:?}", agent.registered, agent.tasks),
    }
}
