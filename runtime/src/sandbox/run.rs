//! The course of a sandbox: admission, preparation, the guest itself, and the account at the end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use nesos_types::limits::Metering;
use nesos_types::task::{TaskInfo, TaskReason};
use tokio::sync::Semaphore;
use wasmtime::{AsContext, Store, StoreContext, ThrownException, Trap, UpdateDeadline};

use crate::cpu::{FUEL_PER_QUANTUM, this_quantum_ns};
use crate::exit::{Circumstances, Exit};
use crate::guest::{Guest, World};
use crate::limits::{Bytes, FIXED_BYTES, MemoryAccount};
use crate::program::{Kind, Program, Programs};
use crate::wasi::{self, WasiError, WasiSpec};

use super::{Control, Observer, Order, SandboxSpec};

/// Descriptors of one sandbox: they are a resource of the whole process.
const MAX_DESCRIPTORS: usize = 256;

/// Files and directories of one sandbox whose task does not say how many.
const DEFAULT_MAX_FILES: u64 = 100_000;

/// What all sandboxes of a process draw on.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) programs: Programs,
    /// As many permits as the pool has room for; launches beyond that wait their turn.
    pub(crate) slots: Semaphore,
}

/// Runs a sandbox to its end and tells the observer.
pub(crate) async fn run(
    host: Arc<Host>,
    spec: SandboxSpec,
    observer: Box<dyn Observer>,
    control: Arc<Control>,
) {
    let mut report = Report {
        observer: Some(observer),
        control: control.clone(),
    };
    let exit = match admitted(&host, &control).await {
        Some(_slot) => course(&host, spec, &mut report, &control).await,
        None => Err(Box::new(killed_during_launch(&control))),
    };
    report.exited(exit.unwrap_or_else(|exit| *exit));
}

/// Waits for a slot; none if the sandbox is killed meanwhile.
async fn admitted<'a>(
    host: &'a Host,
    control: &Control,
) -> Option<tokio::sync::SemaphorePermit<'a>> {
    if let Ok(slot) = host.slots.try_acquire() {
        return Some(slot);
    }
    unless_dropped(control, host.slots.acquire()).await?.ok()
}

/// From preparation to the end of the guest. The store is gone when this returns.
async fn course(
    host: &Host,
    spec: SandboxSpec,
    report: &mut Report,
    control: &Arc<Control>,
) -> Result<Exit, Box<Exit>> {
    let task = spec.task.clone();
    let program = host.programs.get(&spec.compiled, task.limits.metering)?;
    check_limits(&task, &program)?;
    let mut store = make_store(spec, &program, control)?;
    if !control.start(task.limits.timeout, program.hears_stop()) {
        return Err(Box::new(killed_during_launch(control)));
    }
    report.running();
    let ended = unless_dropped(control, enter(&program, &mut store)).await;
    publish(store.as_context());
    Ok(match ended {
        Some(ended) => exit_of(ended, &circumstances(&task, store.data())),
        // The order that it was dropped for says the rest.
        None => Exit::failed(TaskReason::CellTerminated, ""),
    })
}

/// Polls `future` until the guest is to be dropped.
async fn unless_dropped<F: Future>(control: &Control, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if control.is_dropped() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Refuses what could never run and what would not be enforced.
fn check_limits(task: &TaskInfo, program: &Program) -> Result<(), Box<Exit>> {
    let memory = task.resources.mem_bytes;
    let needs = program.minimum_bytes.saturating_add(FIXED_BYTES);
    if needs > memory {
        let message = format!(
            "the program needs {} of memory to start ({} of its own and {} for its stack and the sandbox), but the task has {}",
            Bytes(needs),
            Bytes(program.minimum_bytes),
            Bytes(FIXED_BYTES),
            Bytes(memory),
        );
        return Err(Box::new(Exit::invalid(TaskReason::MemoryLimit, message)));
    }
    let metering = task.limits.metering;
    let wants_fuel = task.limits.fuel.is_some() || metering == Metering::Fuel;
    if wants_fuel && !program.flavour.counts_fuel() {
        let message = if metering == Metering::Time {
            "a task that is metered by time alone cannot have a limit of fuel"
        } else {
            "fuel is not counted for a program that starts threads: leave out the limit of fuel"
        };
        return Err(Box::new(Exit::invalid(TaskReason::TaskInvalid, message)));
    }
    Ok(())
}

fn make_store(
    spec: SandboxSpec,
    program: &Program,
    control: &Control,
) -> Result<Store<Guest>, Box<Exit>> {
    let counts_fuel = program.flavour.counts_fuel();
    let fuel = if counts_fuel {
        spec.task.limits.fuel.unwrap_or(u64::MAX)
    } else {
        0
    };
    let guest = Guest {
        memory: MemoryAccount::new(spec.task.resources.mem_bytes, control.meter.clone()),
        meter: control.meter.clone(),
        fuel,
        world: make_world(spec, program)?,
    };
    let mut store = Store::try_new(&program.engine, guest).map_err(launch_failed)?;
    store.limiter(|guest| &mut guest.memory);
    if counts_fuel {
        store.set_fuel(fuel).map_err(launch_failed)?;
        let every = Some(FUEL_PER_QUANTUM);
        store
            .fuel_async_yield_interval(every)
            .map_err(launch_failed)?;
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        publish(store.as_context());
        Ok(UpdateDeadline::Yield(1))
    });
    Ok(store)
}

/// Lets the meter show what the store knows.
fn publish(store: StoreContext<'_, Guest>) {
    store.data().publish(store.get_fuel().unwrap_or(0));
}

fn make_world(spec: SandboxSpec, program: &Program) -> Result<World, Box<Exit>> {
    let task = &spec.task;
    let wasi = WasiSpec {
        args: task.args.clone(),
        env: task.env.clone(),
        root: spec.root,
        mounts: task.mounts.clone(),
        stdin: spec.stdin,
        stdout: spec.stdout,
        stderr: spec.stderr,
        disk_bytes: task.resources.disk_bytes,
        max_files: task.limits.files.unwrap_or(DEFAULT_MAX_FILES),
        max_descriptors: MAX_DESCRIPTORS,
        determinism: spec.determinism,
    };
    program.make_world(wasi).map_err(|error| {
        let reason = match error {
            WasiError::Mount { .. } => TaskReason::LaunchFailed,
            WasiError::TooManyMounts | WasiError::TooLong => TaskReason::TaskInvalid,
        };
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Box::new(match reason {
            TaskReason::TaskInvalid => Exit::invalid(reason, message),
            _ => Exit::dropped(reason, message),
        })
    })
}

fn launch_failed(error: wasmtime::Error) -> Box<Exit> {
    Box::new(Exit::dropped(
        TaskReason::LaunchFailed,
        format!("{error:#}"),
    ))
}

/// How a guest that was not dropped has ended.
enum Ended {
    Returned,
    NotInstantiated(wasmtime::Error),
    Raised(wasmtime::Error),
}

/// Instantiates the program and runs it to its end.
async fn enter(program: &Program, store: &mut Store<Guest>) -> Ended {
    match &program.kind {
        Kind::Module { pre, start } => {
            let instance = match pre.instantiate_async(&mut *store).await {
                Ok(instance) => instance,
                Err(error) => return Ended::NotInstantiated(error),
            };
            let start = instance
                .get_module_export(&mut *store, start)
                .and_then(wasmtime::Extern::into_func)
                .expect("the program was refused when it was loaded, had it no function to start");
            match start.call_async(&mut *store, &[], &mut []).await {
                Ok(()) => Ended::Returned,
                Err(error) => Ended::Raised(error),
            }
        }
    }
}

fn circumstances(task: &TaskInfo, guest: &Guest) -> Circumstances {
    Circumstances {
        memory_refused: guest.memory.last_refused(),
        memory_bytes: task.resources.mem_bytes,
        disk_exceeded: guest.world.quota().was_exceeded(),
        disk_bytes: task.resources.disk_bytes,
        fuel: task.limits.fuel,
    }
}

fn exit_of(ended: Ended, circumstances: &Circumstances) -> Exit {
    match ended {
        Ended::Returned => Exit::exited(0),
        Ended::Raised(error) => raised(&error, circumstances),
        // A start function is the guest's code: it may trap, exhaust its fuel or exit.
        Ended::NotInstantiated(error) if is_guests_own(&error, circumstances) => {
            raised(&error, circumstances)
        }
        Ended::NotInstantiated(error) => {
            Exit::failed(TaskReason::InstantiateFailed, format!("{error:#}"))
        }
    }
}

fn raised(error: &wasmtime::Error, circumstances: &Circumstances) -> Exit {
    match wasi::exit_code(error) {
        // As POSIX has it, and every shell: the low eight bits.
        Some(code) => circumstances.of_code(code.to_le_bytes()[0]),
        None => circumstances.of_error(error),
    }
}

fn is_guests_own(error: &wasmtime::Error, circumstances: &Circumstances) -> bool {
    error.is::<Trap>()
        || error.is::<ThrownException>()
        || wasi::exit_code(error).is_some()
        || circumstances.memory_refused.is_some()
}

fn killed_during_launch(control: &Control) -> Exit {
    let message = match control.finish() {
        Some(Order::Kill { message, .. }) => message,
        Some(Order::TimeLimit) | None => String::new(),
    };
    Exit::killed(TaskReason::KilledDuringLaunch, &message)
}

/// Tells the observer, once.
struct Report {
    observer: Option<Box<dyn Observer>>,
    control: Arc<Control>,
}

impl Report {
    fn running(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.running();
        }
    }

    fn exited(&mut self, mut exit: Exit) {
        let Some(mut observer) = self.observer.take() else {
            return;
        };
        match self.control.finish() {
            Some(Order::Kill { reason, message })
                if exit.reason != TaskReason::KilledDuringLaunch =>
            {
                exit = Exit {
                    exit_code: exit.exit_code,
                    ..Exit::killed(reason, &message)
                };
            }
            Some(Order::TimeLimit) if self.control.is_dropped() => {
                exit = Exit::failed(TaskReason::TimeLimit, "the time limit has passed");
            }
            _ => {}
        }
        if self.control.has_started() {
            exit.usage = self.control.usage();
            exit.usage.cpu_ns += this_quantum_ns();
        }
        observer.exited(exit);
    }
}

impl Drop for Report {
    /// The sandbox was dropped unfinished, or a host function panicked.
    fn drop(&mut self) {
        self.exited(Exit::failed(
            TaskReason::CellTerminated,
            "the cell ended the sandbox",
        ));
    }
}
