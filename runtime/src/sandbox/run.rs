//! The course of a sandbox: admission, preparation, the guest itself, and the account at the end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use tokio::sync::Semaphore;
use wasmtime::{Store, UpdateDeadline};

use crate::cpu::{FUEL_PER_QUANTUM, this_quantum_ns};
use crate::exit::{Circumstances, Exit};
use crate::guest::Guest;
use crate::limits::{Bytes, FIXED_BYTES, MemoryAccount};
use crate::program::{Kind, Program, Programs};

use super::{Control, Observer, Order, SandboxSpec};

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
        Some(_slot) => course(&host, &spec, &mut report, &control).await,
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
    spec: &SandboxSpec,
    report: &mut Report,
    control: &Arc<Control>,
) -> Result<Exit, Box<Exit>> {
    let program = host
        .programs
        .get(&spec.compiled, spec.task.limits.metering)?;
    check_limits(spec, &program)?;
    let mut store = make_store(spec, &program, control)?;
    if !control.start(spec.task.limits.timeout, program.hears_stop()) {
        return Err(Box::new(killed_during_launch(control)));
    }
    report.running();
    let ended = unless_dropped(control, enter(&program, &mut store)).await;
    let exit = match ended {
        Some(ended) => exit_of(ended, &circumstances(spec, &store)),
        // The order that it was dropped for says the rest.
        None => Exit::failed(TaskReason::CellTerminated, ""),
    };
    account_at_end(control, &store);
    Ok(exit)
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
fn check_limits(spec: &SandboxSpec, program: &Program) -> Result<(), Box<Exit>> {
    let memory = spec.task.resources.mem_bytes;
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
    let metering = spec.task.limits.metering;
    let wants_fuel = spec.task.limits.fuel.is_some() || metering == Metering::Fuel;
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
    spec: &SandboxSpec,
    program: &Program,
    control: &Control,
) -> Result<Store<Guest>, Box<Exit>> {
    let fuel = spec.task.limits.fuel.unwrap_or(u64::MAX);
    let guest = Guest {
        memory: MemoryAccount::new(spec.task.resources.mem_bytes, control.meter.clone()),
        meter: control.meter.clone(),
        fuel,
    };
    let mut store = Store::try_new(&program.engine, guest).map_err(launch_failed)?;
    store.limiter(|guest| &mut guest.memory);
    store.set_epoch_deadline(1);
    if program.flavour.counts_fuel() {
        store.set_fuel(fuel).map_err(launch_failed)?;
        store
            .fuel_async_yield_interval(Some(FUEL_PER_QUANTUM))
            .map_err(launch_failed)?;
        store.epoch_deadline_callback(|store| {
            let burnt = store.data().fuel - store.get_fuel()?;
            store.data().meter.fuel.store(burnt, Ordering::Relaxed);
            Ok(UpdateDeadline::Yield(1))
        });
    } else {
        store.epoch_deadline_async_yield_and_update(1);
    }
    Ok(store)
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

fn circumstances(spec: &SandboxSpec, store: &Store<Guest>) -> Circumstances {
    Circumstances {
        memory_refused: store.data().memory.last_refused(),
        memory_bytes: spec.task.resources.mem_bytes,
        disk_exceeded: false,
        disk_bytes: spec.task.resources.disk_bytes,
        fuel: spec.task.limits.fuel,
    }
}

fn exit_of(ended: Ended, circumstances: &Circumstances) -> Exit {
    match ended {
        Ended::Returned => Exit::exited(0),
        Ended::Raised(error) => circumstances.of_error(&error),
        // A start function is the guest's code: it may trap, exhaust its fuel or exit.
        Ended::NotInstantiated(error) if is_guests_own(&error) => circumstances.of_error(&error),
        Ended::NotInstantiated(error) => match circumstances.memory_refused {
            Some(_) => circumstances.of_error(&error),
            None => Exit::failed(TaskReason::InstantiateFailed, format!("{error:#}")),
        },
    }
}

fn is_guests_own(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::Trap>() || error.is::<wasmtime::ThrownException>()
}

/// Adds to the meter what only shows while the guest's last quantum is still running.
fn account_at_end(control: &Control, store: &Store<Guest>) {
    if let Ok(left) = store.get_fuel() {
        let burnt = store.data().fuel - left;
        control.meter.fuel.store(burnt, Ordering::Relaxed);
    }
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
