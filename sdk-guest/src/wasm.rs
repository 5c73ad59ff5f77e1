//! The real host: what the generated bindings of `nesos:guest` are to this crate. The generated code is
//! private; what is public here is for the attributes alone.

#![allow(
    clippy::result_unit_err,
    missing_docs,
    missing_debug_implementations,
    reason = "not for people"
)]

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::child::ChildApi;
use crate::host::HostApi;
use crate::task::{IntoResult, TaskApi, finish};
use crate::{
    ChildId, Executor, Exit, ExitState, Host, Identity, MessageError, Program, Registered,
    ReportError, Resources, Spawn, SpawnError, State, Stdio, Stop, Task, TaskInfo, Timer,
    TimerError, UpdateError,
};

#[allow(
    unreachable_pub,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit/guest",
        inline: "
            package nesos:sdk;
            world guest {
                import nesos:guest/this-task@0.1.0;
                import nesos:guest/executor-host@0.1.0;
                import nesos:guest/sandboxes@0.1.0;
                export nesos:guest/executor-events@0.1.0;
            }
        ",
        world: "nesos:sdk/guest",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_executor",
        default_bindings_module: "nesos_guest::wasm::bindings",
    });
}

#[allow(
    unreachable_pub,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod command {
    wit_bindgen::generate!({
        path: "wit/guest",
        inline: "
            package nesos:sdk;
            world child {
                export wasi:cli/run@0.2.12;
            }
        ",
        world: "nesos:sdk/child",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_child",
        default_bindings_module: "nesos_guest::wasm::command",
    });
}

pub use bindings::exports::nesos::guest::executor_events::Guest as Events;
pub use bindings::nesos::guest::sandboxes::Exit as WitExit;
pub use bindings::nesos::guest::types::{Identity as WitIdentity, Task as WitTask};
pub use command::exports::wasi::cli::run::Guest as Run;

use bindings::nesos::guest::{executor_host, sandboxes, this_task, types};

/// Makes a type that implements `Executor` the component's.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_executor {
    ($executor:ty) => {
        const _: () = {
            ::std::thread_local! {
                static EXECUTOR: ::std::cell::RefCell<::core::option::Option<$executor>> =
                    const { ::std::cell::RefCell::new(::core::option::Option::None) };
            }

            struct Component;

            impl $crate::wasm::Events for Component {
                fn registered(me: $crate::wasm::WitIdentity, data: ::std::vec::Vec<u8>) {
                    EXECUTOR.with(|slot| $crate::wasm::registered(slot, me, data));
                }
                fn launch(task: $crate::wasm::WitTask) {
                    EXECUTOR.with(|slot| $crate::wasm::launch(slot, task));
                }
                fn kill(task: ::std::string::String, grace_ms: u64) {
                    EXECUTOR.with(|slot| $crate::wasm::kill(slot, &task, grace_ms));
                }
                fn message(data: ::std::vec::Vec<u8>) {
                    EXECUTOR.with(|slot| $crate::wasm::message(slot, data));
                }
                fn timer(id: u64) {
                    EXECUTOR.with(|slot| $crate::wasm::timer(slot, id));
                }
                fn sandbox_exited(child: u64, exit: $crate::wasm::WitExit) {
                    EXECUTOR.with(|slot| $crate::wasm::exited(slot, child, exit));
                }
                fn shutdown(grace_ms: u64) {
                    EXECUTOR.with(|slot| $crate::wasm::shutdown(slot, grace_ms));
                }
            }

            $crate::wasm::bindings::export_executor!(Component with_types_in $crate::wasm::bindings);
        };
    };
}

/// Makes a function what the component's `wasi:cli/run` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_child {
    ($child:path) => {
        const _: () = {
            struct Component;

            impl $crate::wasm::Run for Component {
                fn run() -> ::core::result::Result<(), ()> {
                    $crate::wasm::run_child($child)
                }
            }

    $crate::wasm::command::export_child!(Component with_types_in $crate::wasm::command);
        };
    };
}

type Slot<E> = RefCell<Option<E>>;

pub fn registered<E: Executor>(slot: &Slot<E>, me: WitIdentity, data: Vec<u8>) {
    let me = identity(me);
    let executor = E::registered(&host(), Registered { me, data });
    slot.replace(Some(executor));
}

pub fn launch<E: Executor>(slot: &Slot<E>, task: WitTask) {
    with(slot, |executor, host| {
        executor.launch(host, described(task))
    });
}

pub fn kill<E: Executor>(slot: &Slot<E>, task: &str, grace_ms: u64) {
    let grace = Duration::from_millis(grace_ms);
    with(slot, |executor, host| executor.kill(host, task, grace));
}

pub fn message<E: Executor>(slot: &Slot<E>, data: Vec<u8>) {
    with(slot, |executor, host| executor.message(host, data));
}

pub fn timer<E: Executor>(slot: &Slot<E>, id: u64) {
    with(slot, |executor, host| executor.timer(host, Timer(id)));
}

pub fn exited<E: Executor>(slot: &Slot<E>, child: u64, exit: WitExit) {
    let exit = end(exit);
    with(slot, |executor, host| {
        executor.child_exited(host, ChildId(child), exit)
    });
}

pub fn shutdown<E: Executor>(slot: &Slot<E>, grace_ms: u64) {
    let grace = Duration::from_millis(grace_ms);
    with(slot, |executor, host| executor.shutdown(host, grace));
}

pub fn run_child<R: IntoResult, E: Display>(
    child: impl FnOnce(Task) -> Result<R, E>,
) -> Result<(), ()> {
    // A child has nobody to give its result to.
    let run = |task| child(task).map(drop);
    let well = finish(&task(), run);
    // Nothing runs after this that would do it, as something does after `main`.
    let flushed = std::io::stdout().flush().is_ok();
    if well && flushed { Ok(()) } else { Err(()) }
}

/// The host that calls `registered` before anything else.
fn with<E: Executor>(slot: &Slot<E>, tell: impl FnOnce(&mut E, &Host)) {
    if let Some(executor) = slot.borrow_mut().as_mut() {
        tell(executor, &host());
    }
}

/// The host, for whoever means to break the rules.
pub fn host() -> Host {
    Host::new(Rc::new(RealHost))
}

pub(crate) fn task() -> Task {
    Task::new(Rc::new(RealTask))
}

struct RealHost;

impl HostApi for RealHost {
    fn update(
        &self,
        task: &str,
        state: State,
        message: &str,
        data: &[u8],
    ) -> Result<(), UpdateError> {
        use executor_host::{TaskState as To, UpdateError as Refused};
        let state = match state {
            State::Starting => To::Starting,
            State::Running => To::Running,
            State::Finished => To::Finished,
            State::Failed => To::Failed,
            State::Killed => To::Killed,
            State::Error => To::Error,
        };
        executor_host::update(task, state, message, data).map_err(|refused| match refused {
            Refused::UnknownTask => UpdateError::UnknownTask,
            Refused::AlreadyEnded => UpdateError::AlreadyEnded,
            Refused::TooLarge(limit) => UpdateError::TooLarge(limit),
            Refused::NotAllowed => UpdateError::NotAllowed,
            Refused::Flooding => UpdateError::Flooding,
        })
    }

    fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        executor_host::send_message(data).map_err(not_sent)
    }

    fn set_timer(&self, after: Duration) -> Result<u64, TimerError> {
        executor_host::set_timer(millis(after)).map_err(|refused| match refused {
            executor_host::TimerError::TooMany(most) => TimerError::TooMany(most),
            executor_host::TimerError::NotAnExecutor => TimerError::NotAnExecutor,
        })
    }

    fn cancel_timer(&self, timer: u64) -> bool {
        executor_host::cancel_timer(timer)
    }

    fn total(&self) -> Resources {
        amount(&executor_host::total())
    }

    fn left(&self) -> Resources {
        amount(&executor_host::left())
    }

    fn tasks(&self) -> Vec<TaskInfo> {
        executor_host::tasks().into_iter().map(described).collect()
    }

    fn stop(&self) {
        executor_host::stop();
    }

    fn spawn(&self, spawn: Spawn) -> Result<Box<dyn ChildApi>, SpawnError> {
        use sandboxes::SpawnError as Refused;
        let spec = sandboxes::Spec {
            program: match spawn.program {
                Program::ThisBundle => sandboxes::Program::ThisBundle,
                Program::Bundle(digest) => sandboxes::Program::Bundle(digest),
            },
            args: spawn.args,
            env: spawn.env,
            resources: types::Resources {
                cpu_milli: spawn.resources.cpu_milli,
                mem_bytes: spawn.resources.mem_bytes,
                disk_bytes: spawn.resources.disk_bytes,
            },
            timeout_ms: spawn.timeout.map(millis),
            fuel: spawn.fuel,
            stdin: stdio(spawn.stdin),
            stdout: stdio(spawn.stdout),
            stderr: stdio(spawn.stderr),
        };
        match sandboxes::spawn(&spec) {
            Ok(child) => Ok(Box::new(child)),
            Err(Refused::NoResources(left)) => Err(SpawnError::NoResources(amount(&left))),
            Err(Refused::NoRoom) => Err(SpawnError::NoRoom),
            Err(Refused::TooMany(most)) => Err(SpawnError::TooMany(most)),
            Err(Refused::Invalid(why)) => Err(SpawnError::Invalid(why)),
            Err(Refused::NotAnExecutor) => Err(SpawnError::NotAnExecutor),
        }
    }

    fn adopt(&self, child: u64) -> Option<Box<dyn ChildApi>> {
        sandboxes::adopt(child).map(|child| Box::new(child) as Box<dyn ChildApi>)
    }
}

impl ChildApi for sandboxes::Child {
    fn id(&self) -> u64 {
        Self::id(self)
    }

    fn stdin(&self) -> Option<Box<dyn Write>> {
        Self::stdin(self).map(|stream| Box::new(Into(stream)) as Box<dyn Write>)
    }

    fn stdout(&self) -> Option<Box<dyn Read>> {
        Self::stdout(self).map(|stream| Box::new(OutOf(stream)) as Box<dyn Read>)
    }

    fn stderr(&self) -> Option<Box<dyn Read>> {
        Self::stderr(self).map(|stream| Box::new(OutOf(stream)) as Box<dyn Read>)
    }

    fn kill(&self, grace: Duration) {
        Self::kill(self, millis(grace));
    }

    fn exit(&self) -> Option<Exit> {
        Self::exit(self).map(end)
    }

    fn wait(&self) -> Exit {
        loop {
            if let Some(exit) = ChildApi::exit(self) {
                return exit;
            }
            self.subscribe().block();
        }
    }
}

/// What leads into a child.
struct Into(OutputStream);

impl Write for Into {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            let room = self.0.check_write().map_err(broken)?;
            if room > 0 {
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let part = &bytes[..bytes.len().min(room)];
                self.0.write(part).map_err(broken)?;
                return Ok(part.len());
            }
            self.0.subscribe().block();
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.blocking_flush().map_err(broken)
    }
}

impl Drop for Into {
    fn drop(&mut self) {
        // What waits for room would be thrown away with the stream.
        let _ = self.0.blocking_flush();
    }
}

fn broken(error: StreamError) -> std::io::Error {
    match error {
        StreamError::Closed => std::io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => std::io::Error::other(error.to_debug_string()),
    }
}

/// What comes out of a child.
struct OutOf(InputStream);

impl Read for OutOf {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.blocking_read(buffer.len() as u64) {
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(error) => Err(broken(error)),
        }
    }
}

struct RealTask;

impl TaskApi for RealTask {
    fn me(&self) -> Identity {
        identity(this_task::me())
    }

    fn resources(&self) -> Resources {
        amount(&this_task::my_resources())
    }

    fn data(&self) -> Vec<u8> {
        this_task::my_data()
    }

    fn deadline(&self) -> Option<SystemTime> {
        this_task::deadline_ms().map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    }

    fn progress(&self, message: &str, data: &[u8]) -> Result<(), ReportError> {
        this_task::report_progress(message, data).map_err(not_reported)
    }

    fn set_result(&self, data: &[u8]) -> Result<(), ReportError> {
        this_task::set_result(data).map_err(not_reported)
    }

    fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        this_task::send_message(data).map_err(not_sent)
    }

    fn receive(&self) -> Option<Vec<u8>> {
        this_task::receive_message()
    }

    fn wait(&self, timeout: Option<Duration>) {
        let (message, stop) = (this_task::subscribe_messages(), this_task::subscribe_stop());
        let timer = timeout.map(|timeout| {
            let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            wasip2::clocks::monotonic_clock::subscribe_duration(nanos)
        });
        let mut waiting = vec![&message, &stop];
        waiting.extend(timer.as_ref());
        wasip2::io::poll::poll(&waiting);
    }

    fn stop_requested(&self) -> Option<Stop> {
        this_task::stop_requested().map(|stop| Stop {
            grace_left: Duration::from_millis(stop.grace_left_ms),
        })
    }
}

fn not_sent(refused: types::MessageError) -> MessageError {
    match refused {
        types::MessageError::TooLarge(limit) => MessageError::TooLarge(limit),
        types::MessageError::Flooding => MessageError::Flooding,
        types::MessageError::NoScheduler => MessageError::NoScheduler,
    }
}

fn not_reported(refused: this_task::ReportError) -> ReportError {
    match refused {
        this_task::ReportError::TooLarge(limit) => ReportError::TooLarge(limit),
        this_task::ReportError::Flooding => ReportError::Flooding,
        this_task::ReportError::NoScheduler => ReportError::NoScheduler,
    }
}

fn stdio(stdio: Stdio) -> sandboxes::Stdio {
    match stdio {
        Stdio::Null => sandboxes::Stdio::Null,
        Stdio::Inherit => sandboxes::Stdio::Inherit,
        Stdio::Pipe => sandboxes::Stdio::Pipe,
    }
}

fn identity(me: WitIdentity) -> Identity {
    Identity {
        framework: me.framework,
        id: me.id,
        role: me.role,
        agent: me.agent,
        hostname: me.hostname,
    }
}

fn amount(resources: &types::Resources) -> Resources {
    Resources {
        cpu_milli: resources.cpu_milli,
        mem_bytes: resources.mem_bytes,
        disk_bytes: resources.disk_bytes,
    }
}

fn described(task: WitTask) -> TaskInfo {
    TaskInfo {
        id: task.id,
        name: task.name,
        args: task.args,
        env: task.env,
        resources: amount(&task.resources),
        timeout: task.timeout_ms.map(Duration::from_millis),
        labels: task.labels,
        data: task.data,
    }
}

fn end(exit: WitExit) -> Exit {
    Exit {
        state: match exit.state {
            sandboxes::ExitState::Finished => ExitState::Finished,
            sandboxes::ExitState::Failed => ExitState::Failed,
            sandboxes::ExitState::Killed => ExitState::Killed,
            sandboxes::ExitState::Error => ExitState::Error,
            sandboxes::ExitState::Dropped => ExitState::Dropped,
        },
        reason: exit.reason,
        message: exit.message,
        code: exit.code,
        cpu: Duration::from_nanos(exit.cpu_ns),
        peak_mem_bytes: exit.peak_mem_bytes,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
