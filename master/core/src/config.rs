//! What an operator may choose about a master's decisions. Defaults are those of Apache Mesos unless a
//! field says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use nesos_types::resources::{Resources, Scalar};
use nesos_types::role::{Role, RoleSettings, Weight};
use serde::{Deserialize, Serialize};

/// The policies that are built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltInPolicy {
    /// Hierarchical weighted dominant resource fairness.
    #[default]
    Drf,
    /// Roles of higher priority first, always; dominant resource fairness within one priority.
    Priority,
}

impl fmt::Display for BuiltInPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drf => "drf",
            Self::Priority => "priority",
        })
    }
}

/// That strict priority ends tasks of lower priority for demands of a higher one that it cannot serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preemption {
    /// How long a task has to end by itself; `None` is what the task itself asks for.
    pub grace: Option<Duration>,
}

/// How many agents may be taken for lost in a time: one in each part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovalRate {
    /// So many agents …
    pub agents: NonZeroU32,
    /// … in this time.
    pub per: Duration,
}

impl RemovalRate {
    /// The time between two of them.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per / self.agents.get()
    }
}

/// The constants of a master's decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterConfig {
    /// How often an agent is pinged. Default: 15 s.
    pub ping_interval: Duration,
    /// After how many intervals of silence an agent is unreachable. Default: 5.
    pub ping_misses: u32,
    /// How long an agent may take to come back after its connection broke, or after the master
    /// restarted, before it is unreachable. Default: 10 min.
    pub agent_reregister_timeout: Duration,
    /// How many agents that are silent or do not come back may be taken for lost in a time. Default: any number.
    pub agent_removal_rate: Option<RemovalRate>,
    /// How many percent of the agents that a master knows when it restarts may be taken for lost because they do not
    /// come back. Default: 100.
    pub recovery_agent_removal_limit: u8,
    /// How often to say something to a scheduler to which nothing else is said. A scheduler that says
    /// nothing for `ping_misses` times as long is cut off. Default: 15 s.
    pub heartbeat_interval: Duration,
    /// How long an offer stands before it is rescinded. `None` is "for ever", the default of Mesos,
    /// with which one silent framework can hold a cluster up. Default: 60 s.
    pub offer_timeout: Option<Duration>,
    /// The period of the allocation cycle, and the shortest time for which a refusal holds.
    /// Default: 1 s.
    pub allocation_interval: Duration,
    /// How long to gather events before allocating. Zero allocates as soon as the driver has drained
    /// its queue. Default: zero.
    pub allocation_window: Duration,
    /// Resources are offered if they contain one of these. Default: 0.01 CPU, or 32 MiB of memory.
    pub min_allocatable: Vec<Resources>,
    /// Weights of roles that operators have not given another; a role that is not listed weighs
    /// [`Weight::ONE`].
    pub weights: BTreeMap<Role, Weight>,
    /// In which order frameworks are served. Default: fair shares.
    pub policy: BuiltInPolicy,
    /// Whether strict priority ends tasks, if it is the policy. Default: no.
    pub preemption: Option<Preemption>,
    /// Resources that count for no share, as `gpus` or `disk`; quotas go by them all the same. A policy
    /// that is a plug-in hears of everything and decides for itself. Default: none.
    pub fair_sharing_excluded: BTreeSet<Scalar>,
    /// How many ended tasks, and how many unreachable ones, are remembered per framework.
    /// Default: 1000.
    pub max_completed_tasks: usize,
    /// How many completed frameworks are remembered with their tasks. Their ids stay barred beyond
    /// that. Default: 50.
    pub max_completed_frameworks: usize,
    /// How many ids of completed frameworks, and how many of removed or unreachable agents, the
    /// registry keeps. An id that was dropped is treated like one that never was, and is refused just
    /// the same. Default: 102,400.
    pub max_retired_ids: usize,
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(15),
            ping_misses: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            agent_removal_rate: None,
            recovery_agent_removal_limit: 100,
            heartbeat_interval: Duration::from_secs(15),
            offer_timeout: Some(Duration::from_secs(60)),
            allocation_interval: Duration::from_secs(1),
            allocation_window: Duration::ZERO,
            min_allocatable: vec![Resources::new(10, 0), Resources::new(0, 32 << 20)],
            weights: BTreeMap::new(),
            policy: BuiltInPolicy::default(),
            preemption: None,
            fair_sharing_excluded: BTreeSet::new(),
            max_completed_tasks: 1000,
            max_completed_frameworks: 50,
            max_retired_ids: 102_400,
        }
    }
}

impl MasterConfig {
    /// The settings of a role for which operators have decided nothing.
    #[must_use]
    pub fn role_settings(&self, role: &Role) -> RoleSettings {
        RoleSettings {
            weight: self.weights.get(role).copied().unwrap_or_default(),
            ..RoleSettings::default()
        }
    }

    /// The silence after which an agent is unreachable.
    #[must_use]
    pub fn ping_timeout(&self) -> Duration {
        self.ping_interval.saturating_mul(self.ping_misses)
    }

    /// Whether resources are worth an offer.
    #[must_use]
    pub fn is_allocatable(&self, resources: &Resources) -> bool {
        !resources.is_empty()
            && self
                .min_allocatable
                .iter()
                .any(|minimum| resources.covers(minimum))
    }
}
