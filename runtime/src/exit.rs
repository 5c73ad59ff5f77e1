//! Why a sandbox ended: every way to die has a reason of its own.

use nesos_types::limits::Usage;
use nesos_types::task::{TaskReason, TaskState};
use wasmtime::{GcHeapOutOfMemory, ThrownException, Trap, WasmBacktrace};

use crate::limits::Bytes;

/// Frames of a backtrace that are kept.
const MAX_FRAMES: usize = 64;

/// The end of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// A terminal state.
    pub state: TaskState,
    /// Why it is in that state.
    pub reason: TaskReason,
    /// One line for a person; empty where state, reason and exit code say it all.
    pub message: String,
    /// The guest's exit code, if it exited by itself.
    pub exit_code: Option<u8>,
    /// Frames of the trap, innermost first, one line each.
    pub backtrace: Vec<String>,
    /// What the sandbox has used; all zero if the guest never ran.
    pub usage: Usage,
    /// Bytes from the guest to its scheduler.
    pub data: Vec<u8>,
}

impl Exit {
    /// An end before the guest's first instruction.
    pub(crate) fn before_start(
        state: TaskState,
        reason: TaskReason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            state,
            reason,
            message: message.into(),
            exit_code: None,
            backtrace: Vec::new(),
            usage: Usage::default(),
            data: Vec::new(),
        }
    }

    /// The task can never run like this.
    pub(crate) fn invalid(reason: TaskReason, message: impl Into<String>) -> Self {
        Self::before_start(TaskState::Error, reason, message)
    }

    /// The task could not start this time.
    pub(crate) fn dropped(reason: TaskReason, message: impl Into<String>) -> Self {
        Self::before_start(TaskState::Dropped, reason, message)
    }

    /// The guest's fault.
    pub(crate) fn failed(reason: TaskReason, message: impl Into<String>) -> Self {
        Self::before_start(TaskState::Failed, reason, message)
    }

    /// The guest exited by itself.
    pub(crate) fn exited(code: u8) -> Self {
        let (state, message) = match code {
            0 => (TaskState::Finished, String::new()),
            _ => (TaskState::Failed, format!("exited with code {code}")),
        };
        Self {
            exit_code: Some(code),
            ..Self::before_start(state, TaskReason::Exited, message)
        }
    }

    /// Somebody wanted it to end, whatever the guest did on its way out.
    pub(crate) fn killed(reason: TaskReason, message: &str) -> Self {
        Self::before_start(TaskState::Killed, reason, message)
    }
}

/// What the limits know about a guest that has ended by an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Bytes of memory that it asked for last, in vain.
    pub(crate) memory_refused: Option<u64>,
    /// Its RAM.
    pub(crate) memory_bytes: u64,
    /// Whether it ran into its disk quota.
    pub(crate) disk_exceeded: bool,
    /// Its disk quota.
    pub(crate) disk_bytes: u64,
    /// Its budget of fuel.
    pub(crate) fuel: Option<u64>,
}

impl Circumstances {
    /// The exit of a guest that ended with this code.
    pub(crate) fn of_code(&self, code: u8) -> Exit {
        let mut exit = Exit::exited(code);
        if code != 0
            && let Some((reason, why)) = self.limit_that_was_hit()
        {
            exit.reason = reason;
            exit.message = format!("exited with code {code} after {why}");
        }
        exit
    }

    /// The exit of a guest that ended by an error which is not an exit code.
    pub(crate) fn of_error(&self, error: &wasmtime::Error) -> Exit {
        let mut exit = self.cause_of(error);
        exit.backtrace = backtrace(error);
        exit
    }

    fn cause_of(&self, error: &wasmtime::Error) -> Exit {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Exit::failed(TaskReason::FuelExhausted, self.fuel_message()),
            Some(Trap::StackOverflow) => {
                Exit::failed(TaskReason::StackOverflow, "call stack exhausted")
            }
            Some(trap) => self.of_trap(&trap_message(*trap)),
            None if error.is::<GcHeapOutOfMemory<()>>() => Exit::failed(
                TaskReason::MemoryLimit,
                format!(
                    "the garbage-collected heap needs more than the {} of memory",
                    Bytes(self.memory_bytes)
                ),
            ),
            None if error.is::<ThrownException>() => {
                self.of_trap("an exception was thrown and not caught")
            }
            None => self.of_trap(&format!("a host function failed: {}", error.root_cause())),
        }
    }

    fn of_trap(&self, message: &str) -> Exit {
        match self.limit_that_was_hit() {
            Some((reason, why)) => Exit::failed(reason, format!("{message} after {why}")),
            None => Exit::failed(TaskReason::Trap, message),
        }
    }

    fn limit_that_was_hit(&self) -> Option<(TaskReason, String)> {
        if let Some(refused) = self.memory_refused {
            let why = format!(
                "{} more memory were refused by its limit of {}",
                Bytes(refused),
                Bytes(self.memory_bytes)
            );
            return Some((TaskReason::MemoryLimit, why));
        }
        self.disk_exceeded.then(|| {
            let why = format!("its disk quota of {} was used up", Bytes(self.disk_bytes));
            (TaskReason::DiskLimit, why)
        })
    }

    fn fuel_message(&self) -> String {
        match self.fuel {
            Some(fuel) => format!("used up its {fuel} units of fuel"),
            None => "used up all fuel that can be counted".to_owned(),
        }
    }
}

fn trap_message(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ")
        .map_or(text.clone(), str::to_owned)
}

/// One line per frame, inlined ones included, with source lines where the module has debug info.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let frames = backtrace.frames().iter().flat_map(frame_lines);
    frames.take(MAX_FRAMES).collect()
}

fn frame_lines(frame: &wasmtime::FrameInfo) -> Vec<String> {
    let function = frame
        .func_name()
        .map_or_else(|| format!("function {}", frame.func_index()), demangled);
    if frame.symbols().is_empty() {
        let offset = frame.module_offset();
        return vec![offset.map_or(function.clone(), |at| format!("{function} @ {at:#x}"))];
    }
    let lines = frame.symbols().iter().map(|symbol| {
        let name = symbol.name().map_or_else(|| function.clone(), demangled);
        match (symbol.file(), symbol.line()) {
            (Some(file), Some(line)) => format!("{name} at {file}:{line}"),
            (Some(file), None) => format!("{name} at {file}"),
            (None, _) => name,
        }
    });
    lines.collect()
}

fn demangled(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}
