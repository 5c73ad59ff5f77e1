//! Properties of the allocator that hold whatever happens: nothing is given twice, nobody starves, and
//! the four properties of dominant resource fairness (Ghodsi et al., NSDI 2011).

#[path = "properties/fair_guest.rs"]
mod fair_guest;

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_master_core::{
    ConnectionId, Decisions, Effect, Event, Master, MasterConfig, NewPolicy, PolicyGuest, Snapshot,
    Weight,
};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::message::{AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskInfo};
use nesos_types::time::Time;
use proptest::prelude::*;

use fair_guest::FairGuest;

/// What one task of a framework wants: CPUs, and memory in GiB.
type Demand = (u64, u64);

fn bag((cpus, gib): Demand) -> Resources {
    Resources::new(cpus * 1000, gib << 30)
}

/// A cluster whose frameworks launch tasks of one kind for ever, one task per offer.
struct Cluster {
    master: Master,
    now: Time,
    demands: Vec<Demand>,
    offers: BTreeMap<usize, Vec<Offer>>,
    agents: usize,
    tasks: usize,
}

impl Cluster {
    /// Frameworks each in a role of its own, with the weight given.
    fn new(agents: &[Demand], frameworks: &[(Demand, u32)]) -> Self {
        let role = |i: usize| -> Role { format!("role-{i}").parse().expect("a role") };
        let weights = frameworks.iter().enumerate();
        let weights = weights.map(|(i, (_, weight))| {
            (
                role(i),
                Weight::from_milli(weight * 1000).expect("not zero"),
            )
        });
        let config = MasterConfig {
            weights: weights.collect(),
            offer_timeout: None,
            ..MasterConfig::default()
        };
        let now = Time::ZERO;
        let mut cluster = Self {
            master: Master::recover(config, [3; 32], now, []),
            now,
            demands: frameworks.iter().map(|(demand, _)| *demand).collect(),
            offers: BTreeMap::new(),
            agents: 0,
            tasks: 0,
        };
        for (i, _) in frameworks.iter().enumerate() {
            let connection = connection_of(i);
            cluster.tell(Event::SchedulerConnected(connection));
            let subscribe = SchedulerCall::Subscribe {
                framework: None,
                info: FrameworkInfo::new(format!("f{i}"), [role(i)]),
                suppressed: [].into(),
            };
            cluster.tell(Event::SchedulerCalled(connection, subscribe));
        }
        for (i, resources) in agents.iter().enumerate() {
            cluster.add_agent(i, bag(*resources));
        }
        cluster
    }

    fn add_agent(&mut self, i: usize, resources: Resources) {
        let connection = connection_of_agent(i);
        self.agents += 1;
        self.tell(Event::AgentConnected(connection));
        let register = AgentEvent::Register {
            agent: None,
            info: AgentInfo::new(format!("host-{i}"), resources),
            tasks: Vec::new(),
        };
        self.tell(Event::AgentSaid(connection, register));
    }

    fn tell(&mut self, event: Event) {
        let mut out = Decisions::default();
        self.master.handle(self.now, event, &mut out);
        self.master.check_invariants();
        for effect in out.effects {
            if let Effect::ToScheduler(connection, SchedulerEvent::Offers(offers)) = effect {
                let framework = usize::try_from(connection.0).expect("small");
                self.offers.entry(framework).or_default().extend(offers);
            }
        }
    }

    /// A plug-in decides from now on.
    fn set_plugin(&mut self, guest: Box<dyn PolicyGuest>) {
        let plugin = NewPolicy::Plugin {
            name: "plug-in".to_owned(),
            digest: Digest([0; 32]),
            guest,
        };
        let mut out = Decisions::default();
        self.master.set_policy(self.now, plugin, &mut out);
        self.master.check_invariants();
    }

    fn call(&mut self, framework: usize, call: SchedulerCall) {
        self.tell(Event::SchedulerCalled(connection_of(framework), call));
    }

    /// Time passes; everybody is still there.
    fn tick(&mut self, passing: Duration) {
        self.now = self.now + passing;
        if !passing.is_zero() {
            for i in 0..self.demands.len() {
                self.call(i, SchedulerCall::Heartbeat);
            }
            for i in 0..self.agents {
                self.tell(Event::AgentSaid(connection_of_agent(i), AgentEvent::Pong));
            }
        }
        self.tell(Event::Tick);
    }

    /// One framework answers one of its offers: a task if it fits, else a refusal.
    fn answer(&mut self, framework: usize, greedy: bool) {
        let Some(offer) = self.offers.get_mut(&framework).and_then(Vec::pop) else {
            return;
        };
        let wanted = bag(self.demands[framework]);
        let (offers, filters) = (vec![offer.id], Filters::none());
        if !greedy || !offer.resources.contains(&wanted) {
            let filters = Filters::default();
            self.call(framework, SchedulerCall::Decline { offers, filters });
            return;
        }
        self.tasks += 1;
        let id = format!("t{}", self.tasks).parse().expect("a task id");
        let task = SharedTask::new(TaskInfo::new(id, Digest([0; 32]), wanted));
        let operations = vec![Operation::Launch(vec![task])];
        self.call(
            framework,
            SchedulerCall::Accept {
                offers,
                operations,
                filters,
            },
        );
    }

    /// Everybody launches as much as it can get, until nobody launched anything for a while.
    fn fill(&mut self) {
        let (mut launched, mut quiet) = (0, 0);
        while quiet < 8 {
            for framework in 0..self.demands.len() {
                self.answer(framework, true);
                self.tick(Duration::ZERO);
            }
            if self.offers.values().all(Vec::is_empty) {
                self.tick(Duration::from_secs(5));
                quiet += 1;
            }
            if self.tasks > launched {
                (launched, quiet) = (self.tasks, 0);
            }
        }
    }

    fn tasks_of(&self, framework: usize) -> u64 {
        let snapshot = self.master.snapshot();
        let name = format!("f{framework}");
        let views = snapshot.frameworks.iter();
        let tasks = views.filter(|view| view.info.name == name);
        tasks.map(|view| view.tasks.len() as u64).sum()
    }

    /// The share of the framework's dominant resource, times a thousand.
    fn share(&self, framework: usize, total: Demand) -> u64 {
        let (cpus, gib) = self.demands[framework];
        let tasks = self.tasks_of(framework);
        (tasks * cpus * 1000 / total.0).max(tasks * gib * 1000 / total.1)
    }
}

fn connection_of(framework: usize) -> ConnectionId {
    ConnectionId(framework as u64)
}

fn connection_of_agent(agent: usize) -> ConnectionId {
    ConnectionId(1_000_000 + agent as u64)
}

/// Nothing is offered that is not free: what tasks and offers hold fits each agent.
fn check_fits(snapshot: &Snapshot) {
    for agent in &snapshot.agents {
        let held = agent.allocated.checked_add(&agent.offered).expect("fits");
        let all = held.checked_add(&agent.free).expect("fits");
        assert_eq!(
            Some(all),
            agent.info.as_ref().map(|info| info.resources.clone())
        );
    }
}

/// What so many tasks hold.
fn times((cpus, gib): Demand, tasks: u64) -> Demand {
    (cpus * tasks, gib * tasks)
}

/// How many tasks can be run on so much.
fn runnable((cpus, gib): Demand, on: Demand) -> u64 {
    (on.0 / cpus).min(on.1 / gib)
}

fn demand() -> impl Strategy<Value = Demand> {
    (1..=4u64, 1..=4u64)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever frameworks do with their offers, in whatever order, the books are exact.
    #[test]
    fn nothing_is_given_twice(
        agents in prop::collection::vec((1..=8u64, 1..=8u64), 1..6),
        frameworks in prop::collection::vec((demand(), 1..=3u32), 1..5),
        steps in prop::collection::vec((0..5usize, any::<bool>(), 0..4u64), 0..60),
    ) {
        let mut cluster = Cluster::new(&agents, &frameworks);
        for (framework, greedy, seconds) in steps {
            cluster.answer(framework % frameworks.len(), greedy);
            cluster.tick(Duration::from_secs(seconds));
            check_fits(&cluster.master.snapshot());
        }
    }

    /// A plug-in that is fair comes to the very decisions of the built-in policy, and one that fails
    /// at some turn leaves decisions to it that are sound.
    #[test]
    fn a_fair_plugin_decides_as_the_built_in_policy(
        agents in prop::collection::vec((1..=8u64, 1..=8u64), 1..6),
        frameworks in prop::collection::vec((demand(), 1..=3u32), 1..5),
        steps in prop::collection::vec((0..5usize, any::<bool>(), 0..4u64), 0..60),
        fails_after in 0..20u64,
    ) {
        let mut built_in = Cluster::new(&agents, &frameworks);
        let mut plugin = Cluster::new(&agents, &frameworks);
        plugin.set_plugin(Box::new(FairGuest::default()));
        let mut failing = Cluster::new(&agents, &frameworks);
        failing.set_plugin(Box::new(FairGuest::failing_after(fails_after)));
        for (framework, greedy, seconds) in steps {
            for cluster in [&mut built_in, &mut plugin, &mut failing] {
                cluster.answer(framework % frameworks.len(), greedy);
                cluster.tick(Duration::from_secs(seconds));
            }
            prop_assert_eq!(&plugin.offers, &built_in.offers);
            prop_assert_eq!(&failing.offers, &built_in.offers);
        }
        prop_assert_eq!(plugin.master.policy().fault, None);
        let (stats, policy) = (failing.master.stats(), failing.master.policy());
        prop_assert_eq!(stats.policy_faults, u64::from(policy.fault.is_some()));
    }

    /// Nobody starves: whoever could launch somewhere in the empty cluster has launched something by
    /// the time it is full, if there was room for everybody to begin with.
    #[test]
    fn nobody_starves(
        frameworks in prop::collection::vec((demand(), Just(1)), 2..5),
    ) {
        let mut cluster = Cluster::new(&[(24, 24)], &frameworks);
        cluster.fill();
        for framework in 0..frameworks.len() {
            prop_assert!(cluster.tasks_of(framework) > 0, "framework {framework}");
        }
    }

    /// Sharing incentive: nobody is worse off than with the nth part of the cluster to itself, but for
    /// what tasks do not divide: where the first has no room for another task, everybody else is ahead
    /// of it by its last task at most, and so together they would fill the cluster.
    #[test]
    fn sharing_is_no_loss(
        frameworks in prop::collection::vec((demand(), Just(1)), 2..5),
    ) {
        let mut cluster = Cluster::new(&[(60, 60)], &frameworks);
        cluster.fill();
        let dominant = |(cpus, gib): Demand| cpus.max(gib);
        let one_each: u64 = frameworks.iter().map(|(demand, _)| dominant(*demand)).sum();
        for (i, (demand, _)) in frameworks.iter().enumerate() {
            let got = cluster.tasks_of(i) * dominant(*demand);
            let of_all = got * frameworks.len() as u64;
            prop_assert!(of_all + one_each > 60, "framework {i} got {got} of 60");
        }
    }

    /// Strategy-proofness: whatever a framework says that its tasks need, it cannot run more of them with
    /// what it gets by that than by the truth, but for the last task of either.
    #[test]
    fn no_lie_helps(honest in demand(), other in demand(), lie in (1..=8u64, 1..=8u64)) {
        let tasks = |demand: Demand| {
            let mut cluster = Cluster::new(&[(60, 60)], &[(demand, 1), (other, 1)]);
            cluster.fill();
            cluster.tasks_of(0)
        };
        let dominant = |(cpus, gib): Demand| cpus.max(gib);
        let gained = runnable(honest, times(lie, tasks(lie)));
        let last_tasks = dominant(lie) + dominant(other);
        let (by_lie, by_truth) = (gained * dominant(honest), tasks(honest) * dominant(honest));
        prop_assert!(by_lie <= by_truth + last_tasks, "{by_lie} against {by_truth}");
    }

    /// Envy-freeness: nobody could run more of its tasks with what another got, but for the other's last
    /// task.
    #[test]
    fn nobody_envies_another(
        frameworks in prop::collection::vec((demand(), Just(1)), 2..5),
    ) {
        let mut cluster = Cluster::new(&[(60, 60)], &frameworks);
        cluster.fill();
        for (i, (own, _)) in frameworks.iter().enumerate() {
            for (j, (theirs, _)) in frameworks.iter().enumerate().filter(|(j, _)| *j != i) {
                let bundle = times(*theirs, cluster.tasks_of(j).saturating_sub(1));
                prop_assert!(runnable(*own, bundle) <= cluster.tasks_of(i), "{i} envies {j}");
            }
        }
    }

    /// Pareto efficiency: when everything has come to rest, no task of anybody fits anywhere.
    #[test]
    fn nothing_useful_is_left_over(
        agents in prop::collection::vec((2..=8u64, 2..=8u64), 1..4),
        frameworks in prop::collection::vec((demand(), Just(1)), 1..4),
    ) {
        let mut cluster = Cluster::new(&agents, &frameworks);
        cluster.fill();
        for agent in cluster.master.snapshot().agents {
            let unused = agent.free.checked_add(&agent.offered).expect("fits");
            for (demand, _) in &frameworks {
                prop_assert!(!unused.contains(&bag(*demand)), "{unused} fits {demand:?}");
            }
        }
    }

    /// Weights: with equal demands everybody gets its weighted part, to the task.
    #[test]
    fn equals_get_equal_parts(weights in prop::collection::vec(1..=3u32, 2..4)) {
        let frameworks: Vec<_> = weights.iter().map(|weight| ((1, 1), *weight)).collect();
        let sum: u32 = weights.iter().sum();
        let all = u64::from(sum) * 6;
        let mut cluster = Cluster::new(&[(all, all)], &frameworks);
        cluster.fill();
        for (i, weight) in weights.iter().enumerate() {
            let due = u64::from(*weight) * 6;
            prop_assert!(cluster.tasks_of(i).abs_diff(due) <= 1, "{} of {due}", cluster.tasks_of(i));
            prop_assert!(cluster.share(i, (all, all)) > 0);
        }
    }
}
