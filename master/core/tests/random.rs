//! Random sequences of everything that anybody may say to a master, sensible or not: whatever comes, its
//! invariants hold after each event, no agent is promised twice, and no limit is exceeded.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_master_core::{
    BuiltInPolicy, ConnectionId, Decisions, Effect, Event, Master, MasterConfig, OperatorRequest,
    RequestId,
};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::ids::{FrameworkId, OfferId, TaskId, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Demand, Filters, Operation};
use nesos_types::resources::{Amounts, Resources, Scalar};
use nesos_types::role::{Role, RoleChange, Weight};
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskState, TaskStatus};
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
    Break(usize),
    Accept(usize, usize, Vec<u64>, u64),
    Decline(usize, usize, u64),
    Request(usize, Vec<(usize, u64, u32)>),
    Revive(usize),
    Suppress(usize),
    Kill(usize, usize),
    Finish(usize),
    ChangeRole(usize, u32, i32, Option<u64>, Option<u64>, bool),
    Teardown(usize),
    Pass(u64),
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
        1 => agent.clone().prop_map(Step::Break),
        6 => (framework.clone(), any::<usize>(), prop::collection::vec(1..4u64, 0..3), 0..8u64)
            .prop_map(|(f, o, t, r)| Step::Accept(f, o, t, r)),
        3 => (framework.clone(), any::<usize>(), 0..8u64)
            .prop_map(|(f, o, r)| Step::Decline(f, o, r)),
        2 => (framework.clone(), prop::collection::vec((0..ROLES.len(), 1..4u64, 0..3u32), 0..3))
            .prop_map(|(f, d)| Step::Request(f, d)),
        1 => framework.clone().prop_map(Step::Revive),
        1 => framework.clone().prop_map(Step::Suppress),
        1 => (framework.clone(), any::<usize>()).prop_map(|(f, t)| Step::Kill(f, t)),
        4 => any::<usize>().prop_map(Step::Finish),
        3 => (0..ROLES.len(), 1..4u32, -1..2i32, amount(), amount(), prop::bool::weighted(0.1))
            .prop_map(|(r, w, p, g, l, f)| Step::ChangeRole(r, w, p, g, l, f)),
        1 => framework.prop_map(Step::Teardown),
        3 => (0..20u64).prop_map(Step::Pass),
    ]
}

fn role(at: usize) -> Role {
    ROLES[at].parse().expect("a role")
}

fn cpus(count: u64) -> Resources {
    Resources::new(count * 1000, count << 30)
}

/// The master and those who speak to it.
struct World {
    master: Master,
    now: Time,
    next: u64,
    frameworks: BTreeMap<usize, (ConnectionId, Option<FrameworkId>)>,
    agents: BTreeMap<usize, ConnectionId>,
    offers: BTreeMap<ConnectionId, Vec<OfferId>>,
    tasks: Vec<(ConnectionId, FrameworkId, TaskId)>,
    /// Whether an operator has forced something, after which limits may be exceeded.
    forced: bool,
}

impl World {
    fn new(policy: BuiltInPolicy) -> Self {
        let now = Time::ZERO + Duration::from_secs(1000);
        let config = MasterConfig {
            policy,
            offer_timeout: Some(Duration::from_secs(15)),
            ..MasterConfig::default()
        };
        Self {
            master: Master::recover(config, [5; 32], now, []),
            now,
            next: 0,
            frameworks: BTreeMap::new(),
            agents: BTreeMap::new(),
            offers: BTreeMap::new(),
            tasks: Vec::new(),
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
        for effect in decisions.effects {
            match effect {
                Effect::ToScheduler(to, SchedulerEvent::Offers(offers)) => {
                    let ids = offers.iter().map(|offer| offer.id);
                    self.offers.entry(to).or_default().extend(ids);
                }
                Effect::ToScheduler(to, SchedulerEvent::Subscribed { framework, .. }) => {
                    let known = self.frameworks.values_mut().find(|known| known.0 == to);
                    known.expect("it has called").1 = Some(framework);
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
            let Some(info) = &agent.info else { continue };
            let held = agent
                .allocated
                .checked_add(&agent.offered)
                .expect("it adds up");
            assert!(info.resources.contains(&held) || agent.free.is_empty());
        }
        if self.forced {
            return;
        }
        for role in &snapshot.roles {
            for (kind, limit) in role.settings.limit.iter() {
                let held = role.held.scalar(kind);
                assert!(held <= limit, "{} holds {held} of {limit}", role.role);
            }
        }
    }

    fn call(&mut self, framework: usize, call: SchedulerCall) {
        if let Some((connection, _)) = self.frameworks.get(&framework) {
            self.hear(Event::SchedulerCalled(*connection, call));
        }
    }

    /// One of a framework's offers, mostly; sometimes one that is long gone.
    fn offer(&self, framework: usize, which: usize) -> Option<OfferId> {
        let (connection, _) = self.frameworks.get(&framework)?;
        let offers = self.offers.get(connection)?;
        offers.get(which % offers.len().max(1)).copied()
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

    fn register(&mut self, agent: usize, size: u64) {
        let connection = ConnectionId(self.number());
        self.agents.insert(agent, connection);
        self.hear(Event::AgentConnected(connection));
        let register = AgentEvent::Register {
            agent: None,
            info: AgentInfo {
                hostname: format!("host{agent}"),
                url: String::new(),
                resources: cpus(size),
                attributes: BTreeMap::new(),
                domain: None,
                fuel_per_cpu_second: 0,
                host_mounts: false,
                version: String::new(),
            },
            tasks: Vec::new(),
        };
        self.hear(Event::AgentSaid(connection, register));
    }

    fn accept(&mut self, framework: usize, offer: OfferId, sizes: &[u64], refuse: u64) {
        let tasks = sizes.iter().map(|size| {
            let id = format!("t{}", self.number()).parse().expect("an id");
            SharedTask::new(TaskInfo::new(id, Digest([0; 32]), cpus(*size)))
        });
        let tasks = tasks.collect();
        let accept = SchedulerCall::Accept {
            offers: vec![offer],
            operations: vec![Operation::Launch(tasks)],
            filters: Filters::refuse_for(Duration::from_secs(refuse)),
        };
        self.call(framework, accept);
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
            Step::Register(agent, size) => self.register(agent, size),
            Step::Break(agent) => {
                if let Some(connection) = self.agents.remove(&agent) {
                    self.hear(Event::AgentDisconnected(connection));
                }
            }
            Step::Accept(framework, which, sizes, refuse) => {
                if let Some(offer) = self.offer(framework, which) {
                    self.accept(framework, offer, &sizes, refuse);
                }
            }
            Step::Decline(framework, which, refuse) => {
                let offers = self.offer(framework, which).into_iter().collect();
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
                    limit: Some(limit.map(amounts).unwrap_or_default()),
                };
                self.change_role(change, force);
            }
            Step::Teardown(framework) => {
                self.call(framework, SchedulerCall::Teardown);
                self.frameworks.remove(&framework);
            }
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
        }
    }
}

/// A framework in these roles; in the first of them it wants a whole CPU at the least.
fn info(roles: &[usize]) -> FrameworkInfo {
    let mut info = FrameworkInfo::new("random", roles.iter().map(|at| role(*at)));
    let filters = OfferFilters {
        min_allocatable: Some(vec![Resources::new(1000, 0)]),
        constraints: None,
        revocable: false,
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
    ) {
        let policy = if by_priority { BuiltInPolicy::Priority } else { BuiltInPolicy::Drf };
        let mut world = World::new(policy);
        for step in steps {
            world.take(step);
        }
    }
}
