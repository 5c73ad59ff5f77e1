//! What an agent's decisions depend on, beside its events.

use std::path::PathBuf;
use std::time::Duration;

use nesos_types::agent::AgentInfo;

/// An agent's settings. Every default has its source in Mesos where Mesos has one.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// What the agent says of itself, its total resources included.
    pub info: AgentInfo,
    /// Identifies this boot of the host: if it has changed since the checkpoint, no task survived.
    pub boot_id: String,
    /// Where sandbox directories are made.
    pub sandboxes: PathBuf,
    /// Where persistent volumes are, each a directory of its name.
    pub volumes: PathBuf,
    /// How long a killed guest has to end by itself where nobody says (Mesos: 3 s).
    pub kill_grace: Duration,
    /// The first pause before registering again; doubles, jittered.
    pub register_backoff_min: Duration,
    /// The longest pause before connecting again where there was no master to connect with.
    pub connect_backoff_max: Duration,
    /// The longest pause before registering again with a master that was there (Mesos: 1 min).
    pub register_backoff_max: Duration,
    /// How long the master has to answer a registration.
    pub register_timeout: Duration,
    /// The master is gone after this many ping intervals of silence (Mesos: 5).
    pub missed_pings: u32,
    /// The first pause before a status is repeated; doubles (Mesos: 10 s).
    pub update_retry_min: Duration,
    /// The longest pause before a status is repeated (Mesos: 10 min).
    pub update_retry_max: Duration,
    /// Sandboxes that one cell may hold at once; beyond it the role gets a further cell.
    pub sandboxes_per_cell: usize,
    /// How long a cell without sandboxes stays.
    pub cell_idle: Duration,
    /// How long a compiled bundle that no task uses is held against eviction.
    pub bundle_idle: Duration,
    /// How long an ended task's directory stays (Mesos: 1 week).
    pub sandbox_keep: Duration,
    /// How many directories of ended tasks stay at most.
    pub sandbox_keep_count: usize,
    /// How many bytes directories of ended tasks may hold together.
    pub sandbox_keep_bytes: u64,
    /// Whether and how CPU that tasks have accepted and do not use is lent to others.
    pub oversubscription: Option<Oversubscription>,
}

/// How unused CPU is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversubscription {
    /// How often usage is measured, and decided upon.
    pub interval: Duration,
    /// How much of what it has accepted a task keeps beyond what it uses, in hundredths.
    pub margin_percent: u64,
    /// How long there may be less than was lent before tasks are ended for it.
    pub patience: Duration,
}

impl Default for Oversubscription {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            margin_percent: 10,
            patience: Duration::from_secs(10),
        }
    }
}

impl AgentConfig {
    /// An agent that says `info` of itself; everything else at its default.
    #[must_use]
    pub fn new(info: AgentInfo) -> Self {
        Self {
            info,
            boot_id: String::new(),
            sandboxes: PathBuf::from("sandboxes"),
            volumes: PathBuf::from("volumes"),
            kill_grace: Duration::from_secs(3),
            register_backoff_min: Duration::from_millis(100),
            connect_backoff_max: Duration::from_secs(1),
            register_backoff_max: Duration::from_secs(60),
            register_timeout: Duration::from_secs(10),
            missed_pings: 5,
            update_retry_min: Duration::from_secs(10),
            update_retry_max: Duration::from_secs(600),
            sandboxes_per_cell: 8000,
            cell_idle: Duration::from_secs(60),
            bundle_idle: Duration::from_secs(60),
            sandbox_keep: Duration::from_secs(7 * 24 * 3600),
            sandbox_keep_count: 10_000,
            sandbox_keep_bytes: 4 << 30,
            oversubscription: None,
        }
    }
}
