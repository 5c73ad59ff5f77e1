//! Explanations: for a framework that waits, agent by agent, the first rule that blocked.

use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::role::Role;
use nesos_types::time::Time;
use serde::Serialize;

/// Why a framework has no further offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The framework.
    pub framework: FrameworkId,
    /// What holds for all of its roles and agents, if something does.
    pub overall: Option<Blocked>,
    /// Role by role, by name.
    pub roles: Vec<RoleExplanation>,
}

/// Why a framework has no further offers in one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleExplanation {
    /// The role.
    pub role: Role,
    /// Agents, grouped by what blocked.
    pub groups: Vec<BlockedGroup>,
}

/// Agents for which the same rule blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedGroup {
    /// The rule.
    pub blocked: Blocked,
    /// The agents, by id.
    pub agents: Vec<AgentId>,
}

/// The first rule that kept an agent's resources from a framework, in the order of the allocator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Blocked {
    /// No framework has this id, or it was removed.
    FrameworkUnknown,
    /// The framework's scheduler is not connected.
    FrameworkDisconnected,
    /// The framework subscribes in no role.
    NoRole,
    /// There is no agent.
    NoAgent,
    /// The framework suppressed offers in this role; it has to revive them.
    Suppressed,
    /// The agent has not come back since the master restarted.
    AgentRecovered,
    /// The agent's connection broke.
    AgentDisconnected {
        /// When.
        since: Time,
    },
    /// The framework itself holds an offer of all that the agent has left.
    OfferedToYou {
        /// Since when.
        since: Time,
    },
    /// Another framework holds an offer of all that the agent has left.
    OfferedTo {
        /// Which.
        framework: FrameworkId,
        /// Since when.
        since: Time,
    },
    /// Tasks use all of the agent.
    Allocated,
    /// What is left is below the minimum that is worth an offer.
    BelowMinimum,
    /// The framework turned down as much or more.
    Filtered {
        /// Until when.
        until: Time,
    },
    /// Nothing blocks: the resources are about to be offered, to this framework or to one whose turn
    /// comes first.
    NextInLine,
}
