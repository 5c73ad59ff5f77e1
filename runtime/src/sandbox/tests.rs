//! Guests of a few lines, each with one way to end.

use std::sync::mpsc;

use nesos_types::bundle::Digest;
use nesos_types::ids::TaskId;
use nesos_types::limits::{Limits, Metering};
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskState};

use super::*;
use crate::compile::compile;
use crate::runtime::{Runtime, RuntimeConfig};
use crate::uplink::NoUplink;

/// A runtime, and a directory for what it runs.
struct Bench {
    runtime: Runtime,
    directory: tempfile::TempDir,
    _io: tokio::runtime::Runtime,
}

struct Channel(mpsc::Sender<Option<Exit>>);

impl Observer for Channel {
    fn running(&mut self) {
        let _ = self.0.send(None);
    }

    fn exited(&mut self, exit: Exit) {
        let _ = self.0.send(Some(exit));
    }
}

/// A launched sandbox and what is heard of it.
struct Launched {
    sandbox: Sandbox,
    events: mpsc::Receiver<Option<Exit>>,
}

impl Launched {
    fn wait_until_running(&self) {
        assert_eq!(self.events.recv().unwrap(), None);
    }

    fn exit(&self) -> Exit {
        let exit = self
            .events
            .iter()
            .flatten()
            .next()
            .expect("the exit is told");
        assert!(
            self.events.recv().is_err(),
            "nothing is told after the exit"
        );
        exit
    }
}

impl Bench {
    fn new() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = RuntimeConfig {
            guest_threads: 2,
            max_sandboxes: Some(16),
            ..RuntimeConfig::default()
        };
        Self {
            runtime: Runtime::new(config, io.handle().clone()).unwrap(),
            directory: tempfile::tempdir().unwrap(),
            _io: io,
        }
    }

    /// Compiles and launches a module with 16 MiB and one CPU.
    fn launch(&self, text: &str, limits: Limits) -> Launched {
        let resources = Resources::new(1000, 16 << 20);
        let wasm = self.directory.path().join("guest.wasm");
        std::fs::write(&wasm, wat::parse_str(text).unwrap()).unwrap();
        let compiled = tempfile::Builder::new()
            .tempfile_in(&self.directory)
            .unwrap();
        let (_, compiled) = compiled.keep().unwrap();
        compile(&wasm, limits.metering, &compiled).unwrap();
        let id: TaskId = "guest".parse().unwrap();
        let task = TaskInfo {
            limits,
            ..TaskInfo::new(id, Digest([0; 32]), resources)
        };
        let spec = SandboxSpec {
            framework: FrameworkId(1),
            task: task.into(),
            compiled,
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
        let (sender, events) = mpsc::channel();
        let sandbox = self.runtime.launch(spec, Box::new(Channel(sender)));
        Launched { sandbox, events }
    }

    fn exit_of(&self, text: &str) -> Exit {
        self.launch(text, Limits::default()).exit()
    }
}

/// A module with two pages of shared memory whose first thread does `main` and the others `thread`.
fn threaded(main: &str, thread: &str) -> String {
    format!(
        r#"(module
            (import "env" "memory" (memory 2 1024 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func (export "_start") {main})
            (func (export "wasi_thread_start") (param $id i32) (param $argument i32) {thread}))"#
    )
}

const WAIT_FOR_EVER: &str =
    "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))";

const SPIN: &str = r#"(module (func (export "_start") (loop (br 0))))"#;

#[test]
fn a_guest_that_returns_has_finished_and_says_what_it_used() {
    let exit = Bench::new().exit_of(r#"(module (memory 2) (func (export "_start")))"#);
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Finished, TaskReason::Exited)
    );
    assert_eq!(exit.exit_code, Some(0));
    assert!(exit.usage.cpu_ns > 0 && exit.usage.wall_ns > 0 && exit.usage.fuel > 0);
    let fixed = crate::limits::FIXED_BYTES;
    assert_eq!(exit.usage.peak_memory_bytes, fixed + 2 * 65_536);
}

#[test]
fn a_trap_comes_with_its_backtrace() {
    let exit = Bench::new().exit_of(
        r#"(module
            (func $inner (unreachable))
            (func $outer (export "_start") (call $inner)))"#,
    );
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::Trap)
    );
    assert_eq!(exit.message, "wasm `unreachable` instruction executed");
    let functions: Vec<_> = exit
        .backtrace
        .iter()
        .map(|line| line.split(' ').next())
        .collect();
    assert_eq!(functions, [Some("inner"), Some("outer")]);
}

#[test]
fn an_uncaught_exception_is_a_trap() {
    let exit = Bench::new().exit_of(r#"(module (tag $t) (func (export "_start") (throw $t)))"#);
    assert_eq!(exit.reason, TaskReason::Trap);
    assert_eq!(exit.message, "an exception was thrown and not caught");
}

#[test]
fn endless_recursion_is_a_stack_overflow() {
    let exit = Bench::new().exit_of(r#"(module (func $f (export "_start") (call $f)))"#);
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::StackOverflow)
    );
}

/// A guest of one CPU that spins, slowed down to a twentieth; what it used in the next second, in
/// nanoseconds by `meter`.
fn used_in_a_second_at_a_twentieth(launched: &Launched, meter: impl Fn(&Sandbox) -> u64) -> u64 {
    launched.wait_until_running();
    let sandbox = &launched.sandbox;
    std::thread::sleep(Duration::from_millis(100));
    sandbox.set_cpu(50);
    // The quantum that it is in is booked at its end.
    std::thread::sleep(Duration::from_millis(100));
    let before = meter(sandbox);
    std::thread::sleep(Duration::from_secs(1));
    meter(sandbox) - before
}

#[test]
fn a_running_guest_is_slowed_down() {
    let bench = Bench::new();
    let on_its_own_thread = threaded(r"(loop (br 0))", "");
    for text in [SPIN, &on_its_own_thread] {
        let launched = bench.launch(text, Limits::default());
        let used = used_in_a_second_at_a_twentieth(&launched, Sandbox::cpu_ns);
        // How little a busy machine lets it have is another question; nothing it never has.
        assert!((1..120_000_000).contains(&used), "{used}");
        let sandbox = &launched.sandbox;
        sandbox.set_cpu(1000);
        std::thread::sleep(Duration::from_millis(300));
        let fast = sandbox.cpu_ns();
        sandbox.kill(Duration::ZERO, TaskReason::KillRequested, "");
        assert!(launched.exit().usage.cpu_ns >= fast);
    }
}

#[test]
fn a_guest_that_pays_in_fuel_is_slowed_down_in_fuel() {
    let bench = Bench::new();
    let limits = Limits {
        metering: Metering::Fuel,
        ..Limits::default()
    };
    // A unit is a nanosecond here.
    let launched = bench.launch(SPIN, limits);
    let used = used_in_a_second_at_a_twentieth(&launched, |sandbox| sandbox.usage().fuel);
    assert!((1..120_000_000).contains(&used), "{used}");
    let sandbox = &launched.sandbox;
    sandbox.kill(Duration::ZERO, TaskReason::KillRequested, "");
    assert_eq!(launched.exit().state, TaskState::Killed);
}

#[test]
fn fuel_runs_out_at_the_same_instruction_every_time() {
    let bench = Bench::new();
    let limits = Limits {
        fuel: Some(3_456_789),
        ..Limits::default()
    };
    for _ in 0..2 {
        let exit = bench.launch(SPIN, limits.clone()).exit();
        assert_eq!(
            (exit.state, exit.reason),
            (TaskState::Failed, TaskReason::FuelExhausted)
        );
        assert_eq!(exit.usage.fuel, 3_456_789);
    }
}

#[test]
fn a_guest_sees_growth_fail_and_may_live_on() {
    let grow = r"(local $i i32)
        (loop $more
            (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
    let bench = Bench::new();
    let lives = format!(r#"(module (memory 1) (func (export "_start") {grow}))"#);
    let exit = bench.exit_of(&lives);
    assert_eq!(exit.state, TaskState::Finished);
    assert!(exit.usage.peak_memory_bytes <= 16 << 20 && exit.usage.peak_memory_bytes > 15 << 20);
    let dies = format!(r#"(module (memory 1) (func (export "_start") {grow} unreachable))"#);
    let exit = bench.exit_of(&dies);
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::MemoryLimit)
    );
    assert!(
        exit.message
            .contains("1 MiB more memory were refused by its limit of 16 MiB"),
        "{}",
        exit.message
    );
}

#[test]
fn tables_count_and_what_never_fits_is_refused_before_it_starts() {
    let bench = Bench::new();
    let exit = bench.exit_of(
        r#"(module (table 1 funcref) (func (export "_start")
            (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 100000000)) (i32.const -1)))
            unreachable))"#,
    );
    assert_eq!(exit.state, TaskState::Failed);
    let launched = bench.launch(
        r#"(module (memory 1600) (func (export "_start")))"#,
        Limits::default(),
    );
    let exit = launched.exit();
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Error, TaskReason::MemoryLimit)
    );
    assert!(
        exit.message.contains("100 MiB") && exit.message.contains("16 MiB"),
        "{}",
        exit.message
    );
    assert_eq!(exit.usage, Usage::default());
}

#[test]
fn the_time_limit_ends_a_spinning_guest() {
    for metering in [Metering::Clock, Metering::Time] {
        let limits = Limits {
            timeout: Some(Duration::from_millis(20)),
            metering,
            ..Limits::default()
        };
        let bench = Bench::new();
        let exit = bench.launch(SPIN, limits).exit();
        assert_eq!(
            (exit.state, exit.reason),
            (TaskState::Failed, TaskReason::TimeLimit)
        );
        assert!(exit.usage.wall_ns >= 20_000_000);
    }
}

#[test]
fn a_kill_ends_a_spinning_guest_with_the_reason_given() {
    let bench = Bench::new();
    let launched = bench.launch(SPIN, Limits::default());
    launched.wait_until_running();
    let day = Duration::from_secs(86_400);
    launched
        .sandbox
        .kill(day, TaskReason::FrameworkRemoved, "torn down");
    let exit = launched.exit();
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Killed, TaskReason::FrameworkRemoved)
    );
    assert_eq!((exit.message.as_str(), exit.exit_code), ("torn down", None));
}

#[test]
fn an_endless_start_function_can_be_killed() {
    let bench = Bench::new();
    let launched = bench.launch(
        r#"(module (func $f (loop (br 0))) (start $f) (func (export "_start")))"#,
        Limits::default(),
    );
    launched.wait_until_running();
    launched
        .sandbox
        .kill(Duration::ZERO, TaskReason::KillRequested, "");
    assert_eq!(launched.exit().state, TaskState::Killed);
}

#[test]
fn fuel_is_refused_where_it_is_not_counted() {
    let limits = Limits {
        fuel: Some(1),
        metering: Metering::Time,
        ..Limits::default()
    };
    let bench = Bench::new();
    let exit = bench.launch(SPIN, limits).exit();
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Error, TaskReason::TaskInvalid)
    );
}

#[test]
fn whoever_still_runs_when_the_runtime_ends_is_told() {
    let bench = Bench::new();
    let launched = bench.launch(SPIN, Limits::default());
    launched.wait_until_running();
    drop(bench);
    assert_eq!(launched.exit().reason, TaskReason::CellTerminated);
}

#[test]
fn threads_share_a_memory_and_wake_one_another() {
    let main = format!(
        "(if (i32.lt_s (call $spawn (i32.const 5)) (i32.const 0)) (then unreachable))
        {WAIT_FOR_EVER}
        (if (i32.ne (i32.atomic.load (i32.const 0)) (i32.const 5)) (then unreachable))"
    );
    let thread = "(i32.atomic.store (i32.const 0) (local.get $argument))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))";
    let exit = Bench::new().exit_of(&threaded(&main, thread));
    assert_eq!(
        (exit.state, exit.message.as_str()),
        (TaskState::Finished, "")
    );
    assert!(exit.usage.cpu_ns > 0 && exit.usage.peak_memory_bytes > 2 * 65_536);
}

#[test]
fn a_trap_in_one_thread_ends_the_task() {
    let main = format!("(drop (call $spawn (i32.const 0))) {WAIT_FOR_EVER}");
    let exit = Bench::new().exit_of(&threaded(&main, "(unreachable)"));
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::Trap)
    );
    assert_eq!(exit.backtrace.len(), 1);
}

#[test]
fn the_first_thread_ends_the_others() {
    let exit = Bench::new().exit_of(&threaded(
        "(drop (call $spawn (i32.const 0)))",
        "(loop (br 0))",
    ));
    assert_eq!(exit.state, TaskState::Finished);
}

#[test]
fn a_guest_that_waits_on_an_atomic_can_be_killed() {
    let bench = Bench::new();
    let launched = bench.launch(&threaded(WAIT_FOR_EVER, ""), Limits::default());
    launched.wait_until_running();
    launched
        .sandbox
        .kill(Duration::ZERO, TaskReason::KillRequested, "");
    assert_eq!(launched.exit().state, TaskState::Killed);
}

#[test]
fn threads_and_their_memory_are_bounded() {
    // Exits well only if threads run out before the loop does.
    let spawn_many = "(local $i i32)
        (block $refused
            (loop $more
                (br_if $refused (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $i) (i32.const 100))))
            unreachable)";
    let bench = Bench::new();
    let exit = bench.exit_of(&threaded(spawn_many, WAIT_FOR_EVER));
    assert_eq!(exit.state, TaskState::Finished, "{}", exit.message);
    let grow = "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))";
    let exit = bench.exit_of(&threaded(grow, ""));
    assert_eq!(exit.reason, TaskReason::Trap);
    let grow_by_one = "(loop $more
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let exit = bench.exit_of(&threaded(grow_by_one, ""));
    assert_eq!(exit.reason, TaskReason::MemoryLimit);
    assert!(exit.usage.peak_memory_bytes <= 16 << 20);
}
