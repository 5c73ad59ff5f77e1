//! The runtime: what the sandboxes of one process have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

use crate::cpu::GuestThreads;
use crate::engine::{EngineError, Engines, sandboxes_by_mappings};
use crate::program::Programs;
use crate::sandbox::{Host, Observer, Sandbox, SandboxSpec, Slots, Start};

/// How often every running guest comes up for air, whatever its fuel says.
pub(crate) const EPOCH: Duration = Duration::from_millis(10);

/// How a runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Threads that guests run on: the CPUs that they may use together.
    pub guest_threads: usize,
    /// Sandboxes at once; `None` is what the kernel's limit on mappings allows. More launches wait
    /// their turn.
    pub max_sandboxes: Option<u32>,
    /// How long one function of an executor may take, before that is ended: wall-clock time, but for the
    /// time in which it waited for a CPU.
    pub handler_limit: Duration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            guest_threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_sandboxes: None,
            handler_limit: Duration::from_secs(30),
        }
    }
}

/// The runtime could not be made.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The engine or its pool of sandboxes.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread.
    #[error("cannot start the threads that guests run on")]
    Threads(#[source] std::io::Error),
}

/// One per cell process: engines, pool, guest threads, loaded programs.
///
/// Dropping it ends every sandbox; each observer is told so.
#[derive(Debug)]
pub struct Runtime {
    host: Arc<Host>,
    // Before the ticker: guests stop first.
    threads: Arc<GuestThreads>,
    ticker: Ticker,
}

impl Runtime {
    /// A runtime whose guests' timers and I/O are served by `io`; guests never run there.
    pub fn new(config: RuntimeConfig, io: Handle) -> Result<Self, RuntimeError> {
        let sandboxes = config
            .max_sandboxes
            .unwrap_or_else(sandboxes_by_mappings)
            .max(1);
        let engines = Arc::new(Engines::new(sandboxes)?);
        let threads =
            GuestThreads::start(config.guest_threads, &io).map_err(RuntimeError::Threads)?;
        let threads = Arc::new(threads);
        let ticker =
            Ticker::start(engines.clone(), threads.clone()).map_err(RuntimeError::Threads)?;
        let slots = Slots::new(&engines);
        let host = Arc::new(Host {
            programs: Programs::new(engines, config.handler_limit),
            slots,
            spawner: threads.spawner(),
            io,
            quotas: Arc::default(),
        });
        Ok(Self {
            host,
            threads,
            ticker,
        })
    }

    /// Starts a sandbox. Returns at once and never fails: whatever goes wrong is an
    /// [`Exit`](crate::Exit) told to the observer. Sandboxes start in the order of their launches.
    pub fn launch(&self, spec: SandboxSpec, observer: Box<dyn Observer>) -> Sandbox {
        let start = Start::of_task(spec);
        let control = self.host.control(&start);
        let started = self.host.start(start, observer, &control);
        debug_assert!(started, "the threads are there as long as the runtime is");
        self.ticker.wake();
        Sandbox { control }
    }

    /// Sandboxes that are not over, waiting ones included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.threads.live()
    }
}

/// Advances the epochs of all engines while there are sandboxes, and sleeps otherwise.
#[derive(Debug)]
struct Ticker {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    handle: Thread,
}

impl Ticker {
    fn start(engines: Arc<Engines>, threads: Arc<GuestThreads>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = std::thread::Builder::new()
            .name("epochs".to_owned())
            .spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if threads.live() == 0 {
                        std::thread::park();
                    } else {
                        std::thread::sleep(EPOCH);
                        engines.tick();
                    }
                }
            })?;
        Ok(Self {
            stopping,
            handle: thread.thread().clone(),
            thread: Some(thread),
        })
    }

    fn wake(&self) {
        self.handle.unpark();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
