//! What the levels say to one another. Commands go down a stream, events come up it; every event
//! that must not be lost carries an id and is repeated until it is acknowledged.
//!
//! Seen from the master a scheduler is the other way round: it *calls* and is told of *events*.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::agent::AgentInfo;
use crate::bundle::{Digest, Repository};
use crate::executor::Correspondent;
use crate::framework::FrameworkInfo;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId, TaskKey, UpdateId};
use crate::offer::{Demand, Filters, Offer, Operation};
use crate::reservation::SetApart;
use crate::role::Role;
use crate::task::{SharedTask, TaskReason, TaskState, TaskStatus};

/// What a scheduler asks of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchedulerCall {
    /// Opens the conversation. A known id resumes the framework on this stream and ends the older one.
    Subscribe {
        /// `None` for a new framework; else the id that an earlier `Subscribed` gave.
        framework: Option<FrameworkId>,
        /// What the framework says of itself.
        info: FrameworkInfo,
        /// Roles in which it wants no offers until it revives them.
        suppressed: BTreeSet<Role>,
    },
    /// Ends the framework for good: its tasks are killed and its id is barred.
    Teardown,
    /// Uses offers: all of one agent and one role. What the operations leave over is declined.
    Accept {
        /// The offers, each named once.
        offers: Vec<OfferId>,
        /// Applied in order.
        operations: Vec<Operation>,
        /// For what is left over.
        filters: Filters,
    },
    /// Turns offers down.
    Decline {
        /// The offers; those that are gone or not the caller's are skipped.
        offers: Vec<OfferId>,
        /// For how long.
        filters: Filters,
    },
    /// Says what the framework waits for, in all of its roles, in place of what it said before. A role
    /// without a demand is offered nothing; one with demands is offered only agents on which one of them
    /// fits. Each launch of exactly those resources takes one off. An empty list: it waits for
    /// nothing. Said anew on each subscription; until then it is offered whatever there is.
    Request {
        /// The demands.
        demands: Vec<Demand>,
    },
    /// Changes what the framework says of itself: all of it, or nothing.
    UpdateFramework {
        /// What it says now. The principal cannot change.
        info: FrameworkInfo,
        /// Roles in which it wants no offers until it revives them.
        suppressed: BTreeSet<Role>,
    },
    /// Wants offers again and clears the filters.
    Revive {
        /// The roles; empty means all of the framework's.
        roles: BTreeSet<Role>,
    },
    /// Wants no offers for now. Outstanding offers stay.
    Suppress {
        /// The roles; empty means all of the framework's.
        roles: BTreeSet<Role>,
    },
    /// Ends a task. Killing a task that is not known is answered like a reconciliation of it.
    Kill {
        /// The task.
        task: TaskId,
        /// How long the guest has to end by itself; overrides the task's own grace and can only
        /// shorten the grace of an earlier kill.
        grace: Option<Duration>,
    },
    /// Says that a status with an update id has been dealt with.
    Acknowledge {
        /// The status' agent.
        agent: AgentId,
        /// The status' task.
        task: TaskId,
        /// The status' update id.
        update: UpdateId,
    },
    /// Asks for the state of tasks: of these, or of all if the list is empty.
    Reconcile {
        /// The tasks, each with its agent if the scheduler knows it.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// Sends bytes to a guest. At most once, in order: nothing is repeated, and what cannot be delivered is
    /// dropped.
    Message {
        /// On which agent.
        agent: AgentId,
        /// To whom.
        to: Correspondent,
        /// At most [`MAX_MESSAGE_BYTES`](crate::executor::MAX_MESSAGE_BYTES).
        data: Vec<u8>,
    },
    /// Ends an executor's run, and its tasks with it.
    ShutdownExecutor {
        /// On which agent.
        agent: AgentId,
        /// Which executor.
        executor: ExecutorId,
        /// How long it has to end by itself; overrides its own.
        grace: Option<Duration>,
    },
    /// Says nothing but that the scheduler lives.
    Heartbeat,
}

/// What the master tells a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchedulerEvent {
    /// The first event of a stream that was taken.
    Subscribed {
        /// The framework's id; to be kept and given again when subscribing after a disconnect.
        framework: FrameworkId,
        /// How often to expect (and send) a heartbeat where nothing else is said.
        heartbeat: Duration,
    },
    /// New offers.
    Offers(Vec<Offer>),
    /// An offer is no longer valid.
    Rescind(OfferId),
    /// A task's status. To be acknowledged if it has an update id.
    Update(TaskStatus),
    /// An agent was lost. Best effort; the tasks' own statuses are what counts.
    AgentLost(AgentId),
    /// A guest has sent bytes. At most once, in order.
    Message {
        /// From which agent.
        agent: AgentId,
        /// From whom.
        from: Correspondent,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A run of an executor is over. Best effort; the tasks' own statuses are what counts.
    ExecutorEnded {
        /// On which agent.
        agent: AgentId,
        /// Which executor.
        executor: ExecutorId,
        /// How its run ended: finished, failed, killed or lost.
        state: TaskState,
        /// Why.
        reason: Option<TaskReason>,
        /// One line for a person.
        message: String,
    },
    /// An [`UpdateFramework`](SchedulerCall::UpdateFramework) was taken. Each is answered by this or by a
    /// refusal, in the order of the calls.
    FrameworkUpdated,
    /// A call was refused. If the refusal is final the stream ends after it.
    Refused(Refusal),
    /// Nothing but that the master lives.
    Heartbeat,
}

/// Why something that was asked for was not done. A refusal is data, not a failure.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// A newer scheduler took over this framework.
    #[error("another scheduler has subscribed as this framework; this stream is over")]
    FailedOver,
    /// The framework was torn down or stayed away beyond its failover timeout. Its id is barred.
    #[error("framework {framework} has been removed; subscribe without an id to begin anew")]
    FrameworkRemoved {
        /// The barred id.
        framework: FrameworkId,
    },
    /// No framework has this id.
    #[error(
        "framework {framework} is not known to this master; subscribe without an id to begin anew"
    )]
    FrameworkUnknown {
        /// The id that was given.
        framework: FrameworkId,
    },
    /// The framework belongs to another principal.
    #[error("framework {framework} belongs to another principal")]
    PrincipalMismatch {
        /// The id that was given.
        framework: FrameworkId,
    },
    /// A call came before a successful subscription.
    #[error("the first call of a stream must be Subscribe")]
    NotSubscribed,
    /// The call does not make sense; nothing was changed.
    #[error("{call}: {why}")]
    InvalidCall {
        /// The call's name.
        call: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The other side sent a message that this version does not know.
    #[error("a message was not understood ({what}); is one side older than the other?")]
    UnknownMessage {
        /// Where it was found.
        what: String,
    },
    /// The other side did not read fast enough and was cut off.
    #[error("this stream was not read fast enough and has been cut; subscribe again")]
    TooSlow,
    /// An agent was removed and may not come back under its old id.
    #[error(
        "agent {agent} was removed from this cluster; start it with an empty state directory to join anew"
    )]
    AgentRemoved {
        /// The barred id.
        agent: AgentId,
    },
    /// An agent came back with less than is reserved on it.
    #[error(
        "{reserved} are set apart on agent {agent}, and it has only {offered}: give it back what it had, or undo the reservations"
    )]
    AgentShrunk {
        /// The agent.
        agent: AgentId,
        /// What is set apart on it.
        reserved: String,
        /// What it says that it has.
        offered: String,
    },
    /// Another agent process is connected under the same id.
    #[error("another process has connected as agent {agent}; this connection is over")]
    AgentReplaced {
        /// The id.
        agent: AgentId,
    },
}

impl Refusal {
    /// Whether the stream is over after this refusal.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::InvalidCall { .. } | Self::UnknownMessage { .. })
    }

    /// Whether subscribing again with the same id is pointless.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::FailedOver
                | Self::FrameworkRemoved { .. }
                | Self::FrameworkUnknown { .. }
                | Self::PrincipalMismatch { .. }
                | Self::AgentRemoved { .. }
                | Self::AgentReplaced { .. }
        )
    }
}

/// A task as an agent brings it back when it registers again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTask {
    /// The framework that launched it.
    pub framework: FrameworkId,
    /// The role that its resources are allocated to.
    pub role: Role,
    /// What was launched.
    pub task: SharedTask,
    /// The latest state, acknowledged or not.
    pub latest: TaskState,
    /// The oldest status that has not been acknowledged, if there is one.
    pub unacknowledged: Option<TaskStatus>,
}

/// What the master asks of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentCommand {
    /// The registration was taken.
    Registered {
        /// The agent's id; to be kept.
        agent: AgentId,
        /// How often the master pings, and how long a silence means that it is gone.
        ping_interval: Duration,
    },
    /// The agent may not join. The stream ends after it.
    Refused(Refusal),
    /// Launch tasks of one framework and role, in this order.
    Launch {
        /// The framework.
        framework: FrameworkId,
        /// The role that the resources are allocated to.
        role: Role,
        /// Whose signature the role wants on bundles, as PEM public keys: one of these. None: it wants none.
        signers: Arc<[String]>,
        /// The tasks. Those of one group stand together and are launched all or not at all.
        tasks: Vec<SharedTask>,
    },
    /// Pass bytes on to a guest: a task's, or the run's of an executor.
    Message {
        /// Whom.
        key: TaskKey,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Fetch and compile a bundle: tasks of it are expected.
    Prewarm {
        /// Which.
        bundle: Digest,
        /// Where it lies, as in [`TaskInfo`](crate::task::TaskInfo).
        repository: Option<Repository>,
    },
    /// End a task.
    Kill {
        /// The task.
        key: TaskKey,
        /// Overrides the task's grace.
        grace: Option<Duration>,
        /// Why: what the task's terminal status says.
        reason: TaskReason,
    },
    /// What is set apart on the agent at run time, all of it: reservations and volumes. Volumes that are
    /// not there are made, those that are not named are destroyed. Said with each registration and
    /// after each change.
    SetApart(SetApart),
    /// The scheduler has dealt with a status.
    Acknowledge {
        /// The task.
        key: TaskKey,
        /// The status' update id.
        update: UpdateId,
    },
    /// The framework is over: end its tasks, send no updates for them.
    ShutdownFramework(FrameworkId),
    /// Say what became of tasks that the master has and the registration did not bring.
    Reconcile(Vec<TaskKey>),
    /// Asks for a [`AgentEvent::Pong`].
    Ping,
}

/// What an agent tells the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// Opens the conversation.
    Register {
        /// `None` for a new agent; else the id that an earlier `Registered` gave.
        agent: Option<AgentId>,
        /// What the agent says of itself.
        info: AgentInfo,
        /// Tasks that it still has, terminal ones included until they are acknowledged.
        tasks: Vec<AgentTask>,
    },
    /// A task's status, repeated until it is acknowledged.
    Update {
        /// The framework.
        framework: FrameworkId,
        /// The status, the oldest that is not yet acknowledged.
        status: TaskStatus,
        /// The task's latest state, which may be further than the status.
        latest: TaskState,
    },
    /// Which bundles the agent has compiled and which no more, since it last said so on this connection.
    Bundles {
        /// Compiled now.
        compiled: Vec<Digest>,
        /// No more.
        dropped: Vec<Digest>,
    },
    /// How much of the CPU that tasks have accepted nobody uses, in thousandths of a core: it can be
    /// offered as revocable. Said when it has changed; until then it is zero.
    Slack {
        /// Thousandths of a core, those that revocable tasks use included.
        cpu_milli: u64,
    },
    /// A guest has sent bytes to its scheduler: a task's, or the run's of an executor.
    Message {
        /// Who.
        key: TaskKey,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Answers a ping.
    Pong,
    /// The agent leaves for good: its tasks are ended.
    Unregister,
}
