//! Compiled bundles: from the cache of images, or from a short-lived child process under limits.
//!
//! A bundle is untrusted and a compiler takes what it is given: so the agent never compiles in a
//! process that it cannot lose.

mod artifact;
mod images;
mod seals;
mod unpacked;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use nesos_agent_core::{BundleKey, Event};
use nesos_runtime::{ModuleCache, ModuleCacheError};
use nesos_types::bundle::Digest;
use nesos_types::cell::SandboxVolume;
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use rustix::process::Signal;
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use self::artifact::Artifact;
use self::images::Images;
use self::seals::Seals;
use self::unpacked::Unpacked;
use crate::bundle_cache::{BundleCache, FetchError, Place};
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
    /// Where the files of bundles are unpacked.
    pub files_directory: PathBuf,
    /// How many bytes of files are kept, beside those in use.
    pub files_max_bytes: u64,
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
    /// Compiling by this binary, with images in `directory` and files in `files_directory`; everything else at
    /// its default.
    ///
    /// # Errors
    /// If the system does not say which binary this is.
    pub fn new(directory: PathBuf, files_directory: PathBuf) -> io::Result<Self> {
        Ok(Self {
            executable: std::env::current_exe()?,
            directory,
            max_bytes: 4 << 30,
            files_directory,
            files_max_bytes: 4 << 30,
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

    /// The artifact is no bundle.
    fn artifact(bundle: Digest, error: &dyn std::error::Error) -> Self {
        Self::Refused {
            reason: TaskReason::InvalidModule,
            message: format!("{bundle} is no bundle: {error}"),
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
    seals: Seals,
    files: Unpacked,
    /// What the bundles came to that are held, by their keys; and which bundles came to what is compiled.
    held: Mutex<HashMap<BundleKey, Artifact>>,
    known: Mutex<HashMap<Digest, Digest>>,
    permits: Semaphore,
}

/// The cache of compiled images cannot be used.
#[derive(Debug, Error)]
pub enum CompilerError {
    /// The cache's own directory.
    #[error(transparent)]
    Cache(#[from] ModuleCacheError),
    /// The key that seals images.
    #[error("cannot make or read the key of compiled code in {path:?}")]
    Key {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory of files.
    #[error("cannot use {path:?} for the files of bundles")]
    Files {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
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
        let seals = Seals::open(&config.directory).map_err(|source| CompilerError::Key {
            path: config.directory.clone(),
            source,
        })?;
        let files = Unpacked::open(config.files_directory.clone(), config.files_max_bytes);
        let files = files.map_err(|source| CompilerError::Files {
            path: config.files_directory.clone(),
            source,
        })?;
        let permits = Semaphore::new(config.parallel.max(1));
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                bundles,
                cache,
                images,
                seals,
                files,
                held: Mutex::default(),
                known: Mutex::default(),
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
            let event = match compiler.prepare(&bundle).await {
                Ok(prepared) => {
                    if prepared.is_new {
                        compiler.tell_compiled(&events);
                    }
                    Event::BundleReady {
                        bundle,
                        compiled: prepared.image,
                        files: prepared.files,
                    }
                }
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
        match self.shared.compiled() {
            // A driver that no longer listens is about to end.
            Ok(digests) => drop(events.send(Event::Compiled(digests))),
            Err(error) => tracing::warn!(%error, "cannot list the compiled bundles"),
        }
    }

    /// Performs [`Effect::ReleaseBundle`](nesos_agent_core::Effect::ReleaseBundle).
    pub fn release(&self, bundle: &BundleKey) {
        let Some(artifact) = lock(&self.shared.held).remove(bundle) else {
            return;
        };
        let image = self.shared.cached(artifact.wasm, bundle.metering);
        self.shared.images.release(&image);
        if let Some(files) = artifact.files {
            self.shared.files.release(files.layer);
        }
    }

    /// The compiled image and the files of a bundle, which stay until it is released.
    ///
    /// # Errors
    /// If the bundle cannot be fetched or compiled, or nobody vouches for it who must.
    pub async fn prepare(&self, bundle: &BundleKey) -> Result<Prepared, PrepareError> {
        let bundles = &self.shared.bundles;
        artifact::vouch(bundles, bundle).await?;
        let artifact = Artifact::of(bundles, bundle).await?;
        let files = self.hold_files(&artifact).await?;
        let held = self.hold_image(&artifact, bundle.metering).await;
        let (image, is_new) = held.inspect_err(|_| {
            if let Some(files) = &artifact.files {
                self.shared.files.release(files.layer);
            }
        })?;
        lock(&self.shared.known).insert(bundle.digest, artifact.wasm);
        lock(&self.shared.held).insert(bundle.clone(), artifact);
        Ok(Prepared {
            image,
            is_new,
            files,
        })
    }

    async fn hold_image(
        &self,
        artifact: &Artifact,
        metering: Metering,
    ) -> Result<(PathBuf, bool), PrepareError> {
        let mut is_new = false;
        loop {
            if let Some(image) = self.shared.hold(artifact.wasm, metering).await? {
                return Ok((image, is_new));
            }
            is_new = true;
            let shared = self.shared.clone();
            let wanted = artifact.clone();
            let work = async move { shared.make(&wanted, metering).await };
            let image = self.shared.cached(artifact.wasm, metering);
            self.flights.join(image, work).await?;
        }
    }

    /// The files, as the sandbox finds them.
    async fn hold_files(&self, artifact: &Artifact) -> Result<Option<SandboxVolume>, PrepareError> {
        let Some(files) = &artifact.files else {
            return Ok(None);
        };
        let layer = files.layer;
        let host = loop {
            if let Some(host) = self.shared.files.hold(layer) {
                break host;
            }
            let shared = self.shared.clone();
            let place = artifact.place.clone();
            let work = async move { shared.unpack(&place, layer).await };
            let key = self.shared.config.files_directory.join(layer.hex());
            self.flights.join(key, work).await?;
        };
        Ok(Some(SandboxVolume {
            host,
            guest: files.guest.clone(),
            read_only: true,
            max_bytes: 0,
        }))
    }
}

/// A bundle that a cell can map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The compiled image.
    pub image: PathBuf,
    /// Its read-only files, as its sandboxes find them.
    pub files: Option<SandboxVolume>,
    /// Whether it was compiled for this.
    is_new: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn cached(&self, wasm: Digest, metering: Metering) -> PathBuf {
        self.cache.path_for_new(&wasm, metering)
    }

    /// What is compiled, and the bundles that are known to come to it.
    fn compiled(&self) -> io::Result<BTreeSet<Digest>> {
        let mut digests = self.cache.digests()?;
        let mut known = lock(&self.known);
        known.retain(|_, wasm| digests.contains(wasm));
        digests.extend(known.keys());
        Ok(digests)
    }

    /// Holds the image, if it is there and is what was compiled.
    async fn hold(
        self: &Arc<Self>,
        wasm: Digest,
        metering: Metering,
    ) -> Result<Option<PathBuf>, PrepareError> {
        let Some(image) = self.cache.lookup(&wasm, metering) else {
            return Ok(None);
        };
        let shared = self.clone();
        let held = tokio::task::spawn_blocking(move || {
            if shared.seals.holds(&image) {
                return shared.images.hold(&image);
            }
            tracing::warn!(
                ?image,
                "a compiled bundle is not what was sealed; it is compiled again"
            );
            // What cannot be removed is written over.
            let _ = std::fs::remove_file(&image);
            None
        });
        held.await
            .map_err(io::Error::other)
            .map_err(PrepareError::system("check a compiled bundle"))
    }

    async fn unpack(self: Arc<Self>, place: &Place, layer: Digest) -> Result<(), PrepareError> {
        let packed = self.bundles.fetch(place, layer).await?;
        let unpacked = tokio::task::spawn_blocking(move || self.files.add(layer, packed.path()));
        let unpacked = unpacked.await.map_err(io::Error::other);
        let unpacked = unpacked.map_err(PrepareError::system("unpack a bundle's files"))?;
        unpacked.map_err(|error| PrepareError::artifact(layer, &error))
    }

    async fn make(&self, artifact: &Artifact, metering: Metering) -> Result<(), PrepareError> {
        let wasm = self.bundles.fetch(&artifact.place, artifact.wasm).await?;
        let image = self.cached(artifact.wasm, metering);
        let Ok(_permit) = self.permits.acquire().await else {
            unreachable!("the semaphore is never closed");
        };
        let began = std::time::Instant::now();
        let bytes = self.compile(wasm.path(), metering, &image).await?;
        self.seals
            .seal(&image)
            .map_err(PrepareError::system("seal a compiled bundle"))?;
        let took_ms = began.elapsed().as_millis();
        tracing::info!(digest = %artifact.wasm, bytes, took_ms, "a bundle was compiled");
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
