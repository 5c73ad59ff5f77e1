//! What an operator may choose about an agent: one typed tree, parsed once, unknown keys refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZero, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use nesos_agent_core::{AgentConfig as CoreConfig, Oversubscription};
use nesos_api::{DEFAULT_AGENT_PORT, DEFAULT_MASTER_PORT};
use nesos_types::agent::{AgentInfo, Attribute, FaultDomain};
use nesos_types::resources::Resources;
use serde::{Deserialize, Serialize};

/// The configuration of an agent. Everything but the state directory has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where the checkpoint, the sandboxes and the caches are. Created if it is not there. One agent
    /// at a time.
    pub state_directory: PathBuf,
    /// Where the master is; of several masters, all or some of them, behind commas. Default:
    /// `http://127.0.0.1:5050`.
    #[serde(default = "default_master")]
    pub master: String,
    /// Where to listen for those who attach to tasks or read their output. Port 0 lets the system
    /// choose. Default: `127.0.0.1:5051`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// How others reach this agent: `http://host:port`. Default: made from the address listened on,
    /// or from the host's name if that is every address.
    #[serde(default)]
    pub advertise_url: Option<String>,
    /// The host's name. Default: what the system says.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Everything that the agent has to give, in Mesos' form (`cpus:4;mem:4GiB;disk:10GiB`). What is
    /// not named is detected: CPUs as this process may use them, memory and disk less some for the
    /// host itself. Ports, on which services listen, are 31000 to 32000 if nothing is named at all, and
    /// else those that are named (`ports:[31000-32000]`).
    #[serde(default, with = "resources_text")]
    pub resources: Option<Resources>,
    /// Properties that frameworks may look at.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
    /// Where the host stands: `{ region = "eu", zone = "eu-1" }`. Default: not said.
    #[serde(default)]
    pub domain: Option<FaultDomain>,
    /// Whether tasks may mount directories of the host. Default: false.
    #[serde(default)]
    pub host_mounts: bool,
    /// Units of fuel that one CPU burns in a second. Default: 0, and then a lasting agent measures it
    /// when it starts, and an ephemeral one refuses tasks metered by fuel.
    #[serde(default)]
    pub fuel_per_cpu_second: u64,
    /// The most sandboxes at a time, in all cells together; offers say how many are left. Default: what
    /// one cell can hold for each CPU of the host.
    #[serde(default)]
    pub max_sandboxes: Option<u32>,
    /// Whether the agent ends with its process: nothing is checkpointed, nothing is flushed to the
    /// disk. For clusters that live inside another program. Default: false.
    #[serde(default)]
    pub ephemeral: bool,
    /// How long a killed guest has to end by itself where nobody says. Default: 3 s.
    #[serde(default = "default_kill_grace_ms")]
    pub kill_grace_ms: u64,
    /// How long all tasks have at most to end when the agent is told to leave. Default: 5 s.
    #[serde(default = "default_shutdown_grace_ms")]
    pub shutdown_grace_ms: u64,
    /// Registering with the master.
    #[serde(default)]
    pub registration: RegistrationConfig,
    /// The processes that hold the sandboxes.
    #[serde(default)]
    pub cells: CellsConfig,
    /// The caches of bundles and of compiled code.
    #[serde(default)]
    pub bundles: BundlesConfig,
    /// Registries other than the cluster's own.
    #[serde(default)]
    pub registries: RegistriesConfig,
    /// The directories of ended tasks.
    #[serde(default)]
    pub sandboxes: SandboxesConfig,
    /// Lending CPU that tasks have accepted and do not use.
    #[serde(default)]
    pub oversubscription: OversubscriptionConfig,
}

/// Registering with the master.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationConfig {
    /// The first pause before trying again; doubles, jittered. Default: 100 ms.
    pub backoff_min_ms: u64,
    /// The longest pause. Default: 60 s.
    pub backoff_max_ms: u64,
    /// The longest pause as long as there is no master to connect with. Default: 1 s.
    pub connect_backoff_max_ms: u64,
    /// How long the master may take to answer. Default: 10 s.
    pub timeout_ms: u64,
    /// After how many ping intervals of silence the master is gone. Default: 5.
    pub missed_pings: u32,
}

/// The processes that hold the sandboxes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CellsConfig {
    /// The binary whose hidden subcommands `cell` and `compile` are used. Default: this one.
    pub executable: Option<PathBuf>,
    /// Threads that run guests in each cell. Default: as many as there are CPUs.
    pub guest_threads: Option<usize>,
    /// The most sandboxes in one cell; beyond it a role gets further cells. Default: what the host's
    /// limit on memory mappings allows.
    pub max_sandboxes: Option<u32>,
    /// How long a cell without sandboxes stays. Default: 60 s.
    pub idle_ms: Option<u64>,
    /// How long a cell with sandboxes stays without its agent. Default: 15 min; 1 s for an ephemeral
    /// agent.
    pub orphan_grace_ms: Option<u64>,
}

/// The caches of bundles and of compiled code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BundlesConfig {
    /// How many bytes of bundles are kept. Default: 4 GiB.
    pub max_bytes: u64,
    /// How many bytes of compiled code are kept beside what is in use. Default: 8 GiB.
    pub compiled_max_bytes: u64,
    /// Where compiled code is kept. Default: `compiled` in the state directory.
    pub compiled_directory: Option<PathBuf>,
    /// How many bytes of bundles' read-only files are kept unpacked beside what is in use. Default: 4 GiB.
    pub files_max_bytes: u64,
    /// How long a compiled bundle that no task uses is held against eviction. Default: 60 s.
    pub idle_ms: u64,
    /// How many bundles are compiled at the same time. Default: 2.
    pub parallel_compiles: usize,
}

/// Registries that bundles are pulled from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistriesConfig {
    /// Hosts, as `HOST[:PORT]`, that are spoken with over plain HTTP, beside this machine. Default: none.
    pub plain_http: BTreeSet<String>,
    /// A file of credentials as `docker login` leaves it. Default: the user's own, if there is one.
    pub credentials: Option<PathBuf>,
}

/// The directories of ended tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxesConfig {
    /// How long they stay. Default: 1 week.
    pub keep_ms: u64,
    /// How many stay at most. Default: 10,000.
    pub keep_count: usize,
    /// How many bytes they may hold together. Default: 4 GiB.
    pub keep_bytes: u64,
}

/// Lending CPU that tasks have accepted and do not use, as revocable resources.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OversubscriptionConfig {
    /// Whether it is lent. Default: false, and then nothing is measured.
    pub enabled: bool,
    /// How often usage is measured. What a task has not used for five intervals is lent; within one of
    /// its using it again those who borrow are slowed down. Default: 1 s.
    pub interval_ms: NonZeroU64,
    /// How much of what it has accepted a task keeps beyond what it uses, in hundredths. Default: 10.
    pub margin_percent: u8,
    /// How long there may be less than was lent before those who borrow are ended. Default: 10 s.
    pub patience_ms: u64,
}

fn default_master() -> String {
    format!("http://127.0.0.1:{DEFAULT_MASTER_PORT}")
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, DEFAULT_AGENT_PORT).into()
}

fn default_kill_grace_ms() -> u64 {
    3_000
}

fn default_shutdown_grace_ms() -> u64 {
    5_000
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            backoff_min_ms: 100,
            backoff_max_ms: 60_000,
            connect_backoff_max_ms: 1_000,
            timeout_ms: 10_000,
            missed_pings: 5,
        }
    }
}

impl Default for BundlesConfig {
    fn default() -> Self {
        Self {
            max_bytes: 4 << 30,
            compiled_max_bytes: 8 << 30,
            compiled_directory: None,
            files_max_bytes: 4 << 30,
            idle_ms: 60_000,
            parallel_compiles: 2,
        }
    }
}

impl Default for SandboxesConfig {
    fn default() -> Self {
        Self {
            keep_ms: 7 * 24 * 3600 * 1000,
            keep_count: 10_000,
            keep_bytes: 4 << 30,
        }
    }
}

impl Default for OversubscriptionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interval_ms: NonZeroU64::new(1_000).unwrap_or(NonZeroU64::MIN),
            margin_percent: 10,
            patience_ms: 10_000,
        }
    }
}

impl OversubscriptionConfig {
    /// The part that the core decides by.
    fn core(&self) -> Option<Oversubscription> {
        self.enabled.then(|| Oversubscription {
            interval: Duration::from_millis(self.interval_ms.get()),
            margin_percent: u64::from(self.margin_percent),
            patience: Duration::from_millis(self.patience_ms),
        })
    }
}

impl AgentConfig {
    /// An agent that keeps its state in this directory; everything else at its default.
    #[must_use]
    pub fn new(state_directory: impl Into<PathBuf>) -> Self {
        Self {
            state_directory: state_directory.into(),
            master: default_master(),
            listen: default_listen(),
            advertise_url: None,
            hostname: None,
            resources: None,
            attributes: BTreeMap::new(),
            domain: None,
            host_mounts: false,
            fuel_per_cpu_second: 0,
            max_sandboxes: None,
            ephemeral: false,
            kill_grace_ms: default_kill_grace_ms(),
            shutdown_grace_ms: default_shutdown_grace_ms(),
            registration: RegistrationConfig::default(),
            cells: CellsConfig::default(),
            bundles: BundlesConfig::default(),
            registries: RegistriesConfig::default(),
            sandboxes: SandboxesConfig::default(),
            oversubscription: OversubscriptionConfig::default(),
        }
    }

    /// An agent that ends with this process: on a loopback port that the system chooses, its files in
    /// this directory.
    #[must_use]
    pub fn ephemeral(directory: impl Into<PathBuf>, master: impl Into<String>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            master: master.into(),
            ephemeral: true,
            ..Self::new(directory)
        }
    }

    /// How long all tasks have at most to end when the agent is told to leave.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }

    pub(crate) fn sandbox_directory(&self) -> PathBuf {
        self.state_directory.join("sandboxes")
    }

    pub(crate) fn volume_directory(&self) -> PathBuf {
        self.state_directory.join("volumes")
    }

    pub(crate) fn orphan_grace(&self) -> Duration {
        let default = if self.ephemeral {
            1_000
        } else {
            15 * 60 * 1000
        };
        Duration::from_millis(self.cells.orphan_grace_ms.unwrap_or(default))
    }

    /// The same number for the core, which shards roles by it, and for the cells, which size by it.
    pub(crate) fn max_sandboxes(&self) -> u32 {
        let chosen = self.cells.max_sandboxes;
        chosen.unwrap_or_else(nesos_runtime::sandboxes_by_mappings)
    }

    /// The most sandboxes of the whole agent.
    pub(crate) fn max_sandboxes_in_all(&self) -> u32 {
        self.max_sandboxes.unwrap_or_else(|| {
            let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
            let cells = u32::try_from(cpus).unwrap_or(u32::MAX);
            self.max_sandboxes().saturating_mul(cells)
        })
    }

    pub(crate) fn cell_idle(&self) -> Duration {
        Duration::from_millis(self.cells.idle_ms.unwrap_or(60_000))
    }

    /// The part that the core decides by.
    pub(crate) fn core(&self, info: AgentInfo, boot_id: String) -> CoreConfig {
        let registration = &self.registration;
        let mut core = CoreConfig::new(info);
        core.boot_id = boot_id;
        core.sandboxes = self.sandbox_directory();
        core.volumes = self.volume_directory();
        core.kill_grace = Duration::from_millis(self.kill_grace_ms);
        core.register_backoff_min = Duration::from_millis(registration.backoff_min_ms);
        core.register_backoff_max = Duration::from_millis(registration.backoff_max_ms);
        core.connect_backoff_max = Duration::from_millis(registration.connect_backoff_max_ms);
        core.register_timeout = Duration::from_millis(registration.timeout_ms);
        core.missed_pings = registration.missed_pings;
        core.sandboxes_per_cell = usize::try_from(self.max_sandboxes()).unwrap_or(usize::MAX);
        core.cell_idle = self.cell_idle();
        core.bundle_idle = Duration::from_millis(self.bundles.idle_ms);
        core.sandbox_keep = Duration::from_millis(self.sandboxes.keep_ms);
        core.sandbox_keep_count = self.sandboxes.keep_count;
        core.sandbox_keep_bytes = self.sandboxes.keep_bytes;
        core.oversubscription = self.oversubscription.core();
        core
    }
}

/// Resources as people write them: `cpus:4;mem:4GiB`.
mod resources_text {
    use nesos_types::resources::Resources;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        resources: &Option<Resources>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = resources.as_ref().map(Resources::notation);
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Resources>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_enough() {
        let config: AgentConfig = toml::from_str(r#"state_directory = "/s""#).unwrap();
        assert_eq!(config.master, "http://127.0.0.1:5050");
        assert_eq!(config.listen.port(), 5051);
        assert_eq!(config.resources, None);
        assert_eq!(config.oversubscription.core(), None);
    }

    #[test]
    fn values_reach_the_core() {
        let config: AgentConfig = toml::from_str(
            r#"
            state_directory = "/s"
            resources = "cpus:4;mem:4GiB"
            kill_grace_ms = 7
            [registration]
            missed_pings = 3
            [cells]
            max_sandboxes = 9
            [sandboxes]
            keep_count = 2
            [oversubscription]
            enabled = true
            interval_ms = 250
            patience_ms = 9
            "#,
        )
        .unwrap();
        let info =
            crate::host_probe::describe(&config, "h".into(), "u".into(), Resources::default());
        assert_eq!(info.resources, Resources::new(4000, 4 << 30));
        let core = config.core(info, "boot".into());
        assert_eq!(core.kill_grace, Duration::from_millis(7));
        assert_eq!(core.missed_pings, 3);
        assert_eq!(core.sandboxes_per_cell, 9);
        assert_eq!(core.sandbox_keep_count, 2);
        assert_eq!(core.sandboxes, PathBuf::from("/s/sandboxes"));
        let lending = Oversubscription {
            interval: Duration::from_millis(250),
            margin_percent: 10,
            patience: Duration::from_millis(9),
        };
        assert_eq!(core.oversubscription, Some(lending));
    }

    #[test]
    fn unknown_keys_and_bad_resources_are_refused() {
        for wrong in [
            "state_directory = '/s'\nmastre = 'http://x'",
            "state_directory = '/s'\n[cells]\nidle = 3",
            "state_directory = '/s'\n[oversubscription]\nenable = true",
            "state_directory = '/s'\n[oversubscription]\ninterval_ms = 0",
            "state_directory = '/s'\nresources = 'cpus:-1'",
            "master = 'http://x'",
        ] {
            assert!(toml::from_str::<AgentConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
