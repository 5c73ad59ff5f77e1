#![doc = include_str!("../README.md")]

mod child;
mod error;
mod executor;
mod host;
mod info;
mod task;
pub mod testing;
#[doc(hidden)]
#[cfg(target_family = "wasm")]
pub mod wasm;

pub use child::{Child, ChildId, Exit, ExitState, Program, Spawn, Stdio};
pub use error::{MessageError, ReportError, SpawnError, TimerError, UpdateError};
pub use executor::{Executor, Registered};
pub use host::{Host, Timer};
pub use info::{Identity, Resources, State, TaskInfo};
pub use task::{IntoResult, Stop, Task};

#[doc(hidden)]
pub use task::__run_task;
#[doc(hidden)]
#[cfg(target_family = "wasm")]
pub use wasm::host as __host;

/// Makes an `impl Executor for …` the component's executor. One per component, in a library of the crate
/// type `cdylib`. Natively it changes nothing.
pub use nesos_guest_macros::executor;

/// Makes `fn main(task: Task) -> Result<R, E>` a task's entry point. `R` is the data of the task's last status:
/// `()`, a `String` or a `Vec<u8>`; an error is printed to stderr, and the exit code is 1.
pub use nesos_guest_macros::task;

/// Makes `fn name(task: Task) -> Result<R, E>` what the children of this bundle run, those that are spawned
/// with [`Program::ThisBundle`]. What it returns counts as in [`task`](macro@task), but there is no
/// status that data could go into: children answer through their streams.
pub use nesos_guest_macros::child;
