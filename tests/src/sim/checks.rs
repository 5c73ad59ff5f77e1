//! What is checked while a simulation runs, and at its end.

use std::fmt::Write;

use nesos_agent_core::Agent;
use nesos_master_core::Master;
use nesos_master_core::snapshot::{AgentStanding, AgentView};

use super::host::Host;
use super::world::World;

impl World {
    /// After each event of the master: the books of one agent, and from time to time of everything.
    pub(super) fn check_after_event(&self) {
        let Some(master) = &self.master else { return };
        let every = self.options.check_every;
        if every == 0 {
            return;
        }
        master.check_some(usize::try_from(self.events).expect("fewer than 2^64"));
        if self.events.is_multiple_of(every) {
            self.check_all();
        }
    }

    fn check_all(&self) {
        self.master.iter().for_each(Master::check_invariants);
        for host in &self.hosts {
            host.agent.iter().for_each(Agent::check_invariants);
        }
    }

    /// Nothing is left to be done anywhere: every agent is there and has no task.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        let hosts_quiet = self.hosts.iter().all(|host| {
            let agent = host.agent.as_ref().map(Agent::snapshot);
            agent.is_some_and(|agent| agent.registered && agent.tasks.is_empty())
        });
        hosts_quiet
            && master
                .snapshot()
                .agents
                .iter()
                .all(|agent| agent.standing != AgentStanding::Recovered && agent.tasks == 0)
    }

    /// At the end every job is done, every task is over everywhere, and every resource is back.
    pub(crate) fn check_end(&self) {
        self.check_all();
        let jobs = self.options.jobs * self.options.frameworks;
        let done: usize = self
            .schedulers
            .iter()
            .map(|scheduler| scheduler.jobs_done)
            .sum();
        assert_eq!(done, jobs, "jobs done");
        for host in &self.hosts {
            assert_eq!(host.guests(), 0, "a guest runs that nobody knows of");
        }
        let snapshot = self.master.as_ref().map(Master::snapshot);
        let snapshot = snapshot.expect("the master runs");
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
    }

    /// How many persistent volumes there are.
    pub(super) fn volumes(&self) -> usize {
        let snapshot = self.master.as_ref().map(Master::snapshot);
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
    pub(super) fn what_is_open(&self) -> String {
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
        text
    }
}

fn describe(host: &Host) -> String {
    match host.agent.as_ref().map(Agent::snapshot) {
        None => "down".to_owned(),
        Some(agent) => format!("registered: {}, tasks: {:?}", agent.registered, agent.tasks),
    }
}
