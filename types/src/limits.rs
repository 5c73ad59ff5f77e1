//! What a task may use beyond its resources, and what it did use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a task's CPU is metered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Metering {
    /// By the thread CPU clock, fuel counted beside it: what honest programs want.
    #[default]
    Clock,
    /// By fuel at the agent's advertised rate: reproducible to the unit on every machine.
    Fuel,
    /// By the thread CPU clock, without counting fuel: no checks in the guest but the epoch's.
    Time,
}

/// Limits of one task beside its resources. `None` is "no limit of the task's own".
///
/// A limit that an agent cannot enforce it refuses, never ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Units of fuel after which the task ends with `FuelExhausted`.
    pub fuel: Option<u64>,
    /// Wall-clock time after which the task ends with `TimeLimit`, counted from its first instruction.
    pub timeout: Option<Duration>,
    /// Bytes of output kept on the agent, for stdout and stderr each; older output is rotated out.
    pub output_bytes: Option<u64>,
    /// Files and directories that may exist at once in the sandbox's writable root.
    pub files: Option<u64>,
    /// Whether the task may use CPU beyond what it accepted while nobody else wants it.
    pub burst: bool,
    /// How CPU is metered.
    pub metering: Metering,
}

/// What a task has used, from its first instruction until now or its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// CPU time, host calls included, in nanoseconds.
    pub cpu_ns: u64,
    /// Wall-clock time, in nanoseconds.
    pub wall_ns: u64,
    /// Units of fuel; zero where the task is metered by time alone.
    pub fuel: u64,
    /// The most memory at any one moment, in bytes, over all memories, tables, stacks and buffers.
    pub peak_memory_bytes: u64,
    /// The most disk at any one moment, in bytes.
    pub peak_disk_bytes: u64,
    /// Bytes written to stdout and stderr.
    pub output_bytes: u64,
}
