//! The course of a sandbox: admission, preparation, the guest itself, and the account at the end.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use nesos_types::limits::Metering;
use nesos_types::service::{Probe, Service};
use nesos_types::task::{SharedTask, TaskInfo, TaskReason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::serve::serve;
use super::start::{Awaited, Host, Start};
use super::{Control, Observer, Order, SandboxSpec};
use crate::cpu::this_quantum_ns;
use crate::exit::{Circumstances, Exit};
use crate::guest::{Guest, World};
use crate::guest_api::{Nursery, Part, Side};
use crate::limits::{Bytes, FIXED_BYTES, MemoryAccount};
use crate::mailbox::Audience;
use crate::program::{Command, Ended, Entry, Kind, Program, launch_failed};
use crate::threads::{Account, Team, ThreadedModule};
use crate::wasi::shared::SharedQuotas;
use crate::wasi::{WasiError, WasiSpec, default_max_files, p1};

/// Descriptors of one sandbox: they are a resource of the whole process.
const MAX_DESCRIPTORS: usize = 256;

/// Runs a sandbox to its end and tells the observer.
pub(super) async fn run(
    host: Arc<Host>,
    mut start: Start,
    observer: Box<dyn Observer>,
    control: Arc<Control>,
) {
    let mut report = Report {
        observer: Some(observer),
        control: control.clone(),
    };
    let slots = host.slots.of(start.spec.task.limits.metering);
    let exit = match admitted(start.slot.take(), slots, &control).await {
        Some(_slot) => course(&host, start, &mut report, &control).await,
        None => Err(Box::new(killed_during_launch(&control))),
    };
    control.family.close();
    control.family.gone().await;
    report.exited(exit.unwrap_or_else(|exit| *exit));
}

/// Waits for a slot, unless there is one already; none if the sandbox is killed meanwhile.
async fn admitted(
    slot: Option<OwnedSemaphorePermit>,
    slots: &Arc<Semaphore>,
    control: &Control,
) -> Option<OwnedSemaphorePermit> {
    let slot = slot.or_else(|| slots.clone().try_acquire_owned().ok());
    if slot.is_some() {
        return slot;
    }
    unless_dropped(control, slots.clone().acquire_owned())
        .await?
        .ok()
}

/// From preparation to the end of the guest. The store is gone when this returns.
async fn course(
    host: &Arc<Host>,
    start: Start,
    report: &mut Report,
    control: &Arc<Control>,
) -> Result<Exit, Box<Exit>> {
    let Start {
        mut spec,
        entry,
        awaited,
        ..
    } = start;
    if let Some(awaited) = awaited {
        spec.compiled = image(awaited, control).await?;
    }
    let task = spec.task.clone();
    let program = host.programs.get(&spec.compiled, task.limits.metering)?;
    check_limits(&task, &program)?;
    check_executor(&task, &program, entry)?;
    let service = service_of(&task, &program, entry)?;
    let audience = program.audience(entry);
    control.mailbox.open(audience);
    let side = Side::new(&spec, control, part(host, &spec, &program, entry, control));
    let launch = Launch {
        program: &program,
        task: &task,
        report,
        control,
        side,
        hears_stop: service.is_some() || matches!(audience, Audience::Task | Audience::Executor),
    };
    let wasi = wasi_spec(spec, host.quotas.clone());
    if let Some(service) = service {
        // Boxed, as executors and threads are: what all others would carry along for them, room for their state,
        // costs each no-op task several µs.
        return Box::pin(serve(host, service, wasi, launch)).await;
    }
    match (&program.kind, entry) {
        (Kind::Module(command), _) => live(command, wasi, launch).await,
        (Kind::Component(command), _) => live(command, wasi, launch).await,
        (Kind::Executor(executor), Entry::Main) => Box::pin(live(executor, wasi, launch)).await,
        (Kind::Executor(executor), Entry::Child) => match &executor.command {
            Some(command) => live(command, wasi, launch).await,
            None => Err(Box::new(no_command("an executor"))),
        },
        (Kind::Service(service), _) => match &service.command {
            Some(command) => live(command, wasi, launch).await,
            None => Err(Box::new(no_command("a service"))),
        },
        (Kind::Threaded(module), _) => Box::pin(live_threads(module, wasi, launch)).await,
    }
}

/// Waits for a compiled image.
async fn image(awaited: Awaited, control: &Control) -> Result<PathBuf, Box<Exit>> {
    let failed = |why: String| Box::new(Exit::dropped(TaskReason::FetchFailed, why));
    match unless_dropped(control, awaited).await {
        Some(Ok(Ok(image))) => Ok(image),
        Some(Ok(Err(why))) => Err(failed(why)),
        Some(Err(_)) => Err(failed("nobody prepares this bundle any more".to_owned())),
        None => Err(Box::new(killed_during_launch(control))),
    }
}

/// What the sandbox is to Nesos.
fn part(
    host: &Arc<Host>,
    spec: &SandboxSpec,
    program: &Program,
    entry: Entry,
    control: &Arc<Control>,
) -> Part {
    match (&program.kind, entry) {
        (_, Entry::Child) => Part::Child,
        (Kind::Executor(executor), Entry::Main) => {
            let nursery = Nursery::new(host, spec, executor.command.is_some());
            Part::executor(nursery, control)
        }
        (_, Entry::Main) => Part::Task,
    }
}

fn no_command(what: &str) -> Exit {
    let message = format!("the bundle is {what} and no command: it does not export wasi:cli/run");
    Exit::invalid(TaskReason::InvalidModule, message)
}

/// Refuses an executor that nobody asked for, which would wait for ever, and what was to be one and is none.
fn check_executor(task: &TaskInfo, program: &Program, entry: Entry) -> Result<(), Box<Exit>> {
    let why = match (&program.kind, entry, task.run_of()) {
        (Kind::Executor(_), Entry::Main, None) => {
            "the bundle is an executor, it exports nesos:guest/executor-events: it runs tasks that name it as their `executor`, and is none itself"
        }
        (Kind::Executor(_), ..) | (_, _, None) => return Ok(()),
        (_, _, Some(_)) => {
            "the bundle is no executor: it does not export nesos:guest/executor-events@0.1.0, the world `executor` of nesos:guest"
        }
    };
    Err(Box::new(Exit::invalid(TaskReason::TaskInvalid, why)))
}

/// How it serves, if it is launched as a service. Refused if the task says so and the bundle is none, or the
/// bundle is nothing else and the task does not say how.
fn service_of(
    task: &TaskInfo,
    program: &Program,
    entry: Entry,
) -> Result<Option<Service>, Box<Exit>> {
    let invalid = |message: &str| Err(Box::new(Exit::invalid(TaskReason::TaskInvalid, message)));
    let asked = task.service.clone().filter(|_| entry == Entry::Main);
    let calls = matches!(&task.health, Some(check) if check.probe == Probe::Call);
    match (&program.kind, asked) {
        (Kind::Service(it), Some(service)) => {
            if calls && !it.program.says_health() {
                return invalid(
                    "the health check calls the guest, which does not export nesos:guest/health: export it, or check by http or tcp",
                );
            }
            check_instance(&service, program)?;
            Ok(Some(*service))
        }
        (_, Some(_)) => invalid(
            "the task is to be a service, but the bundle does not export wasi:http/incoming-handler@0.2: leave out `service`, or build it for the world wasi:http/proxy",
        ),
        (Kind::Service(it), None) if it.command.is_none() && entry == Entry::Main => invalid(
            "the bundle is a service, it exports wasi:http/incoming-handler: say on which of the task's ports it listens, with `service` (nesos run --port N)",
        ),
        (_, None) if calls => invalid(
            "only a service that exports nesos:guest/health can be called for its health: check by http or tcp",
        ),
        (_, None) => Ok(None),
    }
}

/// Refuses a limit that no instance could ever start under.
fn check_instance(service: &Service, program: &Program) -> Result<(), Box<Exit>> {
    let needs = program.minimum_bytes.saturating_add(FIXED_BYTES);
    match service.instance_mem_bytes {
        Some(bytes) if bytes < needs => {
            let (needs, bytes) = (Bytes(needs), Bytes(bytes));
            let message =
                format!("an instance needs {needs} of memory to start, but may have {bytes}");
            Err(Box::new(Exit::invalid(TaskReason::MemoryLimit, message)))
        }
        _ => Ok(()),
    }
}

/// A sandbox that is about to start.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Arc<Program>,
    pub(super) task: &'a SharedTask,
    pub(super) report: &'a mut Report,
    pub(super) control: &'a Arc<Control>,
    pub(super) side: Side,
    pub(super) hears_stop: bool,
}

/// Lets a guest with a store of its own live.
async fn live<C: Command>(
    command: &C,
    wasi: WasiSpec,
    launch: Launch<'_>,
) -> Result<Exit, Box<Exit>> {
    let Launch {
        program,
        task,
        report,
        control,
        side,
        hears_stop,
    } = launch;
    let guest = Guest {
        world: command.make_world(wasi, side).map_err(no_world)?,
        memory: MemoryAccount::new(control.ledger.clone()),
        meter: control.meter.clone(),
        fuel: 0,
    };
    let budget = task.limits.fuel.unwrap_or(u64::MAX);
    let fuel = program.flavour.counts_fuel().then_some(budget);
    let mut store = guest
        .into_store(&program.engine, fuel)
        .map_err(launch_failed)?;
    begin(task, control, hears_stop)?;
    let life = command.run(&mut store, || report.running());
    let ended = unless_dropped(control, life).await;
    Guest::publish((&store).into());
    let refused = store.data().memory.last_refused();
    let circumstances = circumstances(task, control, refused, &store.data().world);
    Ok(exit_of(ended, &circumstances))
}

/// Lets a guest live that runs on threads of its own.
async fn live_threads(
    module: &Arc<ThreadedModule>,
    wasi: WasiSpec,
    launch: Launch<'_>,
) -> Result<Exit, Box<Exit>> {
    let Launch {
        task,
        report,
        control,
        hears_stop,
        ..
    } = launch;
    let world = p1::Ctx::new(wasi).map_err(no_world)?;
    let account = Account {
        meter: control.meter.clone(),
        bucket: control.own_bucket.clone(),
    };
    let team = Team::new(module, task, world, account).map_err(launch_failed)?;
    begin(task, control, hears_stop)?;
    report.running();
    // Whatever happens, no thread outlives this.
    let threads = team.start();
    let over = unless_dropped(control, team.over()).await;
    drop(threads);
    team.gone().await;
    let circumstances = circumstances(task, control, team.memory_refused(), team.world());
    Ok(exit_of(
        over.and_then(|()| team.take_ended()),
        &circumstances,
    ))
}

/// From here on the guest runs; or not, if somebody has changed their mind.
pub(super) fn begin(
    task: &TaskInfo,
    control: &Arc<Control>,
    hears_stop: bool,
) -> Result<(), Box<Exit>> {
    if control.start(task.limits.timeout, hears_stop) {
        return Ok(());
    }
    Err(Box::new(killed_during_launch(control)))
}

/// Polls `future` until the guest is to be dropped.
pub(super) async fn unless_dropped<F: Future>(control: &Control, future: F) -> Option<F::Output> {
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
    let resources = task.sandbox_resources();
    let memory = resources.mem_bytes;
    let fixed = program.fixed_bytes(resources.cpu_milli);
    let needs = program.minimum_bytes.saturating_add(fixed);
    if needs > memory {
        let message = format!(
            "the program needs {} of memory to start ({} of its own and {} for stacks and the sandbox), but the task has {}",
            Bytes(needs),
            Bytes(program.minimum_bytes),
            Bytes(fixed),
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

fn wasi_spec(spec: SandboxSpec, quotas: Arc<SharedQuotas>) -> WasiSpec {
    let task = &spec.task;
    let disk_bytes = task.sandbox_resources().disk_bytes;
    let max_files = task.limits.files;
    WasiSpec {
        args: task.args.clone(),
        env: task.env.clone(),
        root: spec.root,
        mounts: task.mounts.clone(),
        volumes: spec.volumes,
        quotas,
        stdin: spec.stdin,
        stdout: spec.stdout,
        stderr: spec.stderr,
        disk_bytes,
        max_files: max_files.unwrap_or_else(|| default_max_files(disk_bytes)),
        max_descriptors: MAX_DESCRIPTORS,
        determinism: spec.determinism,
    }
}

pub(super) fn no_world(error: WasiError) -> Box<Exit> {
    let message = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Box::new(match error {
        WasiError::Mount { .. } => Exit::dropped(TaskReason::LaunchFailed, message),
        WasiError::TooManyMounts | WasiError::TooLong => {
            Exit::invalid(TaskReason::TaskInvalid, message)
        }
    })
}

fn circumstances(
    task: &TaskInfo,
    control: &Control,
    memory_refused: Option<u64>,
    world: &impl World,
) -> Circumstances {
    let resources = task.sandbox_resources();
    Circumstances {
        memory_refused,
        memory_bytes: control.ledger.limit(),
        disk_exceeded: world.quota().was_exceeded(),
        disk_bytes: resources.disk_bytes,
        fuel: task.limits.fuel,
    }
}

fn exit_of(ended: Option<Ended>, circumstances: &Circumstances) -> Exit {
    match ended {
        Some(ended) => ended.into_exit(circumstances),
        // The order that it was dropped for says the rest.
        None => Exit::failed(TaskReason::CellTerminated, ""),
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
pub(super) struct Report {
    observer: Option<Box<dyn Observer>>,
    control: Arc<Control>,
}

impl Report {
    pub(super) fn running(&mut self) {
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
        // Where the job was dropped unfinished, nobody else has ended them.
        self.control.family.close();
        exit.data = self.control.take_result();
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
