//! The example policies under a real core: what they decide, and what becomes of those that fail.
//!
//! Two cores with the same seed hear the same events, one with a plug-in and one without. Their ids are
//! the same as long as their decisions are, so that whatever they do can be compared as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_artifacts::policies;
use nesos_master::load_policy;
use nesos_master_core::{
    ConnectionId, Decisions, Effect, Event, Happening, Master, MasterConfig, NewPolicy,
    OperatorRequest, RequestId,
};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::message::{AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::{Amounts, Resources, Scalar};
use nesos_types::role::{Role, RoleChange, Weight};
use nesos_types::task::{SharedTask, TaskInfo};
use nesos_types::time::Time;
use proptest::prelude::*;

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_policies!(is_tested);

/// Roles at several depths, one of them with frameworks of its own above others.
const ROLES: [&str; 5] = ["*", "web", "org", "org/ads", "org/ads/batch"];

/// A core and those who are connected to it.
struct Cluster {
    master: Master,
    now: Time,
    connections: u64,
    frameworks: Vec<ConnectionId>,
    agents: Vec<ConnectionId>,
    offers: BTreeMap<ConnectionId, Vec<Offer>>,
    tasks: usize,
    /// Everything that left the core, but for what the policy says of itself.
    effects: Vec<Effect>,
    faults: usize,
}

impl Cluster {
    fn new() -> Self {
        let config = MasterConfig {
            offer_timeout: None,
            ..MasterConfig::default()
        };
        Self {
            master: Master::recover(config, [5; 32], Time::ZERO, []),
            now: Time::ZERO,
            connections: 0,
            frameworks: Vec::new(),
            agents: Vec::new(),
            offers: BTreeMap::new(),
            tasks: 0,
            effects: Vec::new(),
            faults: 0,
        }
    }

    fn under(path: &str) -> Self {
        let mut cluster = Self::new();
        cluster.set(path);
        cluster
    }

    fn set(&mut self, path: &str) {
        let component = std::fs::read(path).expect("the guest was built");
        let plugin = NewPolicy::Plugin {
            name: path.to_owned(),
            digest: Digest([0; 32]),
            guest: load_policy(&component).expect("a policy"),
        };
        let mut out = Decisions::default();
        self.master.set_policy(self.now, plugin, &mut out);
        self.take(out);
    }

    fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    fn hear(&mut self, event: Event) {
        let mut out = Decisions::default();
        self.master.handle(self.now, event, &mut out);
        self.take(out);
    }

    fn take(&mut self, decisions: Decisions) {
        self.master.check_invariants();
        for effect in decisions.effects {
            match &effect {
                Effect::ToScheduler(connection, SchedulerEvent::Offers(offers)) => {
                    let held = self.offers.entry(*connection).or_default();
                    held.extend(offers.iter().cloned());
                }
                Effect::Observed(Happening::PolicyChanged(view)) => {
                    self.faults += usize::from(view.fault.is_some());
                    continue;
                }
                _ => {}
            }
            self.effects.push(effect);
        }
    }

    fn call(&mut self, connection: ConnectionId, call: SchedulerCall) {
        self.hear(Event::SchedulerCalled(connection, call));
    }

    fn subscribe(&mut self, role: usize) {
        let connection = self.connect();
        self.frameworks.push(connection);
        self.hear(Event::SchedulerConnected(connection));
        let role: Role = ROLES[role % ROLES.len()].parse().expect("a role");
        let subscribe = SchedulerCall::Subscribe {
            framework: None,
            info: FrameworkInfo::new("framework", [role]),
            suppressed: [].into(),
        };
        self.call(connection, subscribe);
    }

    fn register(&mut self, cpus: u64) {
        let connection = self.connect();
        self.agents.push(connection);
        self.hear(Event::AgentConnected(connection));
        let resources = Resources::new(cpus * 1000, 7 << 30).with_custom("gpus", cpus % 3 * 1000);
        let register = AgentEvent::Register {
            agent: None,
            info: AgentInfo::new(format!("host{}", connection.0), resources),
            tasks: Vec::new(),
        };
        self.hear(Event::AgentSaid(connection, register));
    }

    /// Some framework answers its latest offer.
    fn answer(&mut self, number: usize, cpus: u64) {
        let Some(framework) = pick(&self.frameworks, number) else {
            return;
        };
        let Some(offer) = self.offers.get_mut(&framework).and_then(Vec::pop) else {
            return;
        };
        let wanted = Resources::new(cpus * 1000, 1 << 30);
        let (offers, filters) = (vec![offer.id], Filters::refuse_for(Duration::from_secs(5)));
        if cpus == 0 || !offer.resources.contains(&wanted) {
            self.call(framework, SchedulerCall::Decline { offers, filters });
            return;
        }
        self.tasks += 1;
        let id = format!("t{}", self.tasks).parse().expect("a task id");
        let task = SharedTask::new(TaskInfo::new(id, Digest([0; 32]), wanted));
        let operations = vec![Operation::Launch(vec![task])];
        let accept = SchedulerCall::Accept {
            offers,
            operations,
            filters,
        };
        self.call(framework, accept);
    }

    fn leave(&mut self, number: usize, kind: u8) {
        match kind {
            0 => {
                if let Some(framework) = remove(&mut self.frameworks, number) {
                    self.offers.remove(&framework);
                    self.call(framework, SchedulerCall::Teardown);
                }
            }
            1 => {
                if let Some(agent) = remove(&mut self.agents, number) {
                    self.hear(Event::AgentSaid(agent, AgentEvent::Unregister));
                }
            }
            2 => {
                if let Some(framework) = pick(&self.frameworks, number) {
                    let roles = [].into();
                    self.call(framework, SchedulerCall::Suppress { roles });
                }
            }
            _ => {
                if let Some(framework) = pick(&self.frameworks, number) {
                    let roles = [].into();
                    self.call(framework, SchedulerCall::Revive { roles });
                }
            }
        }
    }

    fn shape(&mut self, number: usize, weight: u32, guaranteed: bool) {
        let guarantee = guaranteed.then(|| Amounts::default().with(Scalar::Cpu, 1000));
        let change = RoleChange {
            weight: Weight::from_milli(weight * 500),
            guarantee,
            ..RoleChange::of(ROLES[number % ROLES.len()].parse().expect("a role"))
        };
        let change = OperatorRequest::ChangeRoles {
            changes: vec![change],
            force: true,
        };
        self.hear(Event::Operator(RequestId(0), change));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Subscribe(role) => self.subscribe(role),
            Step::Register(cpus) => self.register(cpus),
            Step::Answer(framework, cpus) => self.answer(framework, cpus),
            Step::Leave(number, kind) => self.leave(number, kind),
            Step::Shape(role, weight, guaranteed) => self.shape(role, weight, guaranteed),
            Step::Pass(seconds) => self.now = self.now + Duration::from_secs(seconds),
        }
        while self
            .master
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            self.hear(Event::Tick);
        }
    }
}

fn pick(of: &[ConnectionId], number: usize) -> Option<ConnectionId> {
    (!of.is_empty()).then(|| of[number % of.len()])
}

fn remove(of: &mut Vec<ConnectionId>, number: usize) -> Option<ConnectionId> {
    (!of.is_empty()).then(|| of.remove(number % of.len()))
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize),
    Register(u64),
    Answer(usize, u64),
    Leave(usize, u8),
    Shape(usize, u32, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..5usize).prop_map(Step::Subscribe),
        2 => (1..9u64).prop_map(Step::Register),
        8 => (0..8usize, 0..4u64).prop_map(|(framework, cpus)| Step::Answer(framework, cpus)),
        1 => (0..8usize, 0..4u8).prop_map(|(number, kind)| Step::Leave(number, kind)),
        1 => (0..5usize, 1..6u32, any::<bool>())
            .prop_map(|(role, weight, guaranteed)| Step::Shape(role, weight, guaranteed)),
        2 => (0..8u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Fairness in the guest is the built-in fairness: every offer is the same, whatever happens.
    #[test]
    fn fairness_in_the_guest_decides_as_the_built_in_policy(
        steps in prop::collection::vec(step(), 20..120),
    ) {
        let (mut built_in, mut plugin) = (Cluster::new(), Cluster::under(policies::DRF));
        for step in &steps {
            built_in.step(step);
            plugin.step(step);
            prop_assert_eq!(&plugin.effects, &built_in.effects, "after {:?}", step);
        }
        prop_assert_eq!(plugin.master.policy().fault, None);
    }

    /// Whatever a policy does, decisions are sound and somebody is served: invariants hold after each
    /// event, and one that fails does so once.
    #[test]
    fn any_policy_leaves_the_core_sound(
        steps in prop::collection::vec(step(), 20..60),
        which in 0..4usize,
    ) {
        let path = [
            policies::PRIORITY,
            policies::POLICY_TRAP,
            policies::POLICY_NONSENSE,
            policies::DRF,
        ][which];
        let mut cluster = Cluster::new();
        let (before, after) = steps.split_at(10);
        before.iter().for_each(|step| cluster.step(step));
        cluster.set(path);
        after.iter().for_each(|step| cluster.step(step));
        let stats = cluster.master.stats();
        prop_assert_eq!(cluster.faults as u64, stats.policy_faults);
        prop_assert!(stats.policy_faults <= u64::from([1, 2].contains(&which)));
    }
}

/// One framework and one agent, which is offered to it.
fn served_under(path: &str) -> Cluster {
    let mut cluster = Cluster::under(path);
    for step in [
        Step::Subscribe(0),
        Step::Register(4),
        Step::Register(4),
        Step::Register(4),
    ] {
        cluster.step(&step);
    }
    assert_eq!(cluster.offers.values().map(Vec::len).sum::<usize>(), 3);
    cluster
}

#[test]
fn drf() {
    assert_eq!(served_under(policies::DRF).faults, 0);
}

#[test]
fn priority() {
    let mut cluster = served_under(policies::PRIORITY);
    // Equals take turns: the newcomer has waited longest since it was served.
    cluster.step(&Step::Subscribe(1));
    cluster.step(&Step::Register(4));
    let newcomer = cluster.frameworks[1];
    assert_eq!(cluster.offers[&newcomer].len(), 1);
    assert_eq!(cluster.faults, 0);
}

#[test]
fn policy_loop() {
    let cluster = served_under(policies::POLICY_LOOP);
    let policy = cluster.master.policy();
    assert!(policy.fault.is_some_and(|fault| fault.contains("fuel")));
    let stats = cluster.master.stats();
    // It failed when it was set, and was not asked again.
    assert_eq!((stats.policy_turns, stats.policy_faults), (0, 1));
    assert!(stats.policy_fuel > 1_000_000);
}

#[test]
fn policy_trap() {
    let cluster = served_under(policies::POLICY_TRAP);
    let policy = cluster.master.policy();
    assert!(policy.fault.is_some_and(|fault| fault.contains("trapped")));
    // Its first turn was the one in which it heard of everything.
    assert_eq!(cluster.master.stats().policy_turns, 2);
}

#[test]
fn policy_nonsense() {
    let cluster = served_under(policies::POLICY_NONSENSE);
    let policy = cluster.master.policy();
    assert!(
        policy
            .fault
            .is_some_and(|fault| fault.contains("named client"))
    );
}
