#![doc = include_str!("../README.md")]

mod recorder;
mod stage;

use std::path::Path;

use nesos_guest::testing::{Script, Transcript};
use nesos_runtime::{
    BundleKind, CompileError, InspectError, Runtime, RuntimeConfig, RuntimeError, compile, inspect,
};
use nesos_types::limits::Metering;
use thiserror::Error;

pub use recorder::Recorder;
pub use stage::{Alive, Start};

/// Sandboxes at once, unless somebody wants another number: tests run beside one another, and every pool takes
/// its part of the address space.
const SANDBOXES: u32 = 128;

/// Why a component cannot be run here.
#[derive(Debug, Error)]
pub enum HarnessError {
    /// It is no component.
    #[error("cannot read the component")]
    Inspect(#[from] InspectError),
    /// It could not be compiled.
    #[error("cannot compile the component")]
    Compile(#[from] CompileError),
    /// The runtime could not be set up.
    #[error("cannot set up a runtime")]
    Runtime(#[from] RuntimeError),
    /// There is no place for its files.
    #[error("cannot make a temporary directory or start a thread")]
    Io(#[from] std::io::Error),
}

/// A component, compiled, and a runtime for it.
#[derive(Debug)]
pub struct Harness {
    runtime: Runtime,
    is_executor: bool,
    directory: tempfile::TempDir,
    // Last: guests' timers are served here.
    _io: tokio::runtime::Runtime,
}

impl Harness {
    /// Compiles the component in this file. There is room for it and some children.
    pub fn new(component: &Path) -> Result<Self, HarnessError> {
        let config = RuntimeConfig {
            max_sandboxes: Some(SANDBOXES),
            ..RuntimeConfig::default()
        };
        Self::with(component, config)
    }

    /// The same with limits of one's own.
    pub fn with(component: &Path, config: RuntimeConfig) -> Result<Self, HarnessError> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let directory = tempfile::tempdir()?;
        let is_executor = inspect(component)?.kind == BundleKind::Executor;
        compile(component, Metering::Clock, &directory.path().join("image"))?;
        let runtime = Runtime::new(config, io.handle().clone())?;
        Ok(Self {
            runtime,
            is_executor,
            directory,
            _io: io,
        })
    }

    /// Starts the component.
    pub fn start(&self, start: Start) -> Alive {
        let image = self.directory.path().join("image");
        let root = self.directory.path().join("root");
        Alive::launch(&self.runtime, start, self.is_executor, image, root)
    }

    /// Plays a script to its end, as `Script::run` does natively; an executor that is alive then is dropped.
    pub fn run(&self, script: &Script) -> Transcript {
        let executor = self.start(Start::of(script));
        script.steps.iter().for_each(|step| executor.step(step));
        executor.end()
    }

    /// Sandboxes that are not over.
    pub fn live(&self) -> usize {
        self.runtime.live()
    }

    /// Where its files are: `root/` in it is the guest's writable root.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
