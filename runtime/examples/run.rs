//! Runs one bundle in one sandbox, without a cluster: `cargo run --example run -- FILE [ARGS]...`.
//!
//! For whoever works on the runtime. 2 CPUs, 256 MiB, 64 MiB of disk; the exit is printed to stderr.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nesos_runtime::{
    Exit, Identity, NoUplink, Observer, Runtime, RuntimeConfig, SandboxSpec, Stdin, Stdout, compile,
};
use nesos_types::bundle::Digest;
use nesos_types::ids::FrameworkId;
use nesos_types::limits::Limits;
use nesos_types::resources::Resources;
use nesos_types::task::TaskInfo;

struct Events(mpsc::Sender<Exit>);

impl Observer for Events {
    fn running(&mut self) {}

    fn exited(&mut self, exit: Exit) {
        // Nobody listens any more if the program was interrupted.
        let _ = self.0.send(exit);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.first().ok_or("usage: run FILE [ARGS]...")?;
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("guest.cwasm");
    let limits = Limits {
        timeout: Some(Duration::from_secs(20)),
        ..Limits::default()
    };
    compile(Path::new(file), limits.metering, &image)?;
    let resources = Resources::new(2000, 256 << 20).with_disk(64 << 20);
    let task = TaskInfo {
        args: args.clone(),
        limits,
        ..TaskInfo::new("guest".parse()?, Digest([0; 32]), resources)
    };
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let runtime = Runtime::new(RuntimeConfig::default(), io.handle().clone())?;
    let (out, mut output) = tokio::sync::mpsc::channel(16);
    let (sender, exits) = mpsc::channel();
    let spec = SandboxSpec {
        framework: FrameworkId(1),
        task: task.into(),
        compiled: image,
        root: directory.path().join("root"),
        volumes: Vec::new(),
        stdin: Stdin::Empty,
        stdout: Stdout::Attached(out.clone()),
        stderr: Stdout::Attached(out),
        fuel_per_cpu_second: 1_000_000_000,
        determinism: None,
        identity: Identity::default(),
        uplink: Arc::new(NoUplink),
    };
    let _sandbox = runtime.launch(spec, Box::new(Events(sender)));
    while let Some(bytes) = output.blocking_recv() {
        std::io::stdout().write_all(&bytes)?;
    }
    let exit = exits.recv()?;
    writeln!(std::io::stderr(), "{exit:#?}")?;
    std::process::exit(exit.exit_code.unwrap_or(255).into())
}
