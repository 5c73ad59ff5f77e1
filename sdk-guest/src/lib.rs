//! Write guests for Nesos: tasks that talk to their scheduler, and executors.
//!
//! A guest is a WebAssembly component, built for `wasm32-wasip2`. Any WASI command can be a task; this crate is
//! for those that have something to say. It is a thin, safe cover over the WIT package `nesos:guest`, which
//! says what each function does, and within which limits.
//!
//! # A task
//!
//! A program whose `main` is given its [`Task`]: it reports progress, hears that it should stop, exchanges
//! messages with its scheduler, and what it returns goes into its last status.
//!
//! ```no_run
//! use nesos_guest::{ReportError, Task};
//!
//! #[nesos_guest::task]
//! fn main(task: Task) -> Result<String, ReportError> {
//!     let mut sum = 0_u64;
//!     for number in 0..1_000_u64 {
//!         if task.stop_requested().is_some() {
//!             break;
//!         }
//!         sum += number;
//!         if number % 250 == 0 {
//!             task.progress(&format!("at {number}"), &[])?;
//!         }
//!     }
//!     Ok(sum.to_string())
//! }
//! ```
//!
//! # An executor
//!
//! A library (`crate-type = ["cdylib"]`) with a type that implements [`Executor`]: one value for the whole
//! life of the sandbox, told one event at a time.
//!
//! ```
//! use nesos_guest::{Executor, Host, Registered, State, TaskInfo};
//!
//! /// Answers each task with its data, in capitals.
//! struct Capitals;
//!
//! #[nesos_guest::executor]
//! impl Executor for Capitals {
//!     fn registered(_: &Host, _: Registered) -> Self {
//!         Self
//!     }
//!
//!     fn launch(&mut self, host: &Host, task: TaskInfo) {
//!         let answer = task.data.to_ascii_uppercase();
//!         host.report(&task.id, State::Finished, "", &answer);
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! It starts children, sandboxes of their own, with [`Host::spawn`]; what children of the same bundle run is
//! a function with the attribute [`child`](macro@child).
//!
//! # Tests
//!
//! [`testing`] runs an executor or a task natively against a script, in `cargo test`. The crate
//! `nesos-guest-harness` runs the same script against the built component, in a real sandbox.

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
