//! A runtime as a cell has it, in this process, and guests in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
use nesos_runtime::{
    Exit, Identity, NoUplink, Observer, Runtime, RuntimeConfig, Sandbox, SandboxSpec, Stdin,
    Stdout, compile,
};
use nesos_types::bundle::Digest;
use nesos_types::ids::FrameworkId;
use nesos_types::limits::Metering;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskState};

/// A warm runtime and a directory for what runs in it.
pub(crate) struct Cell {
    runtime: Runtime,
    directory: tempfile::TempDir,
    _io: tokio::runtime::Runtime,
}

/// A compiled guest.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    path: PathBuf,
    metering: Metering,
}

/// How to launch a guest.
pub(crate) struct Launch {
    /// Arguments after the program's name.
    pub(crate) args: Vec<String>,
    pub(crate) cpu_milli: u64,
    pub(crate) stdout: Stdout,
}

impl Default for Launch {
    /// One CPU, no arguments, output that goes nowhere.
    fn default() -> Self {
        Self {
            args: Vec::new(),
            cpu_milli: 1_000,
            stdout: Stdout::Null,
        }
    }
}

/// A guest that was launched.
pub(crate) struct Guest {
    pub(crate) sandbox: Sandbox,
    events: Receiver<Heard>,
}

enum Heard {
    Running,
    Exited(Box<Exit>),
}

/// Passes on what it is told.
struct Teller(Sender<Heard>);

impl Observer for Teller {
    fn running(&mut self) {
        // Whoever launched it may not care any more.
        let _ = self.0.send(Heard::Running);
    }

    fn exited(&mut self, exit: Exit) {
        let _ = self.0.send(Heard::Exited(Box::new(exit)));
    }
}

/// What a guest of these benchmarks may use beside CPU.
const MEM_BYTES: u64 = 64 << 20;
const DISK_BYTES: u64 = 16 << 20;

impl Cell {
    /// A runtime with a guest thread for each CPU, as a cell starts it.
    pub(crate) fn start() -> Result<Self> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let runtime = Runtime::new(RuntimeConfig::default(), io.handle().clone())?;
        Ok(Self {
            runtime,
            directory: tempfile::tempdir()?,
            _io: io,
        })
    }

    /// Compiles a module.
    pub(crate) fn compile(&self, wasm: &Path, metering: Metering) -> Result<Image> {
        let stem = wasm.file_stem().unwrap_or_default().to_string_lossy();
        let path = self
            .directory
            .path()
            .join(format!("{stem}.{metering:?}.image"));
        compile(wasm, metering, &path)
            .with_context(|| format!("cannot compile {}", wasm.display()))?;
        Ok(Image { path, metering })
    }

    /// Everything that a launch needs, made before the clock starts.
    pub(crate) fn spec(&self, image: &Image, launch: Launch) -> Result<SandboxSpec> {
        let resources = Resources::new(launch.cpu_milli, MEM_BYTES).with_disk(DISK_BYTES);
        let mut task = TaskInfo::new("guest".parse()?, Digest([0; 32]), resources);
        task.limits.metering = image.metering;
        task.args = ["guest".to_owned()]
            .into_iter()
            .chain(launch.args)
            .collect();
        Ok(SandboxSpec {
            framework: FrameworkId(1),
            task: Arc::new(task),
            compiled: image.path.clone(),
            volumes: Vec::new(),
            root: tempfile::tempdir_in(&self.directory)?.keep(),
            stdin: Stdin::Empty,
            stdout: launch.stdout,
            stderr: Stdout::Null,
            fuel_per_cpu_second: 1_000_000_000,
            determinism: None,
            identity: Identity::default(),
            uplink: Arc::new(NoUplink),
        })
    }

    pub(crate) fn launch(&self, spec: SandboxSpec) -> Guest {
        let (sender, events) = channel();
        Guest {
            sandbox: self.runtime.launch(spec, Box::new(Teller(sender))),
            events,
        }
    }
}

impl Guest {
    /// Waits until the guest is about to execute its first instruction.
    pub(crate) fn wait_until_running(&self) -> Result<()> {
        match self.events.recv()? {
            Heard::Running => Ok(()),
            Heard::Exited(exit) => bail!("the guest never ran: {}", exit.message),
        }
    }

    /// Waits for the end, whatever it is.
    pub(crate) fn exit(&self) -> Result<Exit> {
        loop {
            if let Heard::Exited(exit) = self.events.recv()? {
                return Ok(*exit);
            }
        }
    }

    /// Waits for the end, which must be a good one.
    pub(crate) fn finish(&self) -> Result<Exit> {
        let exit = self.exit()?;
        if exit.state != TaskState::Finished {
            bail!("the guest is {}: {}", exit.state, exit.message);
        }
        Ok(exit)
    }
}
