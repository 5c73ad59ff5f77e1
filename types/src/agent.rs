//! Agents: the machines that run tasks, and what they say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::resources::{Resources, format_cpus};

/// A property of an agent that frameworks may look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number, in thousandths.
    ScalarMilli(i64),
    /// Inclusive ranges of numbers.
    Ranges(Vec<(u64, u64)>),
}

impl fmt::Display for Attribute {
    /// As constraints compare it: `rack7`, `2.5`, `[1-3,7-9]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::ScalarMilli(milli) => {
                let sign = if *milli < 0 { "-" } else { "" };
                write!(f, "{sign}{}", format_cpus(milli.unsigned_abs()))
            }
            Self::Ranges(ranges) => {
                let ranges: Vec<_> = ranges
                    .iter()
                    .map(|(from, to)| format!("{from}-{to}"))
                    .collect();
                write!(f, "[{}]", ranges.join(","))
            }
        }
    }
}

/// Where an agent stands: what fails together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDomain {
    /// The region: far from others, and slow to reach from them.
    pub region: String,
    /// The zone within the region.
    pub zone: String,
}

/// What an agent says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// The host's name.
    pub hostname: String,
    /// Where the agent serves task output and input: `http://host:port`.
    pub url: String,
    /// Everything that the agent has to give.
    pub resources: Resources,
    /// Properties that frameworks may look at.
    pub attributes: BTreeMap<String, Attribute>,
    /// Where it stands, if that was said.
    #[serde(default)]
    pub domain: Option<FaultDomain>,
    /// Units of fuel that one CPU burns in one second, measured on the agent's mix of kernels; zero
    /// where it was not measured, and then tasks metered by fuel are refused.
    pub fuel_per_cpu_second: u64,
    /// Whether tasks may mount directories of the host.
    pub host_mounts: bool,
    /// The agent's version.
    pub version: String,
    /// What its engine supports, by name: WebAssembly proposals (`simd`, `gc`) and WASI's worlds
    /// (`wasip2`). Shared, because agents are alike.
    #[serde(default)]
    pub features: Arc<BTreeSet<String>>,
    /// The most sandboxes that it holds at a time; `None` where it did not say, and then nobody counts.
    #[serde(default)]
    pub max_sandboxes: Option<u32>,
}

/// What operators have decided of an agent, until they decide otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentOrders {
    /// Nothing of it is offered.
    #[serde(default)]
    pub deactivated: bool,
    /// Its tasks are ended; nothing of it is offered then, either.
    #[serde(default)]
    pub drain: Option<Drain>,
}

impl AgentOrders {
    /// Whether anything of it may be offered.
    #[must_use]
    pub fn allow_offers(&self) -> bool {
        !self.deactivated && self.drain.is_none()
    }
}

/// How an agent's tasks are ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The most that a task has to end by itself; `None` is what each asks for itself.
    pub grace: Option<Duration>,
    /// Once it has no tasks any more it is gone for good, and told to stop.
    pub mark_gone: bool,
}

impl Drain {
    /// A later order can shorten the time of an earlier one, and does not take back that the agent is gone then.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self {
            grace: [earlier.grace, self.grace].into_iter().flatten().min(),
            mark_gone: earlier.mark_gone || self.mark_gone,
        }
    }
}

impl AgentInfo {
    /// An agent on this host with these resources; everything else is empty, or not so.
    #[must_use]
    pub fn new(hostname: impl Into<String>, resources: Resources) -> Self {
        Self {
            hostname: hostname.into(),
            url: String::new(),
            resources,
            attributes: BTreeMap::new(),
            domain: None,
            fuel_per_cpu_second: 0,
            host_mounts: false,
            version: String::new(),
            features: Arc::default(),
            max_sandboxes: None,
        }
    }
}
