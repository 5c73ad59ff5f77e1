//! The experiment of delay scheduling (Zaharia et al., EuroSys 2010; Hindman et al., "Mesos", NSDI 2011):
//! many frameworks whose tasks have their data on three machines each, on the real core of a master and
//! with the policy of the SDK, on a virtual clock. How many tasks run where their data is, and how long
//! do jobs take, if frameworks wait 0, 1 or 5 s, or share nothing at all?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use nesos_master_core::{ConnectionId, Decisions, Effect, Event, Master, MasterConfig};
use nesos_sdk::{DelayPolicy, Preference};
use nesos_types::agent::Attribute;
use nesos_types::bundle::Digest;
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskState, TaskStatus};
use nesos_types::time::Time;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::stage::agent_info;

const AGENTS: usize = 93;
const SLOTS: u64 = 4;
const FRAMEWORKS: usize = 16;
const TASKS: usize = 100;
const REPLICAS: usize = 3;

/// How frameworks share the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each has machines of its own and takes whatever slot is free.
    Static,
    /// All share all machines, and each waits so long for a local slot.
    Delay(Duration),
}

/// By whose rules the master allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Ours: what is freed is offered at once.
    Nesos,
    /// Those of Mesos: once a second.
    Mesos,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The part of all tasks that ran where their data was.
    pub local: f64,
    /// The mean time from the start to the end of a framework's last task, in seconds.
    pub job_seconds: f64,
    /// The part of all slots that were busy until the first framework was done.
    pub utilisation: f64,
    /// The largest distance of a framework's mean part of the busy slots from a sixteenth until the
    /// first framework was done, as a part of a sixteenth.
    pub unfairness: f64,
}

/// Runs the experiment.
///
/// # Panics
/// If the core does what a scheduler does not expect: that is a bug.
#[must_use]
pub fn run(sharing: Sharing, rules: Rules, seed: u64) -> Outcome {
    let mut world = World::new(sharing, rules, seed);
    world.run();
    world.outcome()
}

struct Framework {
    id: Option<FrameworkId>,
    policy: DelayPolicy,
    /// Tasks that wait, by number, each with its preference and how long it runs if it is local.
    waiting: Vec<Waiting>,
    unfinished: usize,
    done_at: Time,
    running: u64,
    /// Slots held, summed over time.
    slot_seconds: f64,
}

struct Waiting {
    id: TaskId,
    preference: Preference,
    runs: Duration,
}

/// A task that will end.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    at: Time,
    agent: usize,
    framework: usize,
    task: TaskId,
}

struct World {
    master: Master,
    now: Time,
    start: Time,
    decisions: Decisions,
    agents: Vec<AgentId>,
    frameworks: Vec<Framework>,
    endings: BinaryHeap<Reverse<Ending>>,
    local: usize,
    updates: u128,
    /// When the first framework was done.
    contended_until: Option<Time>,
}

fn slot() -> Resources {
    Resources::new(1000, 1 << 30)
}

/// Connections: agents first, then frameworks.
fn agent_connection(agent: usize) -> ConnectionId {
    ConnectionId(agent as u64)
}

fn scheduler_connection(framework: usize) -> ConnectionId {
    ConnectionId((AGENTS + framework) as u64)
}

fn config(rules: Rules) -> MasterConfig {
    let never = Duration::from_secs(365 * 24 * 3600);
    let window = match rules {
        Rules::Nesos => Duration::ZERO,
        Rules::Mesos => Duration::from_secs(1),
    };
    MasterConfig {
        // Nobody is silent here, and nobody says that he is there.
        ping_interval: never,
        heartbeat_interval: never,
        offer_timeout: None,
        allocation_window: window,
        ..MasterConfig::default()
    }
}

impl World {
    fn new(sharing: Sharing, rules: Rules, seed: u64) -> Self {
        let now = Time::ZERO + Duration::from_secs(3600);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = Self {
            master: Master::recover(config(rules), random.random(), now, []),
            now,
            start: now,
            decisions: Decisions::default(),
            agents: Vec::new(),
            frameworks: Vec::new(),
            endings: BinaryHeap::new(),
            local: 0,
            updates: 0,
            contended_until: None,
        };
        for agent in 0..AGENTS {
            world.add_agent(agent);
        }
        for framework in 0..FRAMEWORKS {
            world.add_framework(framework, sharing, &mut random);
        }
        world
    }

    fn add_agent(&mut self, agent: usize) {
        let resources = Resources::new(SLOTS * 1000, SLOTS << 30);
        let mut info = agent_info(&format!("host{agent}"), resources);
        let owner = Attribute::Text((agent % FRAMEWORKS).to_string());
        info.attributes.insert("owner".to_owned(), owner);
        self.hear(Event::AgentConnected(agent_connection(agent)));
        let register = AgentEvent::Register {
            agent: None,
            info,
            tasks: Vec::new(),
        };
        self.hear(Event::AgentSaid(agent_connection(agent), register));
    }

    fn add_framework(&mut self, framework: usize, sharing: Sharing, random: &mut ChaCha8Rng) {
        let wait = match sharing {
            Sharing::Static => Duration::ZERO,
            Sharing::Delay(wait) => wait,
        };
        let waiting = (0..TASKS).map(|number| Waiting {
            id: format!("{framework}-{number}").parse().expect("an id"),
            preference: Preference::agents(
                index::sample(random, AGENTS, REPLICAS)
                    .into_iter()
                    .map(|agent| self.agents[agent]),
            ),
            runs: Duration::from_millis(random.random_range(10_000..=20_000)),
        });
        let waiting = waiting.collect();
        self.frameworks.push(Framework {
            id: None,
            policy: DelayPolicy::new(wait),
            waiting,
            unfinished: TASKS,
            done_at: Time::MAX,
            running: 0,
            slot_seconds: 0.0,
        });
        let connection = scheduler_connection(framework);
        self.hear(Event::SchedulerConnected(connection));
        let subscribe = SchedulerCall::Subscribe {
            framework: None,
            info: framework_info(framework, sharing),
            suppressed: BTreeSet::new(),
        };
        self.hear(Event::SchedulerCalled(connection, subscribe));
    }

    /// Lets everything happen in its order until every task has ended.
    fn run(&mut self) {
        while self
            .frameworks
            .iter()
            .any(|framework| framework.unfinished > 0)
        {
            let ending = self.endings.peek().map(|Reverse(ending)| ending.at);
            let deadline = self.master.next_deadline();
            let next = ending.into_iter().chain(deadline).min();
            self.pass_to(next.expect("something is always to happen").max(self.now));
            if deadline.is_some_and(|due| due <= self.now) {
                self.hear(Event::Tick);
            } else if let Some(Reverse(ending)) = self.endings.pop() {
                self.end(ending);
            }
        }
    }

    fn pass_to(&mut self, now: Time) {
        let passed = now.since(self.now).as_secs_f64();
        self.now = now;
        if self.contended_until.is_none() {
            for framework in &mut self.frameworks {
                #[expect(clippy::cast_precision_loss, reason = "a few hundred slots")]
                let running = framework.running as f64;
                framework.slot_seconds += running * passed;
            }
        }
    }

    fn hear(&mut self, event: Event) {
        self.master.handle(self.now, event, &mut self.decisions);
        self.decisions.records.clear();
        for effect in std::mem::take(&mut self.decisions.effects) {
            match effect {
                Effect::ToAgent(_, AgentCommand::Registered { agent, .. }) => {
                    self.agents.push(agent);
                }
                Effect::ToScheduler(connection, event) => {
                    let at = usize::try_from(connection.0).expect("a small number");
                    self.tell(at - AGENTS, event);
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, framework: usize, event: SchedulerEvent) {
        match event {
            SchedulerEvent::Subscribed { framework: id, .. } => {
                self.frameworks[framework].id = Some(id);
            }
            SchedulerEvent::Offers(offers) => {
                for offer in offers {
                    self.answer(framework, &offer);
                }
            }
            SchedulerEvent::Update(status) => {
                assert_eq!(status.state, TaskState::Finished, "{status:?}");
                if let (Some(agent), Some(update)) = (status.agent, status.update) {
                    let acknowledge = SchedulerCall::Acknowledge {
                        agent,
                        task: status.task,
                        update,
                    };
                    self.call(framework, acknowledge);
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, framework: usize, call: SchedulerCall) {
        let connection = scheduler_connection(framework);
        self.hear(Event::SchedulerCalled(connection, call));
    }

    /// A framework does what its policy says.
    fn answer(&mut self, framework: usize, offer: &Offer) {
        let slot = slot();
        let own = &mut self.frameworks[framework];
        let waiting = own.waiting.iter().map(|task| (&slot, &task.preference));
        let choice = own.policy.choose(self.now, offer, waiting);
        let chosen: BTreeSet<usize> = choice.tasks.into_iter().collect();
        if chosen.is_empty() {
            let offers = vec![offer.id];
            let filters = choice.filters;
            return self.call(framework, SchedulerCall::Decline { offers, filters });
        }
        let agent = self.agents.iter().position(|agent| *agent == offer.agent);
        let agent = agent.expect("offers are of agents that are there");
        let mut place = 0..;
        let taken = own
            .waiting
            .extract_if(.., |_| place.next().is_some_and(|at| chosen.contains(&at)));
        let mut tasks = Vec::new();
        for task in taken {
            let is_local = task.preference.is_local(offer);
            self.local += usize::from(is_local);
            own.running += 1;
            let runs = if is_local {
                task.runs
            } else {
                task.runs.mul_f64(1.7)
            };
            self.endings.push(Reverse(Ending {
                at: self.now + runs,
                agent,
                framework,
                task: task.id.clone(),
            }));
            let info = TaskInfo::new(task.id, Digest([0; 32]), slot.clone());
            tasks.push(SharedTask::new(info));
        }
        let accept = SchedulerCall::Accept {
            offers: vec![offer.id],
            operations: vec![Operation::Launch(tasks)],
            filters: choice.filters,
        };
        self.call(framework, accept);
    }

    fn end(&mut self, ending: Ending) {
        let framework = &mut self.frameworks[ending.framework];
        framework.running -= 1;
        framework.unfinished -= 1;
        if framework.unfinished == 0 {
            framework.done_at = self.now;
        }
        if framework.waiting.is_empty() && self.contended_until.is_none() {
            self.contended_until = Some(self.now);
        }
        let framework = framework.id.expect("it has subscribed");
        self.updates += 1;
        let mut status = TaskStatus::new(
            ending.task,
            TaskState::Finished,
            StatusSource::Agent,
            self.now,
        );
        status.update = Some(UpdateId(self.updates));
        status.agent = Some(self.agents[ending.agent]);
        let update = AgentEvent::Update {
            framework,
            status,
            latest: TaskState::Finished,
        };
        self.hear(Event::AgentSaid(agent_connection(ending.agent), update));
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn outcome(&self) -> Outcome {
        let ends = self.frameworks.iter();
        let job_seconds: f64 = ends
            .map(|framework| framework.done_at.since(self.start).as_secs_f64())
            .sum();
        let until = self.contended_until.unwrap_or(self.now);
        let slots = AGENTS as f64 * SLOTS as f64 * until.since(self.start).as_secs_f64();
        let held: Vec<f64> = self.frameworks.iter().map(|one| one.slot_seconds).collect();
        let busy: f64 = held.iter().sum();
        let fair = busy / FRAMEWORKS as f64;
        let off = held.iter().map(|held| (held - fair).abs() / fair);
        Outcome {
            local: self.local as f64 / (FRAMEWORKS * TASKS) as f64,
            job_seconds: job_seconds / FRAMEWORKS as f64,
            utilisation: busy / slots,
            unfairness: off.fold(0.0, f64::max),
        }
    }
}

/// Each framework has a role of its own; with machines of its own it wants to see no others.
fn framework_info(framework: usize, sharing: Sharing) -> FrameworkInfo {
    let role: Role = format!("role{framework}").parse().expect("a role");
    let mut info = FrameworkInfo::new(format!("framework {framework}"), [role.clone()]);
    if sharing == Sharing::Static {
        let own = Predicate::TextEquals(framework.to_string());
        let constraints = OfferConstraints::all(vec![Constraint::attribute("owner", own)]);
        let filters = OfferFilters {
            constraints: Some(constraints),
            ..OfferFilters::default()
        };
        info.offer_filters = BTreeMap::from([(role, filters)]);
    }
    info
}
