//! The durable state: which frameworks and agents there are and were. Small, and changed by nothing
//! but [`Registry::apply`], so that what a restart rebuilds is what there was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nesos_types::agent::{AgentInfo, AgentOrders};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::reservation::SetApart;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::time::Time;

use crate::decision::{Record, Subject};
use crate::policy::PolicyChoice;

/// What is durably known of a framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameworkFact {
    /// It may subscribe.
    Live {
        info: Arc<FrameworkInfo>,
        since: Time,
    },
    /// Its id is barred.
    Removed {
        info: Arc<FrameworkInfo>,
        since: Time,
        at: Time,
    },
}

/// What is durably known of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentFact {
    /// It is present, or about to be.
    Admitted { info: Arc<AgentInfo>, since: Time },
    /// It was given up and may come back.
    Unreachable {
        hostname: String,
        since: Time,
        at: Time,
    },
    /// It left by itself: its id is barred.
    Removed { at: Time },
    /// An operator has vouched that it is dead: its id is barred.
    Gone { at: Time },
}

/// The durable state of a master.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Registry {
    frameworks: BTreeMap<FrameworkId, FrameworkFact>,
    agents: BTreeMap<AgentId, AgentFact>,
    /// What operators have decided of roles.
    roles: BTreeMap<Role, RoleSettings>,
    /// What operators have decided of agents.
    orders: BTreeMap<AgentId, AgentOrders>,
    /// What is set apart on agents at run time. An agent on which something once was keeps an entry, so
    /// that it hears that there is nothing any more.
    set_apart: BTreeMap<AgentId, SetApart>,
    /// The policy that operators have chosen, if they have.
    policy: Option<PolicyChoice>,
    /// Subjects that are no longer live, oldest first: the order in which they are forgotten.
    retired_frameworks: BTreeSet<(Time, FrameworkId)>,
    retired_agents: BTreeSet<(Time, AgentId)>,
}

impl Registry {
    /// Takes a fact in. The only way in which durable state changes.
    pub fn apply(&mut self, record: &Record) {
        self.forget(&record.subject());
        match record {
            Record::FrameworkSubscribed {
                framework,
                info,
                since,
            } => self.put_framework(
                *framework,
                FrameworkFact::Live {
                    info: Arc::clone(info),
                    since: *since,
                },
            ),
            Record::FrameworkRemoved {
                framework,
                info,
                since,
                at,
            } => self.put_framework(
                *framework,
                FrameworkFact::Removed {
                    info: Arc::clone(info),
                    since: *since,
                    at: *at,
                },
            ),
            Record::AgentAdmitted { agent, info, since } => self.put_agent(
                *agent,
                AgentFact::Admitted {
                    info: Arc::clone(info),
                    since: *since,
                },
            ),
            Record::AgentUnreachable {
                agent,
                hostname,
                since,
                at,
            } => self.put_agent(
                *agent,
                AgentFact::Unreachable {
                    hostname: hostname.clone(),
                    since: *since,
                    at: *at,
                },
            ),
            Record::AgentRemoved { agent, at, .. } => {
                self.put_agent(*agent, AgentFact::Removed { at: *at });
            }
            Record::AgentGone { agent, at, .. } => {
                self.put_agent(*agent, AgentFact::Gone { at: *at });
            }
            Record::AgentOrdered { agent, orders } => {
                self.orders.insert(*agent, *orders);
            }
            Record::SetApart { agent, set_apart } => {
                self.set_apart.insert(*agent, set_apart.clone());
            }
            Record::RoleChanged { role, settings } => {
                self.roles.insert(role.clone(), settings.clone());
            }
            Record::PolicySet { policy } => self.policy = Some(policy.clone()),
            Record::Forgotten(_) => {}
        }
    }

    fn put_framework(&mut self, id: FrameworkId, fact: FrameworkFact) {
        if let FrameworkFact::Removed { at, .. } = fact {
            self.retired_frameworks.insert((at, id));
        }
        self.frameworks.insert(id, fact);
    }

    fn put_agent(&mut self, id: AgentId, fact: AgentFact) {
        if let AgentFact::Unreachable { at, .. }
        | AgentFact::Removed { at }
        | AgentFact::Gone { at } = fact
        {
            self.retired_agents.insert((at, id));
        }
        self.agents.insert(id, fact);
    }

    fn forget(&mut self, subject: &Subject) {
        match subject {
            Subject::Framework(id) => {
                if let Some(FrameworkFact::Removed { at, .. }) = self.frameworks.remove(id) {
                    self.retired_frameworks.remove(&(at, *id));
                }
            }
            Subject::Agent(id) => {
                if let Some(
                    AgentFact::Unreachable { at, .. }
                    | AgentFact::Removed { at }
                    | AgentFact::Gone { at },
                ) = self.agents.remove(id)
                {
                    self.retired_agents.remove(&(at, *id));
                }
            }
            Subject::AgentOrders(agent) => {
                self.orders.remove(agent);
            }
            Subject::SetApart(agent) => {
                self.set_apart.remove(agent);
            }
            Subject::Role(role) => {
                self.roles.remove(role);
            }
            Subject::Policy => self.policy = None,
        }
    }

    /// A subject to forget, if more than `max` of its kind are no longer live.
    pub(crate) fn surplus(&self, max: usize) -> Option<Subject> {
        let framework = (self.retired_frameworks.len() > max)
            .then(|| self.retired_frameworks.first())
            .flatten()
            .map(|(_, id)| Subject::Framework(*id));
        let agent = || {
            (self.retired_agents.len() > max)
                .then(|| self.retired_agents.first())
                .flatten()
                .map(|(_, id)| Subject::Agent(*id))
        };
        framework.or_else(agent)
    }

    pub(crate) fn framework(&self, id: FrameworkId) -> Option<&FrameworkFact> {
        self.frameworks.get(&id)
    }

    pub(crate) fn agent(&self, id: AgentId) -> Option<&AgentFact> {
        self.agents.get(&id)
    }

    /// What operators have decided of an agent.
    pub(crate) fn orders(&self, agent: AgentId) -> AgentOrders {
        self.orders.get(&agent).copied().unwrap_or_default()
    }

    /// What is set apart on an agent at run time, if anything ever was.
    pub(crate) fn set_apart(&self, agent: AgentId) -> Option<&SetApart> {
        self.set_apart.get(&agent)
    }

    /// Roles about which operators have decided something.
    pub(crate) fn roles(&self) -> &BTreeMap<Role, RoleSettings> {
        &self.roles
    }

    /// The policy that operators have chosen, if they have.
    pub(crate) fn policy(&self) -> Option<&PolicyChoice> {
        self.policy.as_ref()
    }

    pub(crate) fn frameworks(&self) -> impl Iterator<Item = (FrameworkId, &FrameworkFact)> {
        self.frameworks.iter().map(|(id, fact)| (*id, fact))
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = (AgentId, &AgentFact)> {
        self.agents.iter().map(|(id, fact)| (*id, fact))
    }

    /// The newest removed frameworks, oldest first.
    pub(crate) fn recently_removed(&self, most: usize) -> Vec<FrameworkId> {
        let mut newest: Vec<_> = self
            .retired_frameworks
            .iter()
            .rev()
            .take(most)
            .map(|(_, id)| *id)
            .collect();
        newest.reverse();
        newest
    }
}
