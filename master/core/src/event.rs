//! Events: what a door heard, handed to [`Master::handle`](crate::Master::handle).

use std::time::Duration;

use nesos_types::agent::Drain;
use nesos_types::bundle::{Digest, Repository};
use nesos_types::ids::{AgentId, FrameworkId, TaskId};
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::reservation::ReservationChange;
use nesos_types::role::RoleChange;

/// Names one connection of a scheduler or an agent. The doors choose the numbers; a number is never
/// used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Names one request of an operator, so that its reply finds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a door heard, or that time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A scheduler opened a stream. Raised by the scheduler door, once per connection.
    SchedulerConnected(ConnectionId),
    /// A scheduler called. Calls of one connection come in the order in which they were made.
    SchedulerCalled(ConnectionId, SchedulerCall),
    /// A scheduler's stream ended, for whatever reason. The last event of its connection.
    SchedulerDisconnected(ConnectionId),
    /// An agent opened a stream. Raised by the agent door, once per connection.
    AgentConnected(ConnectionId),
    /// An agent spoke. Events of one connection come in the order in which they were sent.
    AgentSaid(ConnectionId, AgentEvent),
    /// An agent's stream ended, for whatever reason. The last event of its connection.
    AgentDisconnected(ConnectionId),
    /// An operator asks something.
    Operator(RequestId, OperatorRequest),
    /// Deadlines may have passed. The driver raises it whenever [`Master::next_deadline`] has come,
    /// which includes "after each batch of events that left resources to allocate".
    ///
    /// [`Master::next_deadline`]: crate::Master::next_deadline
    Tick,
}

/// What an operator orders about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentOrder {
    /// Offer nothing of it.
    Deactivate,
    /// Offer it again. Refused while it is being drained.
    Reactivate,
    /// End its tasks, and offer nothing of it. One that is away is drained when it comes back.
    Drain(Drain),
    /// It is dead for certain: its tasks are, and it may never come back.
    Gone,
}

/// What an operator asks; always answered with one [`Effect::Reply`](crate::Effect::Reply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorRequest {
    /// End one task, as if its scheduler had asked.
    KillTask {
        /// The framework.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
        /// How long the guest has to end by itself; overrides the task's own, as in a scheduler's
        /// kill.
        grace: Option<Duration>,
    },
    /// End a framework for good: its tasks are killed and its id is barred.
    TeardownFramework(FrameworkId),
    /// Order something about an agent.
    OrderAgent {
        /// The agent.
        agent: AgentId,
        /// What.
        order: AgentOrder,
    },
    /// Set resources of an agent apart, or give them back, where no task uses them.
    ChangeReservations {
        /// The agent.
        agent: AgentId,
        /// The change.
        change: ReservationChange,
    },
    /// Have agents fetch and compile a bundle before the first task of it comes.
    PrewarmBundle {
        /// Where it lies, as in a task's description.
        repository: Option<Repository>,
        /// The bundle.
        bundle: Digest,
        /// The agents; none: all that are connected.
        agents: Vec<AgentId>,
    },
    /// Change weights, priorities and quotas of roles: all of the changes, or none.
    ChangeRoles {
        /// The changes, each of another role.
        changes: Vec<RoleChange>,
        /// Make them even if the cluster is too small for the guarantees, or tasks use more than a
        /// limit already. Nothing is killed for it.
        force: bool,
    },
}
