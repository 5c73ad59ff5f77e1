//! What an agent opens on its host before it speaks with anybody. Blocks.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nesos_agent_core::Event;
use nesos_agent_core::checkpoint::Recovered;
use nesos_bundle::client::{Credentials, RegistryConfig};
use nesos_types::resources::Resources;
use rand::TryRngCore;
use rustix::fs::FlockOperation;
use tokio::sync::mpsc::UnboundedSender;

use super::{CellLinkConfig, StartError};
use crate::bundle_cache::{BundleCache, Sources};
use crate::checkpoint_log::{CheckpointFile, Writer};
use crate::clock::Clock;
use crate::compiler::{Compiler, CompilerConfig};
use crate::config::AgentConfig;
use crate::host_probe;
use crate::master_link::MasterAddress;
use crate::sandbox_dirs::{self, Remover};
use crate::volumes::Volumes;

/// All of it.
pub(super) struct Opened {
    /// Keeps other agents off the state directory.
    pub(super) lock: File,
    pub(super) state: Recovered,
    pub(super) checkpoints: Writer,
    pub(super) compiler: Compiler,
    pub(super) cells: CellLinkConfig,
    pub(super) remover: Remover,
    pub(super) volumes: Volumes,
    pub(super) detected: Resources,
    pub(super) fuel_per_cpu_second: u64,
    pub(super) hostname: String,
    pub(super) boot_id: String,
    pub(super) clock: Clock,
    pub(super) seed: u64,
}

/// Opens everything. Must be called within a tokio runtime.
pub(super) fn open(
    config: &AgentConfig,
    master: &MasterAddress,
    events: UnboundedSender<Event>,
) -> Result<Opened, StartError> {
    let lock = claim(&config.state_directory)?;
    let (state, checkpoints) = open_checkpoint(config, events)?;
    let remover = Remover::start().map_err(StartError::System)?;
    let volumes = open_volumes(config, &state, &remover)?;
    Ok(Opened {
        lock,
        state,
        checkpoints,
        compiler: open_compiler(config, master)?,
        cells: cells(config)?,
        volumes,
        remover,
        detected: host_probe::detect(config)?,
        fuel_per_cpu_second: fuel_rate(config),
        hostname: config.hostname.clone().unwrap_or_else(host_probe::hostname),
        boot_id: host_probe::boot_id(),
        clock: Clock::start(),
        seed: rand::rngs::OsRng
            .try_next_u64()
            .map_err(|error| StartError::System(io::Error::other(error)))?,
    })
}

/// What the configuration says, or what is measured.
fn fuel_rate(config: &AgentConfig) -> u64 {
    match config.fuel_per_cpu_second {
        0 if !config.ephemeral => nesos_runtime::measure_fuel_rate(),
        rate => rate,
    }
}

/// Makes the state directory and takes it for this agent alone.
fn claim(directory: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::StateDirectory {
        path: directory.to_owned(),
        source,
    };
    for part in ["cells", "sandboxes"] {
        fs::create_dir_all(directory.join(part)).map_err(failed)?;
    }
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked {
            path: directory.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

fn open_checkpoint(
    config: &AgentConfig,
    events: UnboundedSender<Event>,
) -> Result<(Recovered, Writer), StartError> {
    if config.ephemeral {
        return Ok((Recovered::default(), Writer::Ephemeral(events)));
    }
    let path = config.state_directory.join("checkpoint.redb");
    let file = CheckpointFile::open(&path)?;
    let mut state = file.load()?;
    state.sandboxes = sandbox_dirs::find(&config.sandbox_directory());
    tracing::info!(
        tasks = state.tasks.len(),
        cells = state.cells.len(),
        "recovered the checkpoint"
    );
    let writer = Writer::to_file(file, path, events).map_err(StartError::System)?;
    Ok((state, writer))
}

/// Whoever has no name yet, or has lost it, keeps nothing for anybody.
fn open_volumes(
    config: &AgentConfig,
    state: &Recovered,
    remover: &Remover,
) -> Result<Volumes, StartError> {
    let path = config.volume_directory();
    let failed = |source| StartError::StateDirectory {
        path: path.clone(),
        source,
    };
    let volumes = Volumes::open(path.clone(), remover).map_err(failed)?;
    if state.agent.as_ref().and_then(|agent| agent.id).is_none()
        && let Some(lost) = volumes.put_away().map_err(failed)?
    {
        let path = lost.display().to_string();
        tracing::warn!(
            path,
            "volumes of an agent that this one is no more were put away"
        );
    }
    Ok(volumes)
}

fn open_compiler(config: &AgentConfig, master: &MasterAddress) -> Result<Compiler, StartError> {
    let state = &config.state_directory;
    let blobs = Arc::new(Sources::new(Arc::new(master.clone()), registries(config)));
    let bundles = state.join("bundles");
    let cache =
        BundleCache::open(bundles.clone(), config.bundles.max_bytes, blobs).map_err(|source| {
            StartError::StateDirectory {
                path: bundles,
                source,
            }
        })?;
    let compiled = config.bundles.compiled_directory.clone();
    let compiled = compiled.unwrap_or_else(|| state.join("compiled"));
    let mut compiling =
        CompilerConfig::new(compiled, state.join("files")).map_err(StartError::System)?;
    compiling.files_max_bytes = config.bundles.files_max_bytes;
    compiling.max_bytes = config.bundles.compiled_max_bytes;
    compiling.parallel = config.bundles.parallel_compiles;
    if let Some(executable) = &config.cells.executable {
        compiling.executable = executable.clone();
    }
    Ok(Compiler::open(compiling, cache)?)
}

/// How registries are spoken with, beside the cluster's own.
fn registries(config: &AgentConfig) -> RegistryConfig {
    RegistryConfig {
        plain_http: config.registries.plain_http.clone(),
        credentials: match &config.registries.credentials {
            Some(path) => Credentials::from_file(path),
            None => Credentials::of_user(),
        },
    }
}

fn cells(config: &AgentConfig) -> Result<CellLinkConfig, StartError> {
    let directory = config.state_directory.join("cells");
    let mut cells = CellLinkConfig::new(directory).map_err(StartError::System)?;
    cells.guest_threads = config.cells.guest_threads;
    cells.max_sandboxes = Some(config.max_sandboxes());
    cells.orphan_grace = config.orphan_grace();
    cells.idle_grace = config.cell_idle().min(config.orphan_grace());
    if let Some(executable) = &config.cells.executable {
        cells.executable = executable.clone();
    }
    Ok(cells)
}
