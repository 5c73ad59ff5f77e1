//! A master's core alone, with agents and frameworks that say only what they are told to say: for
//! figures about decisions, in which nothing but the core is timed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nesos_master_core::{
    ConnectionId, Decisions, Effect, Event, Master, MasterConfig, NewPolicy, OperatorReply,
    OperatorRequest, RequestId,
};
use nesos_tests::stage::agent_info;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, OfferId, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Demand, Filters, Offer, Operation};
use nesos_types::resources::{Amounts, Resources, Scalar};
use nesos_types::role::{Role, RoleChange};
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskState, TaskStatus};
use nesos_types::time::Time;

/// The master, and who is connected to it.
pub(crate) struct Field {
    master: Master,
    now: Time,
    decisions: Decisions,
    next_connection: u64,
    agents: Vec<Agent>,
    frameworks: Vec<Framework>,
    /// Offers that were made and not yet taken from here.
    offers: VecDeque<(usize, Offer)>,
    next_task: u64,
}

struct Agent {
    connection: ConnectionId,
    id: Option<AgentId>,
}

struct Framework {
    connection: ConnectionId,
    id: Option<FrameworkId>,
}

impl Field {
    pub(crate) fn new(config: MasterConfig) -> Self {
        let now = Time::ZERO + Duration::from_secs(3600);
        Self {
            master: Master::recover(config, [7; 32], now, []),
            now,
            decisions: Decisions::default(),
            next_connection: 0,
            agents: Vec::new(),
            frameworks: Vec::new(),
            offers: VecDeque::new(),
            next_task: 0,
        }
    }

    fn connect(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId(self.next_connection)
    }

    /// Frameworks, each of one role.
    pub(crate) fn add_frameworks(&mut self, count: usize, role: impl Fn(usize) -> Role) {
        for index in 0..count {
            let connection = self.connect();
            self.frameworks.push(Framework {
                connection,
                id: None,
            });
            self.hear(Event::SchedulerConnected(connection));
            let subscribe = SchedulerCall::Subscribe {
                framework: None,
                info: FrameworkInfo::new(format!("framework {index}"), [role(index)]),
                suppressed: std::collections::BTreeSet::new(),
            };
            self.hear(Event::SchedulerCalled(connection, subscribe));
        }
    }

    /// Agents of equal size.
    pub(crate) fn add_agents(&mut self, count: usize, resources: &Resources) {
        for _ in 0..count {
            self.add_agent(resources.clone());
        }
    }

    /// Answers how long the core took to let it join.
    pub(crate) fn add_agent(&mut self, resources: Resources) -> Duration {
        let connection = self.connect();
        let index = self.agents.len();
        self.agents.push(Agent {
            connection,
            id: None,
        });
        self.hear(Event::AgentConnected(connection));
        let register = AgentEvent::Register {
            agent: None,
            info: agent_info(&format!("host{index}"), resources),
            tasks: Vec::new(),
        };
        self.hear(Event::AgentSaid(connection, register))
    }

    /// Hands the core an event, and looks at what it decides. Answers how long the core took.
    pub(crate) fn hear(&mut self, event: Event) -> Duration {
        let began = Instant::now();
        self.master.handle(self.now, event, &mut self.decisions);
        let took = began.elapsed();
        self.look();
        took
    }

    /// An operator sets the policy.
    pub(crate) fn set_policy(&mut self, policy: NewPolicy) {
        self.master
            .set_policy(self.now, policy, &mut self.decisions);
        self.look();
    }

    /// Lets the core do what is due now.
    pub(crate) fn tick(&mut self) -> Duration {
        self.hear(Event::Tick)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn look(&mut self) {
        self.decisions.records.clear();
        for effect in std::mem::take(&mut self.decisions.effects) {
            match effect {
                Effect::ToScheduler(connection, event) => self.tell_framework(connection, event),
                Effect::ToAgent(connection, AgentCommand::Registered { agent, .. }) => {
                    if let Some(known) = self
                        .agents
                        .iter_mut()
                        .rev()
                        .find(|known| known.connection == connection)
                    {
                        known.id = Some(agent);
                    }
                }
                Effect::Reply(_, reply) => assert_eq!(reply, OperatorReply::Done, "it is sound"),
                Effect::ToAgent(..) | Effect::Close(_) | Effect::Observed(_) => {}
            }
        }
    }

    fn tell_framework(&mut self, connection: ConnectionId, event: SchedulerEvent) {
        let Ok(index) = self
            .frameworks
            .binary_search_by_key(&connection, |one| one.connection)
        else {
            return;
        };
        match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                self.frameworks[index].id = Some(framework);
            }
            SchedulerEvent::Offers(offers) => {
                self.offers
                    .extend(offers.into_iter().map(|offer| (index, offer)));
            }
            _ => {}
        }
    }

    /// An offer that was made, with the framework that has it.
    pub(crate) fn next_offer(&mut self) -> Option<(usize, Offer)> {
        self.offers.pop_front()
    }

    /// How many offers wait to be looked at.
    pub(crate) fn offers(&self) -> usize {
        self.offers.len()
    }

    /// A framework turns an offer down.
    pub(crate) fn decline(&mut self, framework: usize, offer: OfferId, filters: Filters) {
        let decline = SchedulerCall::Decline {
            offers: vec![offer],
            filters,
        };
        self.call(framework, decline);
    }

    /// A framework starts one task on all of an offer; answers the task.
    pub(crate) fn launch(&mut self, framework: usize, offer: &Offer) -> SharedTask {
        self.timed_launch(framework, offer).0
    }

    /// The same; answers how long the core took, too.
    pub(crate) fn timed_launch(
        &mut self,
        framework: usize,
        offer: &Offer,
    ) -> (SharedTask, Duration) {
        self.next_task += 1;
        let id = format!("task-{}", self.next_task)
            .parse()
            .expect("a good id");
        let info = TaskInfo::new(id, Digest([1; 32]), offer.resources.clone());
        let task = SharedTask::new(info);
        let accept = SchedulerCall::Accept {
            offers: vec![offer.id],
            operations: vec![Operation::Launch(vec![task.clone()])],
            filters: Filters::default(),
        };
        let took = self.call(framework, accept);
        (task, took)
    }

    /// What an agent says when a task has finished.
    pub(crate) fn finished(&mut self, agent: usize, framework: usize, task: &SharedTask) -> Event {
        self.next_task += 1;
        let mut status = TaskStatus::new(
            task.id.clone(),
            TaskState::Finished,
            StatusSource::Agent,
            self.now,
        );
        status.update = Some(UpdateId(u128::from(self.next_task)));
        status.agent = self.agents[agent].id;
        let update = AgentEvent::Update {
            framework: self.frameworks[framework].id.expect("it has subscribed"),
            status,
            latest: TaskState::Finished,
        };
        Event::AgentSaid(self.agents[agent].connection, update)
    }

    /// A framework has dealt with the last thing that an agent said of a task.
    pub(crate) fn acknowledge(
        &mut self,
        agent: usize,
        framework: usize,
        task: &SharedTask,
    ) -> Duration {
        let acknowledge = SchedulerCall::Acknowledge {
            agent: self.agents[agent].id.expect("it has registered"),
            task: task.id.clone(),
            update: UpdateId(u128::from(self.next_task)),
        };
        self.call(framework, acknowledge)
    }

    /// A framework wants no offers for now.
    pub(crate) fn suppress(&mut self, framework: usize) {
        let roles = [].into();
        self.call(framework, SchedulerCall::Suppress { roles });
    }

    /// A framework says that it waits for more than any agent has.
    pub(crate) fn demand_too_much(&mut self, framework: usize) {
        let demand = Demand {
            role: format!("role{framework}").parse().expect("a good name"),
            resources: Resources::new(1_000_000_000, 0),
            count: 1,
        };
        let demands = vec![demand];
        self.call(framework, SchedulerCall::Request { demands });
    }

    /// A framework calls.
    pub(crate) fn call(&mut self, framework: usize, call: SchedulerCall) -> Duration {
        let connection = self.frameworks[framework].connection;
        self.hear(Event::SchedulerCalled(connection, call))
    }

    /// An operator guarantees each of these roles one CPU, and allows it a hundred.
    pub(crate) fn set_quotas(&mut self, roles: impl Iterator<Item = Role>) {
        let changes = roles.map(|role| RoleChange {
            guarantee: Some(Amounts::default().with(Scalar::Cpu, 1_000)),
            limit: Some(Amounts::default().with(Scalar::Cpu, 100_000)),
            ..RoleChange::of(role)
        });
        let change = OperatorRequest::ChangeRoles {
            changes: changes.collect(),
            force: false,
        };
        self.hear(Event::Operator(RequestId(0), change));
    }
}
