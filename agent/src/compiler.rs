//! Compiled bundles: from the cache of images, or from a short-lived child process under limits.
//!
//! A bundle is untrusted and a compiler takes what it is given: so the agent never compiles in a
//! process that it cannot lose.

mod images;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use nesos_agent_core::{BundleKey, Event};
use nesos_runtime::{ModuleCache, ModuleCacheError};
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use rustix::process::Signal;
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use self::images::Images;
use crate::bundle_cache::{BundleCache, FetchError};
use crate::causes::with_causes;
use crate::compile::{MeteringArg, Verdict};
use crate::single_flight::SingleFlight;

/// How bundles are compiled.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    /// The binary whose subcommand `compile` compiles; the agent's own by default.
    pub executable: PathBuf,
    /// Where compiled images are.
    pub directory: PathBuf,
    /// How many bytes of compiled images are kept, beside those in use.
    pub max_bytes: u64,
    /// The most address space of one compiling process, in bytes.
    pub memory_bytes: u64,
    /// The most CPU time of one compiling process.
    pub cpu: Duration,
    /// The most wall-clock time of one compiling process.
    pub wall: Duration,
    /// How many compile at the same time.
    pub parallel: usize,
}

impl CompilerConfig {
    /// Compiling by this binary, with images in `directory`; everything else at its default.
    ///
    /// # Errors
    /// If the system does not say which binary this is.
    pub fn new(directory: PathBuf) -> io::Result<Self> {
        Ok(Self {
            executable: std::env::current_exe()?,
            directory,
            max_bytes: 4 << 30,
            memory_bytes: 6 << 30,
            cpu: Duration::from_secs(900),
            wall: Duration::from_secs(900),
            parallel: 2,
        })
    }
}

/// A bundle could not be brought to the point where a cell can map it.
#[derive(Clone, Debug, Error)]
pub enum PrepareError {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It cannot be compiled.
    #[error("{message}")]
    Refused {
        /// What a task that waits for it is told.
        reason: TaskReason,
        /// Why, for a person.
        message: String,
    },
    /// The agent failed, not the bundle.
    #[error("the agent cannot {action}")]
    System {
        /// What it tried.
        action: &'static str,
        /// Why it failed.
        source: Arc<io::Error>,
    },
}

impl PrepareError {
    fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System {
            action,
            source: Arc::new(source),
        }
    }

    fn limit(message: String) -> Self {
        Self::Refused {
            reason: TaskReason::CompileLimit,
            message,
        }
    }

    /// What a task that waits for the bundle is told.
    #[must_use]
    pub fn reason(&self) -> TaskReason {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Refused { reason, .. } => *reason,
            Self::System { .. } => TaskReason::LaunchFailed,
        }
    }
}

/// Brings bundles to the point where a cell can map them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiler {
    shared: Arc<Shared>,
    flights: Arc<SingleFlight<PathBuf, Result<(), PrepareError>>>,
}

#[derive(Debug)]
struct Shared {
    config: CompilerConfig,
    bundles: BundleCache,
    cache: ModuleCache,
    images: Images,
    permits: Semaphore,
}

/// The cache of compiled images cannot be used.
#[derive(Debug, Error)]
pub enum CompilerError {
    /// The cache's own directory.
    #[error(transparent)]
    Cache(#[from] ModuleCacheError),
    /// The directory of images in use.
    #[error("cannot make {path:?} for compiled bundles in use")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Compiler {
    /// A compiler of what `bundles` brings.
    ///
    /// # Errors
    /// If the directory of images cannot be used.
    pub fn open(config: CompilerConfig, bundles: BundleCache) -> Result<Self, CompilerError> {
        let cache = ModuleCache::open(&config.directory, config.max_bytes)?;
        let in_use = config.directory.join("in-use");
        let images = Images::open(&in_use).map_err(|source| CompilerError::InUse {
            path: in_use,
            source,
        })?;
        let permits = Semaphore::new(config.parallel.max(1));
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                bundles,
                cache,
                images,
                permits,
            }),
            flights: Arc::new(SingleFlight::new()),
        })
    }

    /// Performs [`Effect::FetchBundle`](nesos_agent_core::Effect::FetchBundle): says through `events`
    /// when the bundle is ready, or why it never will be. Must be called within a tokio runtime.
    pub fn fetch(&self, bundle: BundleKey, events: mpsc::UnboundedSender<Event>) {
        let compiler = self.clone();
        tokio::spawn(async move {
            let was_there = compiler.shared.is_compiled(bundle);
            let prepared = compiler.prepare(bundle).await;
            if !was_there && prepared.is_ok() {
                compiler.tell_compiled(&events);
            }
            let event = match prepared {
                Ok(compiled) => Event::BundleReady { bundle, compiled },
                Err(error) => Event::BundleFailed {
                    bundle,
                    reason: error.reason(),
                    message: with_causes(&error),
                },
            };
            // A driver that no longer listens is about to end.
            let _ = events.send(event);
        });
    }

    /// Says through `events` which bundles are compiled.
    pub fn tell_compiled(&self, events: &mpsc::UnboundedSender<Event>) {
        match self.shared.cache.digests() {
            // A driver that no longer listens is about to end.
            Ok(digests) => drop(events.send(Event::Compiled(digests))),
            Err(error) => tracing::warn!(%error, "cannot list the compiled bundles"),
        }
    }

    /// Performs [`Effect::ReleaseBundle`](nesos_agent_core::Effect::ReleaseBundle).
    pub fn release(&self, bundle: BundleKey) {
        self.shared.images.release(&self.shared.cached(bundle));
    }

    /// The compiled image of a bundle, which stays until it is released as often as it was prepared.
    ///
    /// # Errors
    /// If the bundle cannot be fetched or compiled.
    pub async fn prepare(&self, bundle: BundleKey) -> Result<PathBuf, PrepareError> {
        loop {
            if let Some(image) = self.shared.hold(bundle) {
                return Ok(image);
            }
            let shared = self.shared.clone();
            let work = async move { shared.make(bundle).await };
            self.flights.join(self.shared.cached(bundle), work).await?;
        }
    }
}

impl Shared {
    fn cached(&self, bundle: BundleKey) -> PathBuf {
        self.cache.path_for_new(&bundle.digest, bundle.metering)
    }

    fn is_compiled(&self, bundle: BundleKey) -> bool {
        self.cached(bundle).exists()
    }

    /// Holds the image, if it is there.
    fn hold(&self, bundle: BundleKey) -> Option<PathBuf> {
        let image = self.cache.lookup(&bundle.digest, bundle.metering)?;
        self.images.hold(&image)
    }

    async fn make(&self, bundle: BundleKey) -> Result<(), PrepareError> {
        let wasm = self.bundles.fetch(bundle.digest).await?;
        let image = self.cached(bundle);
        let Ok(_permit) = self.permits.acquire().await else {
            unreachable!("the semaphore is never closed");
        };
        let began = std::time::Instant::now();
        let bytes = self.compile(wasm.path(), bundle.metering, &image).await?;
        let took_ms = began.elapsed().as_millis();
        tracing::info!(digest = %bundle.digest, bytes, took_ms, "a bundle was compiled");
        self.cache
            .trim(&image)
            .map_err(PrepareError::system("make room for compiled bundles"))
    }

    /// Runs the compiling process to its end.
    async fn compile(
        &self,
        wasm: &Path,
        metering: Metering,
        image: &Path,
    ) -> Result<u64, PrepareError> {
        let output = self.command(wasm, metering, image).output();
        let output = timeout(self.config.wall, output).await.map_err(|_| {
            PrepareError::limit(format!(
                "compiling took more than the {} s that it may take",
                self.config.wall.as_secs()
            ))
        })?;
        let output = output.map_err(PrepareError::system("run the compiling process"))?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Verdict::Compiled { image_bytes }) if output.status.success() => Ok(image_bytes),
            Ok(Verdict::Refused { reason, message }) => {
                Err(PrepareError::Refused { reason, message })
            }
            _ => Err(self.autopsy(&output)),
        }
    }

    fn command(&self, wasm: &Path, metering: Metering, image: &Path) -> Command {
        let metering = MeteringArg::from(metering).to_possible_value();
        let metering = metering.as_ref().map_or("", |value| value.get_name());
        let mut command = Command::new(&self.config.executable);
        command
            .arg("compile")
            .arg("--input")
            .arg(wasm)
            .arg("--output")
            .arg(image)
            .args(["--metering", metering])
            .args(["--memory-bytes", &self.config.memory_bytes.to_string()])
            .args(["--cpu-secs", &self.config.cpu.as_secs().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What a process died of that could not say it.
    fn autopsy(&self, output: &Output) -> PrepareError {
        use std::os::unix::process::ExitStatusExt;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last_words = stderr.trim().lines().next_back().unwrap_or_default();
        match output.status.signal() {
            Some(signal)
                if [Signal::XCPU, Signal::KILL]
                    .iter()
                    .any(|end| end.as_raw() == signal) =>
            {
                PrepareError::limit(format!(
                    "compiling took more than the {} s of CPU time that it may take",
                    self.config.cpu.as_secs()
                ))
            }
            Some(_) => PrepareError::limit(format!(
                "compiling took more than the {} bytes of memory that it may take: {last_words}",
                self.config.memory_bytes
            )),
            None => PrepareError::Refused {
                reason: TaskReason::InvalidModule,
                message: format!("the compiler failed ({}): {last_words}", output.status),
            },
        }
    }
}
