//! Quick figures of the runtime alone, for whoever works on it: `cargo run --example measure -- WHAT`.
//!
//! `shares`: what guests get beside what they accepted. `start`: launch to first instruction.
//! `rate`: the fuel rate. The promised figures are measured by `nesos-bench`, on the whole system.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nesos_runtime::{
    Exit, Identity, NoUplink, Observer, Runtime, RuntimeConfig, Sandbox, SandboxSpec, Stdin,
    Stdout, compile, measure_fuel_rate,
};
use nesos_types::bundle::Digest;
use nesos_types::ids::FrameworkId;
use nesos_types::limits::{Limits, Metering};
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason};

const SPIN: &str = r#"(module (func (export "_start") (loop (br 0))))"#;
const NOOP: &str = r#"(module (memory 1) (func (export "_start")))"#;

struct Events(mpsc::Sender<(Instant, Option<Exit>)>);

impl Observer for Events {
    fn running(&mut self) {
        let _ = self.0.send((Instant::now(), None));
    }

    fn exited(&mut self, exit: Exit) {
        let _ = self.0.send((Instant::now(), Some(exit)));
    }
}

struct Rig {
    runtime: Runtime,
    directory: tempfile::TempDir,
    _io: tokio::runtime::Runtime,
}

impl Rig {
    fn new() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a tokio runtime");
        let runtime =
            Runtime::new(RuntimeConfig::default(), io.handle().clone()).expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            runtime,
            directory,
            _io: io,
        }
    }

    fn compile(&self, text: &str, metering: Metering) -> PathBuf {
        let wasm = self.directory.path().join("guest.wasm");
        std::fs::write(&wasm, wat::parse_str(text).expect("valid text")).expect("a file");
        let image = self
            .directory
            .path()
            .join(format!("{}-{metering:?}.cwasm", text.len()));
        compile(&wasm, metering, &image).expect("it compiles");
        image
    }

    fn launch(&self, image: &Path, cpu_milli: u64, metering: Metering, events: Events) -> Sandbox {
        let limits = Limits {
            metering,
            ..Limits::default()
        };
        let id = "guest".parse().expect("a task id");
        let resources = Resources::new(cpu_milli, 4 << 20);
        let task = TaskInfo {
            limits,
            ..TaskInfo::new(id, Digest([0; 32]), resources)
        };
        let spec = SandboxSpec {
            framework: FrameworkId(1),
            task: task.into(),
            compiled: image.to_owned(),
            root: self.directory.path().join("root"),
            volumes: Vec::new(),
            stdin: Stdin::Empty,
            stdout: Stdout::Null,
            stderr: Stdout::Null,
            fuel_per_cpu_second: 1_000_000_000,
            determinism: None,
            identity: Identity::default(),
            uplink: Arc::new(NoUplink),
        };
        self.runtime.launch(spec, Box::new(events))
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("shares") => shares(),
        Some("start") => start(),
        Some("rate") => say(format!(
            "{} units of fuel per CPU second",
            measure_fuel_rate()
        )),
        _ => say("usage: measure shares | start | rate".to_owned()),
    }
}

#[expect(clippy::print_stdout, reason = "an example that prints figures")]
fn say(line: String) {
    println!("{line}");
}

fn shares() {
    let rig = Rig::new();
    for metering in [Metering::Clock, Metering::Time] {
        let image = rig.compile(SPIN, metering);
        for together in [
            &[100][..],
            &[250],
            &[500],
            &[1000],
            &[100, 250, 500, 1000],
            &[100; 10],
        ] {
            let (sender, _events) = mpsc::channel();
            let launch =
                |&cpu_milli| rig.launch(&image, cpu_milli, metering, Events(sender.clone()));
            let guests: Vec<_> = together.iter().map(launch).collect();
            std::thread::sleep(Duration::from_secs(5));
            for (cpu_milli, guest) in together.iter().zip(&guests) {
                let used = guest.usage();
                let share = used.cpu_ns as f64 / used.wall_ns as f64;
                let error = (share * 1e5 / *cpu_milli as f64) - 100.0;
                say(format!(
                    "{metering:?} {together:?}: {cpu_milli} m got {share:.4} ({error:+.2} %)"
                ));
            }
            for guest in guests {
                guest.kill(Duration::ZERO, TaskReason::KillRequested, "");
            }
            while rig.runtime.live() > 0 {
                std::thread::yield_now();
            }
        }
    }
}

fn start() {
    const STARTS: usize = 20_000;
    let rig = Rig::new();
    let image = rig.compile(NOOP, Metering::Clock);
    let mut to_start = Vec::with_capacity(STARTS);
    let mut cpu_ns = 0;
    for _ in 0..STARTS {
        let (sender, events) = mpsc::channel();
        let launched = Instant::now();
        rig.launch(&image, 1000, Metering::Clock, Events(sender));
        let (started, _) = events.recv().expect("it starts");
        let (_, exit) = events.recv().expect("it ends");
        to_start.push(started - launched);
        cpu_ns += exit.map_or(0, |exit| exit.usage.cpu_ns);
    }
    to_start.sort();
    let at = |percent| to_start[(STARTS - 1) * percent / 100];
    let cpu_us = cpu_ns as f64 / STARTS as f64 / 1000.0;
    say(format!(
        "launch to start, one at a time: p50 {:?}, p99 {:?}; {cpu_us:.1} µs of CPU charged each",
        at(50),
        at(99)
    ));
    let began = Instant::now();
    let (sender, events) = mpsc::channel();
    for _ in 0..STARTS {
        rig.launch(&image, 1000, Metering::Clock, Events(sender.clone()));
    }
    drop(sender);
    let ended = events.iter().filter(|(_, exit)| exit.is_some()).count();
    let rate = ended as f64 / began.elapsed().as_secs_f64();
    say(format!(
        "{ended} queued at once: {rate:.0} starts to ends a second"
    ));
}
