//! Random sequences of everything that anybody may say to a master, sensible or not: whatever comes, its
//! invariants hold after each event, no agent is promised twice, and no limit is exceeded.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use nesos_master_core::{
    AgentOrder, BuiltInPolicy, ConnectionId, Decisions, Effect, Event, Master, MasterConfig,
    OperatorRequest, Preemption, Record, RemovalRate, RequestId, Snapshot,
};
use nesos_types::agent::{AgentInfo, Drain};
use nesos_types::bundle::Digest;
use nesos_types::executor::ExecutorInfo;
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Demand, Filters, Offer, Operation};
use nesos_types::reservation::ReservationChange;
use nesos_types::resources::{Amounts, Resources, Scalar};
use nesos_types::role::{Role, RoleChange, Weight};
use nesos_types::task::{
    SharedTask, StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus, Work,
};
use nesos_types::time::Time;
use proptest::prelude::*;

const ROLES: [&str; 5] = ["a", "a/x", "a/y", "b", "b/z"];
const FRAMEWORKS: usize = 4;
const AGENTS: usize = 4;

/// One thing that somebody does. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize, Vec<usize>),
    Leave(usize),
    Update(usize, Vec<usize>, Vec<usize>),
    Register(usize, u64),
    /// The agent that came last comes back, as large as it says now.
    Return(u64),
    Break(usize),
    Accept(usize, usize, Vec<u64>, u64, Manner),
    Decline(usize, usize, u64),
    Request(usize, Vec<(usize, u64, u32)>),
    Revive(usize),
    Suppress(usize),
    /// Reserve so much of an offer, and make a volume of its disk.
    Reserve(usize, usize, u64, bool),
    /// Give back all that is set apart in an offer, volumes first.
    Unreserve(usize, usize),
    /// An operator reserves so much of an agent, or gives back what is reserved first.
    Operator(usize, usize, u64),
    /// An operator orders something about an agent.
    Order(usize, AgentOrder),
    /// An agent says how much of its CPU nobody uses.
    Slack(usize, u64),
    Kill(usize, usize),
    Finish(usize),
    ChangeRole(usize, u32, i32, Option<u64>, Option<u64>, bool),
    Teardown(usize),
    Pass(u64),
    /// The master dies, and another one takes over what was durable.
    Restart,
}

/// How tasks are launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Alone,
    InExecutor,
    Together,
    TogetherInExecutor,
}

impl Manner {
    fn is_in_executor(self) -> bool {
        matches!(self, Self::InExecutor | Self::TogetherInExecutor)
    }

    fn operation(self, tasks: Vec<SharedTask>) -> Operation {
        match self {
            Self::Alone | Self::InExecutor => Operation::Launch(tasks),
            Self::Together | Self::TogetherInExecutor => Operation::LaunchGroup(tasks),
        }
    }
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => Just(Manner::Alone),
        2 => Just(Manner::InExecutor),
        1 => Just(Manner::Together),
        1 => Just(Manner::TogetherInExecutor),
    ]
}

/// How fast agents are taken for lost.
#[derive(Clone, Copy, Debug)]
struct Removals {
    rate: Option<u64>,
    limit: u8,
}

fn removals() -> impl Strategy<Value = Removals> {
    let limit = prop_oneof![Just(100), 0..=100u8];
    (prop::option::of(0..300u64), limit).prop_map(|(rate, limit)| Removals { rate, limit })
}

fn order() -> impl Strategy<Value = AgentOrder> {
    let drain = |(grace, mark_gone): (Option<u64>, bool)| {
        let grace = grace.map(Duration::from_secs);
        AgentOrder::Drain(Drain { grace, mark_gone })
    };
    prop_oneof![
        2 => Just(AgentOrder::Deactivate),
        3 => Just(AgentOrder::Reactivate),
        2 => (prop::option::of(0..5u64), prop::bool::weighted(0.3)).prop_map(drain),
        1 => Just(AgentOrder::Gone),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let framework = 0..FRAMEWORKS;
    let agent = 0..AGENTS;
    let roles = || prop::collection::vec(0..ROLES.len(), 1..3);
    let amount = || prop::option::of(0..6u64);
    prop_oneof![
        3 => (framework.clone(), roles()).prop_map(|(f, r)| Step::Subscribe(f, r)),
        1 => framework.clone().prop_map(Step::Leave),
        1 => (framework.clone(), roles(), prop::collection::vec(0..ROLES.len(), 0..2))
            .prop_map(|(f, r, s)| Step::Update(f, r, s)),
        3 => (agent.clone(), 1..6u64).prop_map(|(a, c)| Step::Register(a, c)),
        1 => (1..6u64).prop_map(Step::Return),
        1 => agent.clone().prop_map(Step::Break),
        6 => (framework.clone(), any::<usize>(), prop::collection::vec(1..4u64, 0..3), 0..8u64, manner())
            .prop_map(|(f, o, t, r, m)| Step::Accept(f, o, t, r, m)),
        3 => (framework.clone(), any::<usize>(), 0..8u64)
            .prop_map(|(f, o, r)| Step::Decline(f, o, r)),
        2 => (framework.clone(), prop::collection::vec((0..ROLES.len(), 1..4u64, 0..3u32), 0..3))
            .prop_map(|(f, d)| Step::Request(f, d)),
        1 => framework.clone().prop_map(Step::Revive),
        1 => framework.clone().prop_map(Step::Suppress),
        5 => (framework.clone(), any::<usize>(), 1..4u64, any::<bool>())
            .prop_map(|(f, o, s, v)| Step::Reserve(f, o, s, v)),
        2 => (framework.clone(), any::<usize>()).prop_map(|(f, o)| Step::Unreserve(f, o)),
        2 => (agent.clone(), 0..ROLES.len(), 0..4u64).prop_map(|(a, r, s)| Step::Operator(a, r, s)),
        2 => (agent.clone(), order()).prop_map(|(a, o)| Step::Order(a, o)),
        2 => (agent.clone(), 0..5u64).prop_map(|(a, c)| Step::Slack(a, c)),
        1 => (framework.clone(), any::<usize>()).prop_map(|(f, t)| Step::Kill(f, t)),
        4 => any::<usize>().prop_map(Step::Finish),
        3 => (0..ROLES.len(), 1..4u32, -1..2i32, amount(), amount(), prop::bool::weighted(0.1))
            .prop_map(|(r, w, p, g, l, f)| Step::ChangeRole(r, w, p, g, l, f)),
        1 => framework.prop_map(Step::Teardown),
        3 => (0..20u64).prop_map(Step::Pass),
        1 => (0..900u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

fn role(at: usize) -> Role {
    ROLES[at].parse().expect("a role")
}

/// An executor of half a CPU, the same for all.
fn executor() -> Arc<ExecutorInfo> {
    let id = "x".parse().expect("an executor id");
    Arc::new(ExecutorInfo::new(
        id,
        Digest([1; 32]),
        Resources::new(500, 1 << 20),
    ))
}

fn cpus(count: u64) -> Resources {
    Resources::new(count * 1000, count << 30)
}

/// The master and those who speak to it.
struct World {
    master: Master,
    config: MasterConfig,
    records: Vec<Record>,
    now: Time,
    next: u64,
    frameworks: BTreeMap<usize, (ConnectionId, Option<FrameworkId>)>,
    agents: BTreeMap<usize, ConnectionId>,
    offers: BTreeMap<ConnectionId, Vec<Offer>>,
    tasks: Vec<(ConnectionId, FrameworkId, TaskId)>,
    /// The agent that registered last.
    last: Option<(usize, AgentId)>,
    registering: usize,
    /// Whether tasks may be ended for others.
    may_preempt: bool,
    /// Whether an operator has forced something, after which limits may be exceeded.
    forced: bool,
}

impl World {
    fn new(
        policy: BuiltInPolicy,
        without_memory: bool,
        preemptive: bool,
        removals: Removals,
    ) -> Self {
        let now = Time::ZERO + Duration::from_secs(1000);
        let config = MasterConfig {
            policy,
            preemption: preemptive.then(Preemption::default),
            fair_sharing_excluded: without_memory
                .then_some(Scalar::Memory)
                .into_iter()
                .collect(),
            offer_timeout: Some(Duration::from_secs(15)),
            agent_removal_rate: removals.rate.map(|seconds| RemovalRate {
                agents: NonZeroU32::MIN,
                per: Duration::from_secs(seconds),
            }),
            recovery_agent_removal_limit: removals.limit,
            ..MasterConfig::default()
        };
        Self {
            master: Master::recover(config.clone(), [5; 32], now, []),
            config,
            records: Vec::new(),
            now,
            next: 0,
            frameworks: BTreeMap::new(),
            agents: BTreeMap::new(),
            offers: BTreeMap::new(),
            tasks: Vec::new(),
            last: None,
            registering: 0,
            may_preempt: preemptive && policy == BuiltInPolicy::Priority,
            forced: false,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn hear(&mut self, event: Event) {
        let mut decisions = Decisions::default();
        self.master.handle(self.now, event, &mut decisions);
        self.master.check_invariants();
        self.records.append(&mut decisions.records);
        for effect in decisions.effects {
            match effect {
                Effect::ToScheduler(to, SchedulerEvent::Offers(offers)) => {
                    self.offers.entry(to).or_default().extend(offers);
                }
                Effect::ToScheduler(to, SchedulerEvent::Subscribed { framework, .. }) => {
                    let known = self.frameworks.values_mut().find(|known| known.0 == to);
                    known.expect("it has called").1 = Some(framework);
                }
                Effect::ToAgent(_, AgentCommand::Registered { agent, .. }) => {
                    self.last = Some((self.registering, agent));
                }
                Effect::ToAgent(
                    to,
                    AgentCommand::Launch {
                        framework, tasks, ..
                    },
                ) => {
                    let tasks = tasks
                        .into_iter()
                        .map(|task| (to, framework, task.id.clone()));
                    self.tasks.extend(tasks);
                }
                Effect::ToAgent(_, AgentCommand::Kill { reason, .. }) => {
                    let preempted = reason == TaskReason::Preempted;
                    assert!(!preempted || self.may_preempt, "nobody has asked for it");
                }
                _ => {}
            }
        }
        if self
            .master
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            self.hear(Event::Tick);
        }
        self.check_limits();
    }

    /// Offers count as consumption, so no limit may ever be exceeded but by a forced one.
    fn check_limits(&self) {
        let snapshot = self.master.snapshot();
        for agent in &snapshot.agents {
            let held = agent
                .allocated
                .checked_add(&agent.offered)
                .expect("it adds up");
            assert!(agent.total.contains(&held) || agent.free.is_empty());
        }
        if self.forced {
            return;
        }
        for role in &snapshot.roles {
            for (kind, limit) in role.settings.limit.iter() {
                let consumed = consumed(&snapshot, &role.role, kind);
                assert!(consumed <= limit, "{} has {consumed} of {limit}", role.role);
            }
        }
    }

    fn call(&mut self, framework: usize, call: SchedulerCall) {
        if let Some((connection, _)) = self.frameworks.get(&framework) {
            self.hear(Event::SchedulerCalled(*connection, call));
        }
    }

    /// One of a framework's offers, mostly; sometimes one that is long gone.
    fn offer(&self, framework: usize, which: usize) -> Option<Offer> {
        let (connection, _) = self.frameworks.get(&framework)?;
        let offers = self.offers.get(connection)?;
        offers.get(which % offers.len().max(1)).cloned()
    }

    fn subscribe(&mut self, framework: usize, roles: &[usize]) {
        let connection = ConnectionId(self.number());
        let id = self.frameworks.get(&framework).and_then(|known| known.1);
        self.frameworks.insert(framework, (connection, id));
        self.hear(Event::SchedulerConnected(connection));
        let subscribe = SchedulerCall::Subscribe {
            framework: id,
            info: info(roles),
            suppressed: [].into(),
        };
        self.hear(Event::SchedulerCalled(connection, subscribe));
        let unknown = self
            .frameworks
            .get(&framework)
            .is_some_and(|known| known.1.is_none());
        if unknown {
            self.frameworks.remove(&framework);
        }
    }

    fn register(&mut self, agent: usize, id: Option<AgentId>, size: u64) {
        let connection = ConnectionId(self.number());
        self.agents.insert(agent, connection);
        self.registering = agent;
        self.hear(Event::AgentConnected(connection));
        let register = AgentEvent::Register {
            agent: id,
            info: AgentInfo {
                max_sandboxes: (size > 3).then_some(2),
                ..AgentInfo::new(format!("host{agent}"), cpus(size).with_disk(100))
            },
            tasks: Vec::new(),
        };
        self.hear(Event::AgentSaid(connection, register));
    }

    fn accept(
        &mut self,
        framework: usize,
        offer: &Offer,
        sizes: &[u64],
        refuse: u64,
        manner: Manner,
    ) {
        let mut left = offer.resources.clone();
        let executor = manner.is_in_executor().then(executor);
        if let Some(executor) = &executor {
            left = left.checked_sub(&executor.resources).unwrap_or(left);
        }
        let tasks = sizes.iter().map(|size| {
            let id = format!("t{}", self.number()).parse().expect("an id");
            // What is reserved, all volumes and all that is revocable go to the first that may use them.
            let special = left.only_parts();
            let special = special.with_parts_if(|claim| claim.volume.is_some() || claim.revocable);
            let chosen = left.choose(&cpus(*size)).unwrap_or_else(|| cpus(*size));
            let resources = match &executor {
                // It has no place for what is special.
                Some(_) => chosen,
                None => chosen.checked_add(&special).unwrap_or(chosen),
            };
            left = left.checked_sub(&resources).unwrap_or(left.clone());
            let mut task = TaskInfo::new(id, Digest([0; 32]), resources);
            if let Some(executor) = executor.clone() {
                task.work = Work::InExecutor {
                    executor,
                    run: None,
                };
            }
            SharedTask::new(task)
        });
        let operations = vec![manner.operation(tasks.collect())];
        self.operate(framework, offer, operations, refuse);
    }

    fn operate(
        &mut self,
        framework: usize,
        offer: &Offer,
        operations: Vec<Operation>,
        refuse: u64,
    ) {
        let accept = SchedulerCall::Accept {
            offers: vec![offer.id],
            operations,
            filters: Filters::refuse_for(Duration::from_secs(refuse)),
        };
        self.call(framework, accept);
    }

    fn reserve(&mut self, framework: usize, offer: &Offer, size: u64, with_volume: bool) {
        let resources = offer
            .resources
            .choose(&cpus(size))
            .unwrap_or_else(|| cpus(size))
            .checked_add(&Resources::default().with_disk(size))
            .expect("small numbers");
        let mut operations = vec![ReservationChange::Reserve {
            resources,
            role: offer.role.clone(),
            labels: BTreeMap::new(),
        }];
        let disk = offer.resources.parts().find(|(claim, part)| {
            claim.volume.is_none() && claim.reservation().is_some() && part.disk_bytes > 0
        });
        if let (true, Some((claim, part))) = (with_volume, disk) {
            let disk = Resources::default().with_disk(part.disk_bytes);
            operations.push(ReservationChange::CreateVolume {
                volume: format!("v{}", self.number()).parse().expect("an id"),
                disk: Resources::claimed(claim.clone(), disk),
            });
        }
        let operations = operations.into_iter().map(Operation::Reservation);
        self.operate(framework, offer, operations.collect(), 5);
    }

    fn unreserve(&mut self, framework: usize, offer: &Offer) {
        let volumes = offer.resources.volumes();
        let destroy = volumes.map(|(volume, _)| ReservationChange::DestroyVolume {
            volume: volume.id.clone(),
        });
        let parts = offer.resources.parts();
        let unreserve = parts.map(|(claim, part)| {
            let mut claim = claim.clone();
            claim.volume = None;
            ReservationChange::Unreserve {
                resources: Resources::claimed(claim, part.clone()),
            }
        });
        let changes = destroy.chain(unreserve).map(Operation::Reservation);
        let changes = changes.collect();
        self.operate(framework, offer, changes, 0);
    }

    fn change_by_operator(&mut self, agent: usize, for_role: usize, size: u64) {
        let snapshot = self.master.snapshot();
        let agents = &snapshot.agents;
        let Some(agent) = agents.get(agent % agents.len().max(1)) else {
            return;
        };
        let reserved = agent.total.parts().find(|(claim, _)| !claim.revocable);
        let change = match reserved {
            Some((claim, part)) if size == 0 => match &claim.volume {
                Some(volume) => ReservationChange::DestroyVolume {
                    volume: volume.id.clone(),
                },
                None => ReservationChange::Unreserve {
                    resources: Resources::claimed(claim.clone(), part.clone()),
                },
            },
            _ => ReservationChange::Reserve {
                resources: agent.free.choose(&cpus(size)).unwrap_or_else(|| cpus(size)),
                role: role(for_role),
                labels: BTreeMap::new(),
            },
        };
        let request = OperatorRequest::ChangeReservations {
            agent: agent.id,
            change,
        };
        self.hear(Event::Operator(RequestId(0), request));
    }

    fn order(&mut self, agent: usize, order: AgentOrder) {
        let snapshot = self.master.snapshot();
        if let Some(agent) = snapshot.agents.get(agent % snapshot.agents.len().max(1)) {
            let agent = agent.id;
            let request = OperatorRequest::OrderAgent { agent, order };
            self.hear(Event::Operator(RequestId(0), request));
        }
    }

    fn finish(&mut self, which: usize) {
        if self.tasks.is_empty() {
            return;
        }
        let (connection, framework, task) = self.tasks.swap_remove(which % self.tasks.len());
        let state = TaskState::Finished;
        let mut status = TaskStatus::new(task, state, StatusSource::Agent, self.now);
        status.update = Some(UpdateId(u128::from(self.number())));
        let update = AgentEvent::Update {
            framework,
            status,
            latest: state,
        };
        self.hear(Event::AgentSaid(connection, update));
    }

    fn change_role(&mut self, change: RoleChange, force: bool) {
        self.forced |= force;
        let request = OperatorRequest::ChangeRoles {
            changes: vec![change],
            force,
        };
        self.hear(Event::Operator(RequestId(0), request));
    }

    /// Time passes, deadline by deadline.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.master.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.hear(Event::Tick);
        }
        self.now = until;
    }

    /// Whoever was connected is not any more, and what it says is not heard.
    fn restart(&mut self) {
        let (config, records) = (self.config.clone(), self.records.clone());
        let mut seed = [6; 32];
        seed[..8].copy_from_slice(&self.number().to_le_bytes());
        self.master = Master::recover(config, seed, self.now, records);
        self.master.check_invariants();
        // What roles hold is not known until all agents are back.
        self.forced = true;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Subscribe(framework, roles) => self.subscribe(framework, &roles),
            Step::Leave(framework) => {
                if let Some((connection, _)) = self.frameworks.get(&framework) {
                    self.hear(Event::SchedulerDisconnected(*connection));
                }
            }
            Step::Update(framework, roles, suppressed) => {
                let suppressed = suppressed.into_iter().map(role).collect();
                let info = info(&roles);
                self.call(
                    framework,
                    SchedulerCall::UpdateFramework { info, suppressed },
                );
            }
            Step::Register(agent, size) => self.register(agent, None, size),
            Step::Return(size) => {
                if let Some((agent, id)) = self.last {
                    // What was reserved on it meanwhile counts again, whatever the limits say by now.
                    self.forced = true;
                    self.register(agent, Some(id), size);
                }
            }
            Step::Break(agent) => {
                if let Some(connection) = self.agents.remove(&agent) {
                    self.hear(Event::AgentDisconnected(connection));
                }
            }
            Step::Accept(framework, which, sizes, refuse, manner) => {
                if let Some(offer) = self.offer(framework, which) {
                    self.accept(framework, &offer, &sizes, refuse, manner);
                }
            }
            Step::Reserve(framework, which, size, with_volume) => {
                if let Some(offer) = self.offer(framework, which) {
                    self.reserve(framework, &offer, size, with_volume);
                }
            }
            Step::Unreserve(framework, which) => {
                if let Some(offer) = self.offer(framework, which) {
                    self.unreserve(framework, &offer);
                }
            }
            Step::Order(agent, order) => self.order(agent, order),
            Step::Operator(agent, for_role, size) => {
                self.change_by_operator(agent, for_role, size);
            }
            Step::Slack(agent, cpus) => {
                if let Some(connection) = self.agents.get(&agent) {
                    let cpu_milli = cpus * 500;
                    self.hear(Event::AgentSaid(
                        *connection,
                        AgentEvent::Slack { cpu_milli },
                    ));
                }
            }
            Step::Decline(framework, which, refuse) => {
                let offers = self.offer(framework, which).into_iter();
                let offers = offers.map(|offer| offer.id).collect();
                let filters = Filters::refuse_for(Duration::from_secs(refuse));
                self.call(framework, SchedulerCall::Decline { offers, filters });
            }
            Step::Request(framework, demands) => {
                let demands = demands.into_iter().map(|(at, size, count)| Demand {
                    role: role(at),
                    resources: cpus(size),
                    count,
                });
                let demands = demands.collect();
                self.call(framework, SchedulerCall::Request { demands });
            }
            Step::Revive(framework) => {
                let roles = [].into();
                self.call(framework, SchedulerCall::Revive { roles });
            }
            Step::Suppress(framework) => {
                let roles = [].into();
                self.call(framework, SchedulerCall::Suppress { roles });
            }
            Step::Kill(framework, which) => {
                let task = self.tasks.get(which % self.tasks.len().max(1));
                if let Some((_, _, task)) = task.cloned() {
                    self.call(framework, SchedulerCall::Kill { task, grace: None });
                }
            }
            Step::Finish(which) => self.finish(which),
            Step::ChangeRole(at, weight, priority, guarantee, limit, force) => {
                let amounts = |cpus: u64| Amounts::default().with(Scalar::Cpu, cpus * 1000);
                let change = RoleChange {
                    role: role(at),
                    weight: Weight::from_milli(weight * 1000),
                    priority: Some(priority),
                    guarantee: Some(guarantee.map(amounts).unwrap_or_default()),
                    signers: None,
                    limit: Some(limit.map(amounts).unwrap_or_default()),
                };
                self.change_role(change, force);
            }
            Step::Teardown(framework) => {
                self.call(framework, SchedulerCall::Teardown);
                self.frameworks.remove(&framework);
            }
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
            Step::Restart => self.restart(),
        }
    }
}

/// How much of one kind a role and those below it hold, and what is reserved for them.
fn consumed(snapshot: &Snapshot, role: &Role, kind: &Scalar) -> u64 {
    let frameworks = &snapshot.frameworks;
    let tasks = frameworks.iter().flat_map(|framework| &framework.tasks);
    let executors = frameworks.iter().flat_map(|framework| &framework.executors);
    let tasks = tasks.chain(executors.map(|executor| &executor.run));
    let live = tasks.filter(|task| !task.state.is_terminal());
    let by_tasks = live.map(|task| (&task.role, &task.info.resources));
    let by_offers = snapshot.offers.iter();
    let by_offers = by_offers.map(|offer| (&offer.role, &offer.resources));
    let held = by_tasks.chain(by_offers);
    let held = held.filter(|(of, _)| role.holds(of));
    let reserved = snapshot.agents.iter().flat_map(|agent| agent.total.parts());
    let reserved = reserved.filter(|(claim, _)| {
        let by = claim.reservation();
        by.is_some_and(|by| role.holds(&by.role))
    });
    held.map(|(_, resources)| resources.scalar(kind))
        .chain(reserved.map(|(_, part)| part.scalar(kind)))
        .sum()
}

/// A framework in these roles; in the first of them it wants a whole CPU at the least.
fn info(roles: &[usize]) -> FrameworkInfo {
    let mut info = FrameworkInfo::new("random", roles.iter().map(|at| role(*at)));
    let filters = OfferFilters {
        min_allocatable: Some(vec![Resources::new(1000, 0)]),
        constraints: None,
        revocable: roles.len() > 1,
    };
    info.offer_filters.insert(role(roles[0]), filters);
    info
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_said_the_invariants_hold(
        steps in prop::collection::vec(step(), 1..120),
        by_priority in any::<bool>(),
        without_memory in any::<bool>(),
        preemptive in any::<bool>(),
        removals in removals(),
    ) {
        let policy = if by_priority { BuiltInPolicy::Priority } else { BuiltInPolicy::Drf };
        let mut world = World::new(policy, without_memory, preemptive, removals);
        for step in steps {
            world.take(step);
        }
    }
}
