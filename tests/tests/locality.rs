//! Delay scheduling on the core of a master: to the second in small, and the published experiment in large.

use std::time::Duration;

use nesos_master_core::MasterConfig;
use nesos_sdk::{DelayPolicy, Preference};
use nesos_tests::locality::{Rules, Sharing, run};
use nesos_tests::stage::{AgentName, SchedulerName, Stage, task};
use nesos_types::ids::AgentId;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

const STEP: Duration = Duration::from_millis(100);

fn slot() -> Resources {
    Resources::new(1000, 1 << 30)
}

fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

/// A framework with three tasks whose data is on the agents a, b and c, of one slot each; a is busy with
/// somebody else's task.
struct Small {
    stage: Stage,
    other: SchedulerName,
    a: AgentName,
    framework: SchedulerName,
    policy: DelayPolicy,
    waiting: Vec<(&'static str, Preference)>,
    /// What was launched, where, and after how many steps.
    launched: Vec<(&'static str, AgentId, u32)>,
    steps: u32,
}

impl Small {
    fn new(wait: Duration) -> Self {
        let mut stage = Stage::new(MasterConfig::default());
        let other = stage.scheduler("other", &role("other"));
        let a = stage.agent("a", slot());
        stage.launch(other, vec![task("long", slot())], Filters::default());
        stage.acknowledge(other);
        let roles = [].into();
        stage.call(other, SchedulerCall::Suppress { roles });
        let agents = [
            ("a", a),
            ("b", stage.agent("b", slot())),
            ("c", stage.agent("c", slot())),
        ];
        let waiting =
            agents.map(|(name, agent)| (name, Preference::agents([stage.agent_id(agent)])));
        Self {
            framework: stage.scheduler("local", &role("local")),
            stage,
            other,
            a,
            policy: DelayPolicy::new(wait),
            waiting: waiting.into(),
            launched: Vec::new(),
            steps: 0,
        }
    }

    /// Answers every offer as the policy says, step by step.
    fn run_for(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() / STEP.as_millis() {
            for offer in std::mem::take(&mut self.stage.scheduler_mut(self.framework).offers) {
                self.answer(&offer);
            }
            self.stage.advance(STEP);
            self.steps += 1;
        }
    }

    fn answer(&mut self, offer: &Offer) {
        let slot = slot();
        let waiting = self
            .waiting
            .iter()
            .map(|(_, preference)| (&slot, preference));
        let choice = self.policy.choose(self.stage.now(), offer, waiting);
        let (offers, filters) = (vec![offer.id], choice.filters);
        let Some(chosen) = choice.tasks.first() else {
            let decline = SchedulerCall::Decline { offers, filters };
            return self.stage.call(self.framework, decline);
        };
        let (name, _) = self.waiting.remove(*chosen);
        self.launched.push((name, offer.agent, self.steps));
        let accept = SchedulerCall::Accept {
            offers,
            operations: vec![Operation::Launch(vec![task(name, slot.clone())])],
            filters,
        };
        self.stage.call(self.framework, accept);
    }

    fn free_a(&mut self) {
        self.stage
            .end(self.a, self.other, "long", TaskState::Finished);
    }

    /// Seconds after which a task was launched, and whether on this agent.
    fn launch_of(&self, name: &str, agent: AgentName) -> (f64, bool) {
        let id = self.stage.agent_id(agent);
        let launch = self
            .launched
            .iter()
            .find(|(launched, ..)| *launched == name);
        let (_, on, steps) = launch.expect("it was launched");
        (f64::from(*steps) * STEP.as_secs_f64(), *on == id)
    }
}

#[test]
fn patience_that_lasts_gets_every_task_to_its_data() {
    let mut small = Small::new(Duration::from_secs(5));
    small.run_for(Duration::from_secs(2));
    assert_eq!(small.launched.len(), 2, "on b and c at once");
    small.free_a();
    small.run_for(Duration::from_secs(2));
    let (after, local) = small.launch_of("a", small.a);
    assert!(local && (2.0..=3.0).contains(&after), "after {after} s");
}

#[test]
fn patience_that_ends_takes_a_spare_slot() {
    let mut small = Small::new(Duration::from_secs(1));
    let spare = small.stage.agent("d", slot());
    small.run_for(Duration::from_secs(5));
    let (after, on_spare) = small.launch_of("a", spare);
    assert!(on_spare && (1.0..=3.0).contains(&after), "after {after} s");
}

#[test]
fn without_patience_the_spare_slot_is_taken_at_once() {
    let mut small = Small::new(Duration::ZERO);
    let spare = small.stage.agent("d", slot());
    small.run_for(Duration::from_secs(1));
    let (after, on_spare) = small.launch_of("a", spare);
    assert!(on_spare && after <= 1.0, "after {after} s");
}

#[test]
fn the_longer_the_wait_the_more_tasks_are_local_and_the_sooner_jobs_end() {
    for seed in 1..=5 {
        let partitions = run(Sharing::Static, Rules::Nesos, seed);
        let waits = [0, 1, 5].map(|seconds| Sharing::Delay(Duration::from_secs(seconds)));
        let [none, one, five] = waits.map(|sharing| run(sharing, Rules::Nesos, seed));
        let locals = [partitions.local, none.local, one.local, five.local];
        assert!(locals.is_sorted(), "seed {seed}: {locals:?}");
        assert!(
            (0.13..=0.23).contains(&partitions.local),
            "seed {seed}: {partitions:?}"
        );
        assert!(
            one.local >= 0.85 && five.local >= 0.95,
            "seed {seed}: {locals:?}"
        );
        let faster = partitions.job_seconds / five.job_seconds;
        assert!(faster >= 1.4, "seed {seed}: {faster}");
        assert!(five.unfairness <= 0.1, "seed {seed}: {five:?}");
        assert!(
            none.utilisation - five.utilisation <= 0.03,
            "seed {seed}: {five:?}"
        );
    }
}
