//! Explanations: for a framework that waits, agent by agent, the first rule that blocked. Who comes
//! first where no rule does is told in `explain/order.rs`.

use std::collections::BTreeMap;

use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::time::Time;
use serde::Serialize;

use crate::allocator::{AgentBlocked, Client};
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot};

mod order;

use order::Line;
pub use order::Precedence;

/// Why a framework has no further offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The framework.
    pub framework: FrameworkId,
    /// What holds for all of its roles and agents, if something does.
    pub overall: Option<Blocked>,
    /// When the allocator looks next, if it has anything to look at.
    pub next_allocation: Option<Time>,
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
    /// The framework has said that it waits for nothing in this role.
    NoDemand,
    /// The agent could not hold the task even if it had nothing else to do.
    AgentTooSmall,
    /// The task does not fit into what could be offered of the agent now.
    TooLittleFree,
    /// The agent has not come back since the master restarted.
    AgentRecovered,
    /// The agent has not come back since the master restarted, and is not taken for lost, for too many were.
    AgentHeld,
    /// The agent's connection broke.
    AgentDisconnected {
        /// When.
        since: Time,
    },
    /// An operator wants nothing of the agent to be offered.
    AgentDeactivated,
    /// An operator has the agent's tasks ended.
    AgentDraining,
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
    /// The agent holds as many sandboxes as it may.
    NoSandbox,
    /// The agent is not what the framework's offer constraints want.
    Constraint,
    /// Nothing that the framework has said to wait for fits into what is free.
    NoDemandFits,
    /// All that is free is reserved for a role that is neither the framework's nor above it.
    Reserved {
        /// Which, or one of them.
        role: Role,
    },
    /// All that is free is revocable, and the framework takes nothing revocable.
    Revocable,
    /// Tasks of lower priority are being ended on it, and until they have it is kept for whom that is.
    Promised {
        /// Whose role.
        role: Role,
    },
    /// A role has reached its limit.
    QuotaLimit {
        /// Which: the framework's own or one above it.
        role: Role,
    },
    /// The role has a quota, and how much of it is used is not known before most agents have come back
    /// since the master restarted.
    QuotaUnknown,
    /// What is free in the cluster is held back for guarantees of other roles.
    Headroom,
    /// The framework turned down as much or more.
    Filtered {
        /// Until when.
        until: Time,
    },
    /// Nothing blocks, but another client comes first in the order and would take the agent.
    Behind {
        /// Whose.
        framework: FrameworkId,
        /// Its role, up to where the order tells the two apart.
        role: Role,
        /// The framework's own role, up to there.
        own_role: Role,
        /// Why the other comes first.
        by: Precedence,
    },
    /// Nothing blocks, but others would take the agent too, and a plug-in ranks them.
    RankedByPlugin {
        /// What the plug-in is called.
        plugin: String,
        /// How many others.
        others: usize,
    },
    /// Nothing blocks and nobody comes first: the resources are about to be offered to this framework.
    NextInLine,
}

impl Master {
    /// Why a framework has no further offers, by the very rules by which the allocator decides.
    #[must_use]
    pub fn explain(&self, framework: FrameworkId) -> Explanation {
        self.explain_for(framework, None)
    }

    /// The same for a task of this shape: agents on which it does not fit are told apart.
    #[must_use]
    pub fn explain_for(&self, framework: FrameworkId, shape: Option<&Resources>) -> Explanation {
        let slot = self.frameworks.find(framework);
        Explanation {
            framework,
            overall: self.blocked_overall(slot),
            next_allocation: self.allocator.due().or(self.allocator.cycle_at()),
            roles: slot.map_or_else(Vec::new, |slot| self.explain_roles(slot, shape)),
        }
    }

    fn blocked_overall(&self, framework: Option<FrameworkSlot>) -> Option<Blocked> {
        let Some(slot) = framework else {
            return Some(Blocked::FrameworkUnknown);
        };
        let framework = &self.frameworks[slot];
        if framework.connection.is_none() {
            Some(Blocked::FrameworkDisconnected)
        } else if framework.info.roles.is_empty() {
            Some(Blocked::NoRole)
        } else if self.agents.len() == 0 {
            Some(Blocked::NoAgent)
        } else {
            None
        }
    }

    fn explain_roles(
        &self,
        framework: FrameworkSlot,
        shape: Option<&Resources>,
    ) -> Vec<RoleExplanation> {
        let clients = self.frameworks[framework].clients.iter();
        clients
            .filter(|(_, client)| self.allocator.clients[**client].subscribed)
            .map(|(role, client)| RoleExplanation {
                role: role.clone(),
                groups: self.explain_client(*client, shape),
            })
            .collect()
    }

    fn explain_client(&self, client: ClientSlot, shape: Option<&Resources>) -> Vec<BlockedGroup> {
        let mut groups: BTreeMap<Blocked, Vec<AgentId>> = BTreeMap::new();
        let line = Line::default();
        for (slot, agent) in self.agents.by_id() {
            let total = &agent.total;
            let blocked = match shape {
                Some(shape) if !total.covers(shape) => Blocked::AgentTooSmall,
                _ => self.blocked(client, slot, shape, &line),
            };
            groups.entry(blocked).or_default().push(agent.id);
        }
        groups
            .into_iter()
            .map(|(blocked, agents)| BlockedGroup { blocked, agents })
            .collect()
    }

    /// The first rule that keeps an agent's resources from a client.
    fn blocked(
        &self,
        slot: ClientSlot,
        agent: AgentSlot,
        shape: Option<&Resources>,
        line: &Line,
    ) -> Blocked {
        let client = &self.allocator.clients[slot];
        client
            .blocked()
            .or_else(|| {
                self.agent_blocked(agent)
                    .map(|blocked| self.put(blocked, client.framework))
            })
            .or_else(|| shape.and_then(|shape| self.shape_blocked(client, agent, shape)))
            .unwrap_or_else(|| self.in_line(slot, agent, line))
    }

    /// What keeps a task of this shape from an agent that has something to offer.
    fn shape_blocked(
        &self,
        client: &Client,
        agent: AgentSlot,
        shape: &Resources,
    ) -> Option<Blocked> {
        let quotas = &self.allocator.quotas;
        let blocked = quotas.shape_blocked(&client.quotas, shape);
        blocked.map(Blocked::from).or_else(|| {
            // What the shape names as set apart has to be just that.
            let free = &self.agents[agent].free;
            let fits = free.covers(shape) && free.contains(&shape.only_parts());
            (!fits).then_some(Blocked::TooLittleFree)
        })
    }

    /// What keeps an agent from everybody, as said to one framework.
    fn put(&self, blocked: AgentBlocked, to: FrameworkSlot) -> Blocked {
        match blocked {
            AgentBlocked::Recovered => Blocked::AgentRecovered,
            AgentBlocked::Held => Blocked::AgentHeld,
            AgentBlocked::Disconnected { since } => Blocked::AgentDisconnected { since },
            AgentBlocked::Deactivated => Blocked::AgentDeactivated,
            AgentBlocked::Draining => Blocked::AgentDraining,
            AgentBlocked::Offered { framework, since } if framework == to => {
                Blocked::OfferedToYou { since }
            }
            AgentBlocked::Offered { framework, since } => Blocked::OfferedTo {
                framework: self.frameworks[framework].id,
                since,
            },
            AgentBlocked::Allocated => Blocked::Allocated,
            AgentBlocked::BelowMinimum => Blocked::BelowMinimum,
            AgentBlocked::NoSandbox => Blocked::NoSandbox,
        }
    }
}
