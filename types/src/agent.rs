//! Agents: the machines that run tasks, and what they say of themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resources::Resources;

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
    /// Units of fuel that one CPU burns in one second, measured on the agent's mix of kernels; zero
    /// where it was not measured, and then tasks metered by fuel are refused.
    pub fuel_per_cpu_second: u64,
    /// Whether tasks may mount directories of the host.
    pub host_mounts: bool,
    /// The agent's version.
    pub version: String,
}
