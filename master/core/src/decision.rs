//! Decisions: the durable facts and the effects that come of an event.

use std::fmt;
use std::sync::Arc;

use nesos_types::agent::{AgentInfo, AgentOrders};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, TaskKey};
use nesos_types::message::{AgentCommand, SchedulerEvent};
use nesos_types::reservation::{ReservationRefusal, SetApart};
use nesos_types::role::{Role, RoleRefusal, RoleSettings};
use nesos_types::task::{TaskReason, TaskState};
use nesos_types::time::Time;
use serde::{Deserialize, Serialize};

use crate::event::{ConnectionId, RequestId};
use crate::policy::PolicyChoice;
use crate::snapshot::PolicyView;

/// What the master decided. The driver makes the records durable and only then performs the effects,
/// both in order. It may gather the decisions of many events before it does so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Durable facts.
    pub records: Vec<Record>,
    /// What leaves the core.
    pub effects: Vec<Effect>,
}

impl Decisions {
    /// Whether nothing was decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.effects.is_empty()
    }

    /// Forgets everything but keeps the memory, for the next batch.
    pub fn clear(&mut self) {
        self.records.clear();
        self.effects.clear();
    }

    pub(crate) fn tell_scheduler(&mut self, connection: ConnectionId, event: SchedulerEvent) {
        self.effects.push(Effect::ToScheduler(connection, event));
    }

    pub(crate) fn tell_agent(&mut self, connection: ConnectionId, command: AgentCommand) {
        self.effects.push(Effect::ToAgent(connection, command));
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.effects.push(Effect::Close(connection));
    }

    pub(crate) fn observed(&mut self, happening: Happening) {
        self.effects.push(Effect::Observed(happening));
    }
}

/// A durable fact about one subject.
///
/// Each record says all that is to be remembered of its subject, so that a store need keep only the
/// newest record of each [`Subject`], and may hand them back in any order. Fields are only ever added,
/// with a default; a record is to be stored in a form that names its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A framework subscribed for the first time, or subscribed again with another description.
    FrameworkSubscribed {
        /// Its id.
        framework: FrameworkId,
        /// What it says of itself.
        info: Arc<FrameworkInfo>,
        /// When its id was given out.
        since: Time,
    },
    /// A framework was torn down or stayed away too long: its id is barred.
    FrameworkRemoved {
        /// The barred id.
        framework: FrameworkId,
        /// What it said of itself.
        info: Arc<FrameworkInfo>,
        /// When its id was given out.
        since: Time,
        /// When it was removed.
        at: Time,
    },
    /// An agent joined, came back after it was unreachable, or came back changed.
    AgentAdmitted {
        /// Its id.
        agent: AgentId,
        /// What it says of itself.
        info: Arc<AgentInfo>,
        /// When its id was given out.
        since: Time,
    },
    /// An agent was lost from sight. It may come back.
    AgentUnreachable {
        /// Its id.
        agent: AgentId,
        /// Its host, for people.
        hostname: String,
        /// When its id was given out.
        since: Time,
        /// When it was given up.
        at: Time,
    },
    /// An agent left for good: its id is barred.
    AgentRemoved {
        /// The barred id.
        agent: AgentId,
        /// Its host, for people.
        hostname: String,
        /// When it left.
        at: Time,
    },
    /// An operator has vouched that an agent is gone: its id is barred.
    AgentGone {
        /// The barred id.
        agent: AgentId,
        /// Its host, for people.
        hostname: String,
        /// When that was said.
        at: Time,
    },
    /// An operator has decided something about an agent.
    AgentOrdered {
        /// The agent.
        agent: AgentId,
        /// All that is decided about it.
        orders: AgentOrders,
    },
    /// What is set apart on an agent has changed.
    SetApart {
        /// The agent.
        agent: AgentId,
        /// All that is set apart on it at run time: reservations and volumes.
        set_apart: SetApart,
    },
    /// An operator has decided something about a role.
    RoleChanged {
        /// The role.
        role: Role,
        /// All that is decided about it.
        settings: RoleSettings,
    },
    /// An operator has chosen who decides in which order frameworks are served.
    PolicySet {
        /// The choice.
        policy: PolicyChoice,
    },
    /// A subject is to be forgotten, because there are too many of its kind, or because there is
    /// nothing to say about it any more. The store drops it.
    Forgotten(Subject),
}

impl Record {
    /// What the record is about: the key under which a store keeps it.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::FrameworkSubscribed { framework, .. }
            | Self::FrameworkRemoved { framework, .. } => Subject::Framework(*framework),
            Self::AgentAdmitted { agent, .. }
            | Self::AgentUnreachable { agent, .. }
            | Self::AgentRemoved { agent, .. }
            | Self::AgentGone { agent, .. } => Subject::Agent(*agent),
            Self::AgentOrdered { agent, .. } => Subject::AgentOrders(*agent),
            Self::SetApart { agent, .. } => Subject::SetApart(*agent),
            Self::RoleChanged { role, .. } => Subject::Role(role.clone()),
            Self::PolicySet { .. } => Subject::Policy,
            Self::Forgotten(subject) => subject.clone(),
        }
    }
}

/// What a [`Record`] is about. Its text is a good key for a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A framework.
    Framework(FrameworkId),
    /// An agent.
    Agent(AgentId),
    /// What operators have decided of an agent.
    AgentOrders(AgentId),
    /// What is set apart on an agent.
    SetApart(AgentId),
    /// A role.
    Role(Role),
    /// The policy; there is one.
    Policy,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Framework(id) => id.fmt(f),
            Self::Agent(id) => id.fmt(f),
            Self::AgentOrders(agent) => write!(f, "orders/{agent}"),
            Self::SetApart(agent) => write!(f, "set-apart/{agent}"),
            // Kept away from the ids, whatever the role is called.
            Self::Role(role) => write!(f, "role/{role}"),
            Self::Policy => f.write_str("policy"),
        }
    }
}

/// Something that leaves the core. An effect for a connection that is gone is dropped by the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A message to a scheduler. Messages of one connection keep their order.
    ToScheduler(ConnectionId, SchedulerEvent),
    /// A message to an agent. Messages of one connection keep their order.
    ToAgent(ConnectionId, AgentCommand),
    /// End a connection after what was sent to it so far. The master has forgotten the connection
    /// already: its end need not be reported, and whatever it still says is ignored.
    Close(ConnectionId),
    /// The one reply to an operator's request.
    Reply(RequestId, OperatorReply),
    /// Something that an operator may watch. Dropped where nobody does.
    Observed(Happening),
}

/// How an operator's request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorReply {
    /// It is done, or under way.
    Done,
    /// So many agents were told.
    Prewarming(u32),
    /// No agent has this id, or none that this can be done with.
    AgentUnknown(AgentId),
    /// An agent that is being drained cannot be told that.
    AgentDraining(AgentId),
    /// No live framework has this id.
    FrameworkUnknown(FrameworkId),
    /// The framework has no live task of this id.
    TaskUnknown,
    /// Roles were not changed, none of them.
    RolesRefused(RoleRefusal),
    /// Nothing was set apart or given back.
    ReservationRefused(ReservationRefusal),
}

/// Something that happened, for the stream of events that operators may watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// An agent joined, or came back.
    AgentAdded {
        /// The agent.
        agent: AgentId,
        /// Its host.
        hostname: String,
    },
    /// An agent lost its connection and may come back.
    AgentDisconnected(AgentId),
    /// An agent is unreachable or left for good.
    AgentRemoved(AgentId),
    /// Agents that do not come back are not taken for lost any more: too many were that the master knew when it
    /// restarted.
    RemovalLimitReached {
        /// How many of them were.
        removed: usize,
        /// How many it knew.
        known: usize,
    },
    /// An operator has decided something about an agent, or what was decided is done.
    AgentOrdered(AgentId),
    /// What is set apart on an agent has changed: reservations or volumes.
    ReservationsChanged(AgentId),
    /// An operator has decided something about a role.
    RoleChanged(Role),
    /// Another policy decides in which order frameworks are served, or a plug-in has failed and DRF
    /// decides in its place.
    PolicyChanged(PolicyView),
    /// A framework subscribed for the first time.
    FrameworkAdded {
        /// The framework.
        framework: FrameworkId,
        /// Its name.
        name: String,
    },
    /// A framework subscribed again, or changed.
    FrameworkUpdated(FrameworkId),
    /// A framework's scheduler is gone; its tasks live on until its failover timeout.
    FrameworkDisconnected(FrameworkId),
    /// A framework was removed.
    FrameworkRemoved(FrameworkId),
    /// A task was sent to its agent, or an agent brought it back.
    TaskAdded {
        /// The task.
        key: TaskKey,
        /// Its agent.
        agent: AgentId,
    },
    /// A task's latest state changed.
    TaskUpdated {
        /// The task.
        key: TaskKey,
        /// Its agent.
        agent: AgentId,
        /// The new state.
        state: TaskState,
        /// Why, where it is known.
        reason: Option<TaskReason>,
    },
}
