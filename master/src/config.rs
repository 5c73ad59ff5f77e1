//! What an operator may choose about a master: one typed tree, parsed once, unknown keys refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use nesos_api::DEFAULT_MASTER_PORT;
use nesos_master_core::{
    BuiltInPolicy, MasterConfig as CoreConfig, Preemption, RemovalRate, Weight,
};
use nesos_types::resources::{Resources, Scalar};
use nesos_types::role::Role;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::store::etcd::address::StoreAddress;

/// The configuration of a master. Everything but the state directory has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterConfig {
    /// Where to listen. Port 0 lets the system choose. Default: `127.0.0.1:5050`, for until there is
    /// authentication nobody but this machine should reach a master by accident.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where the registry and the bundles are kept. Created if it is not there.
    pub state_directory: PathBuf,
    /// Whether the master ends with its process: the registry is kept in memory, nothing is flushed to
    /// the disk. For clusters that live inside another program. Default: false.
    #[serde(default)]
    pub ephemeral: bool,
    /// Where the registry is kept: `redb`, in the state directory, or
    /// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`, for several masters of which one leads. Default: `redb`.
    #[serde(default)]
    pub store: StoreAddress,
    /// Where others reach this master, as `http://HOST:PORT`, if not at the address it listens on. Only one
    /// of several tells anybody.
    #[serde(default)]
    pub advertise: Option<String>,
    /// How long a leader's lease lasts, of several masters: as long may nobody lead after one was lost. An
    /// etcd counts in whole seconds, and less than one is refused. Default: 5 s.
    #[serde(default = "default_lease_ms")]
    pub lease_ms: u64,
    /// How long open streams may take to end when the master is told to stop. Default: 5 s.
    #[serde(default = "default_shutdown_grace_ms")]
    pub shutdown_grace_ms: u64,
    /// When a silent peer is given up.
    #[serde(default)]
    pub liveness: LivenessConfig,
    /// How resources are offered.
    #[serde(default)]
    pub allocation: AllocationConfig,
    /// How much of the past is remembered.
    #[serde(default)]
    pub history: HistoryConfig,
    /// The store of bundles.
    #[serde(default)]
    pub bundles: BundlesConfig,
    /// The streams to schedulers and agents.
    #[serde(default)]
    pub streams: StreamsConfig,
}

/// When a silent peer is given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LivenessConfig {
    /// How often an agent is pinged. Default: 15 s.
    pub ping_interval_ms: u64,
    /// After how many intervals of silence an agent is unreachable. Default: 5.
    pub ping_misses: u32,
    /// How long an agent may take to come back. Default: 10 min.
    pub agent_reregister_timeout_ms: u64,
    /// How many agents that are silent or do not come back are taken for lost in a time, one in each part of it:
    /// `{ agents = 10, per_ms = 60000 }` is one every 6 s. Who is heard of before its turn stays. Default: any number.
    pub agent_removal_rate: Option<RemovalRateConfig>,
    /// How many percent of the agents that a restarted master knows are taken for lost at most because they do not
    /// come back in time. At the limit the master says so, keeps the others, and goes on with those that are there.
    /// Default: 100.
    #[serde(deserialize_with = "percent")]
    pub recovery_agent_removal_limit: u8,
    /// How often a scheduler is told something. Default: 15 s.
    pub heartbeat_interval_ms: u64,
}

/// So many agents in a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovalRateConfig {
    /// So many agents …
    pub agents: NonZeroU32,
    /// … in this time.
    pub per_ms: u64,
}

impl From<RemovalRateConfig> for RemovalRate {
    fn from(config: RemovalRateConfig) -> Self {
        Self {
            agents: config.agents,
            per: Duration::from_millis(config.per_ms),
        }
    }
}

/// How resources are offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllocationConfig {
    /// The period of the allocation cycle. Default: 1 s.
    pub interval_ms: u64,
    /// How long to gather events before allocating. Default: 0, as soon as the queue is drained.
    pub window_ms: u64,
    /// How long an offer stands before it is rescinded; 0 is for ever. Default: 60 s.
    pub offer_timeout_ms: u64,
    /// Resources are offered if they contain one of these. Default: 0.01 CPU, or 32 MiB of memory.
    pub min_allocatable: Vec<Resources>,
    /// In which order frameworks are served: `drf`, by fair shares, or `priority`, by the priorities
    /// of their roles. Default: `drf`.
    pub policy: PolicyName,
    /// Whether the policy `priority` ends tasks of lower priority for what frameworks of higher priority
    /// have said to wait for. Default: no.
    pub preempt: bool,
    /// How long such a task has to end by itself; 0 is what the task asks for itself. Default: 0.
    pub preempt_grace_ms: u64,
    /// Resources that count for no share, as `["gpus", "disk"]`; quotas go by them all the same.
    /// Default: none.
    #[serde(deserialize_with = "names_of_resources")]
    pub fair_sharing_excluded: BTreeSet<Scalar>,
    /// Weights of roles among their siblings, in thousandths. A role that is not listed has 1000.
    pub weights_milli: BTreeMap<Role, NonZeroU32>,
}

/// The name of a built-in policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Hierarchical weighted dominant resource fairness.
    #[default]
    Drf,
    /// Roles of higher priority first.
    Priority,
}

impl From<PolicyName> for BuiltInPolicy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Drf => Self::Drf,
            PolicyName::Priority => Self::Priority,
        }
    }
}

/// How much of the past is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Ended tasks, and unreachable ones, per framework. Default: 1000.
    pub max_completed_tasks: usize,
    /// Completed frameworks with their tasks. Default: 50.
    pub max_completed_frameworks: usize,
    /// Barred ids of each kind in the registry. Default: 102,400.
    pub max_retired_ids: usize,
}

/// The store of bundles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BundlesConfig {
    /// The largest blob that is taken. Default: 1 GiB.
    pub max_bytes: u64,
    /// Where bundles are kept: `s3://BUCKET/PREFIX` in whatever speaks S3. Default: the state directory.
    pub store: Option<String>,
    /// Of an S3 store: its address, if it is not Amazon's. Default: from the environment.
    pub endpoint: Option<String>,
    /// Of an S3 store: the region. Default: from the environment.
    pub region: Option<String>,
    /// Of an S3 store: the key's id. Default: from the environment, or from the instance.
    pub access_key_id: Option<String>,
    /// Of an S3 store: the key's secret. Default: as the id.
    #[serde(skip_serializing)]
    pub secret_access_key: Option<Secret>,
    /// Of an S3 store: whether it may be spoken to without TLS. Default: no.
    pub allow_http: bool,
    /// The most bytes that a role and those below it keep, each blob counted once. Default: 64 GiB.
    pub max_bytes_per_role: u64,
    /// The most repositories of a role and those below it. Default: 1,000.
    pub max_repositories_per_role: u64,
    /// The most tags of a repository. Default: 20,000.
    pub max_tags_per_repository: u64,
    /// The most manifests of a repository. Default: 20,000.
    pub max_manifests_per_repository: u64,
    /// The most uploads that are under way or were not finished. Default: 1,000.
    pub max_uploads: usize,
    /// How long a bare bundle is kept that no task runs and nobody asks for. Default: 7 days.
    pub keep_unused_ms: u64,
    /// How long a layer that no manifest names, or a manifest that no tag names, is kept. Default: 1 h.
    pub keep_unreferenced_ms: u64,
    /// How often what nobody needs is removed; 0 is never. Default: 1 h.
    pub collect_interval_ms: u64,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// The streams to schedulers and agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamsConfig {
    /// How many messages may wait for a peer that does not read before it is cut. Default: 262,144.
    pub max_queued_messages: usize,
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, DEFAULT_MASTER_PORT).into()
}

fn default_lease_ms() -> u64 {
    5_000
}

fn default_shutdown_grace_ms() -> u64 {
    5_000
}

impl Default for LivenessConfig {
    fn default() -> Self {
        let core = CoreConfig::default();
        Self {
            ping_interval_ms: millis(core.ping_interval),
            ping_misses: core.ping_misses,
            agent_reregister_timeout_ms: millis(core.agent_reregister_timeout),
            agent_removal_rate: None,
            recovery_agent_removal_limit: core.recovery_agent_removal_limit,
            heartbeat_interval_ms: millis(core.heartbeat_interval),
        }
    }
}

impl Default for AllocationConfig {
    fn default() -> Self {
        let core = CoreConfig::default();
        Self {
            interval_ms: millis(core.allocation_interval),
            window_ms: millis(core.allocation_window),
            offer_timeout_ms: core.offer_timeout.map_or(0, millis),
            min_allocatable: core.min_allocatable,
            policy: PolicyName::default(),
            preempt: core.preemption.is_some(),
            preempt_grace_ms: 0,
            fair_sharing_excluded: core.fair_sharing_excluded,
            weights_milli: BTreeMap::new(),
        }
    }
}

impl AllocationConfig {
    fn preemption(&self) -> Option<Preemption> {
        let grace = Duration::from_millis(self.preempt_grace_ms);
        self.preempt.then(|| Preemption {
            grace: (!grace.is_zero()).then_some(grace),
        })
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let core = CoreConfig::default();
        Self {
            max_completed_tasks: core.max_completed_tasks,
            max_completed_frameworks: core.max_completed_frameworks,
            max_retired_ids: core.max_retired_ids,
        }
    }
}

impl Default for BundlesConfig {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            max_bytes: 1 << 30,
            store: None,
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
            max_bytes_per_role: 64 << 30,
            max_repositories_per_role: 1_000,
            max_tags_per_repository: 20_000,
            max_manifests_per_repository: 20_000,
            max_uploads: 1_000,
            keep_unused_ms: 7 * 24 * HOUR_MS,
            keep_unreferenced_ms: HOUR_MS,
            collect_interval_ms: HOUR_MS,
        }
    }
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            max_queued_messages: 1 << 18,
        }
    }
}

impl MasterConfig {
    /// A master that keeps its state in this directory; everything else at its default.
    #[must_use]
    pub fn new(state_directory: impl Into<PathBuf>) -> Self {
        Self {
            listen: default_listen(),
            state_directory: state_directory.into(),
            ephemeral: false,
            store: StoreAddress::default(),
            advertise: None,
            lease_ms: default_lease_ms(),
            shutdown_grace_ms: default_shutdown_grace_ms(),
            liveness: LivenessConfig::default(),
            allocation: AllocationConfig::default(),
            history: HistoryConfig::default(),
            bundles: BundlesConfig::default(),
            streams: StreamsConfig::default(),
        }
    }

    /// A master that ends with this process: on a loopback port that the system chooses, its bundles
    /// in this directory.
    #[must_use]
    pub fn ephemeral(directory: impl Into<PathBuf>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ephemeral: true,
            ..Self::new(directory)
        }
    }

    /// How long open streams may take to end.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }

    /// How long a leader's lease lasts.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// The part that the core decides by.
    pub(crate) fn core(&self) -> CoreConfig {
        let offer_timeout = Duration::from_millis(self.allocation.offer_timeout_ms);
        CoreConfig {
            ping_interval: Duration::from_millis(self.liveness.ping_interval_ms),
            ping_misses: self.liveness.ping_misses,
            agent_reregister_timeout: Duration::from_millis(
                self.liveness.agent_reregister_timeout_ms,
            ),
            agent_removal_rate: self.liveness.agent_removal_rate.map(Into::into),
            recovery_agent_removal_limit: self.liveness.recovery_agent_removal_limit,
            heartbeat_interval: Duration::from_millis(self.liveness.heartbeat_interval_ms),
            offer_timeout: (!offer_timeout.is_zero()).then_some(offer_timeout),
            allocation_interval: Duration::from_millis(self.allocation.interval_ms),
            allocation_window: Duration::from_millis(self.allocation.window_ms),
            min_allocatable: self.allocation.min_allocatable.clone(),
            policy: self.allocation.policy.into(),
            preemption: self.allocation.preemption(),
            fair_sharing_excluded: self.allocation.fair_sharing_excluded.clone(),
            weights: self
                .allocation
                .weights_milli
                .iter()
                .filter_map(|(role, milli)| Some((role.clone(), Weight::from_milli(milli.get())?)))
                .collect(),
            max_completed_tasks: self.history.max_completed_tasks,
            max_completed_frameworks: self.history.max_completed_frameworks,
            max_retired_ids: self.history.max_retired_ids,
        }
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    match percent {
        0..=100 => Ok(percent),
        _ => Err(de::Error::custom(format!(
            "{percent} is more than 100 percent; 100 lets all agents be lost, 0 none"
        ))),
    }
}

/// Names as they stand before the colon in `cpus:4;gpus:1`.
fn names_of_resources<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<Scalar>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let is_name = |name: &String| !name.is_empty() && !name.contains(NOT_IN_NAMES);
    if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        return Err(de::Error::custom(format!(
            "{wrong:?} is not the name of a resource; for example cpus, mem, disk or gpus"
        )));
    }
    Ok(names.iter().map(|name| Scalar::named(name)).collect())
}

/// What ends a name where resources are written, or cannot be part of one.
const NOT_IN_NAMES: fn(char) -> bool = |found| found.is_whitespace() || ":;,()".contains(found);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_enough() {
        let config: MasterConfig = toml::from_str(r#"state_directory = "/s""#).unwrap();
        assert_eq!(config.listen, default_listen());
        assert_eq!(config.core(), CoreConfig::default());
    }

    #[test]
    fn a_store_is_an_address_and_what_is_none_is_refused() {
        let read = |store: &str| {
            toml::from_str::<MasterConfig>(&format!("state_directory = '/s'\nstore = '{store}'"))
        };
        let config = read("etcd://a:1,b:2/x").unwrap();
        assert_eq!(config.store.to_string(), "etcd://a:1,b:2/x");
        assert_eq!(config.lease(), Duration::from_secs(5));
        let error = read("zk://a:1").unwrap_err().to_string();
        assert!(error.contains("nothing is known of zk://"), "{error}");
    }

    #[test]
    fn values_reach_the_core() {
        let config: MasterConfig = toml::from_str(
            r#"
            state_directory = "/s"
            [liveness]
            ping_interval_ms = 7
            agent_removal_rate = { agents = 10, per_ms = 60000 }
            recovery_agent_removal_limit = 30
            [allocation]
            offer_timeout_ms = 0
            policy = "priority"
            preempt = true
            preempt_grace_ms = 5000
            fair_sharing_excluded = ["gpus", "disk"]
            weights_milli = { "a/b" = 2500 }
            "#,
        )
        .unwrap();
        let core = config.core();
        assert_eq!(core.ping_interval, Duration::from_millis(7));
        let rate = core.agent_removal_rate.map(RemovalRate::interval);
        assert_eq!(rate, Some(Duration::from_secs(6)));
        assert_eq!(core.recovery_agent_removal_limit, 30);
        assert_eq!(core.offer_timeout, None);
        assert_eq!(core.policy, BuiltInPolicy::Priority);
        let grace = Some(Duration::from_secs(5));
        assert_eq!(core.preemption, Some(Preemption { grace }));
        let excluded = ["gpus", "disk"].map(Scalar::named);
        assert_eq!(core.fair_sharing_excluded, BTreeSet::from(excluded));
        let settings = core.role_settings(&"a/b".parse().unwrap());
        assert_eq!(settings.weight.milli(), 2500);
    }

    #[test]
    fn what_is_no_name_of_a_resource_is_refused_with_what_is_wrong() {
        for wrong in ["", " ", "gpus:1", "a,b", "cpus(ads)"] {
            let text = format!(
                "state_directory = '/s'\n[allocation]\nfair_sharing_excluded = ['disk', '{wrong}']"
            );
            let error = toml::from_str::<MasterConfig>(&text).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(&format!("{wrong:?} is not the name")),
                "{said}"
            );
        }
    }

    #[test]
    fn unknown_keys_and_weights_of_zero_are_refused() {
        for wrong in [
            "state_directory = '/s'\nlissten = '127.0.0.1:1'",
            "state_directory = '/s'\n[allocation]\nwindow = 3",
            "state_directory = '/s'\n[bundles]\nbucket = 'b'",
            "state_directory = '/s'\n[liveness]\nrecovery_agent_removal_limit = 101",
            "state_directory = '/s'\n[liveness]\nagent_removal_rate = { agents = 0, per_ms = 1 }",
            "state_directory = '/s'\n[allocation]\nweights_milli = { a = 0 }",
            "listen = '127.0.0.1:1'",
        ] {
            assert!(toml::from_str::<MasterConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
