//! Runs executors and tasks natively, against a script.
//!
//! A [`Script`] says what happens to the guest, one step after the other; what the guest says comes back
//! as a [`Transcript`]. Time is the script's own, so a test takes none.
//!
//! ```
//! use nesos_guest::testing::{End, Said, Script};
//! use nesos_guest::{Executor, Host, Registered, State, TaskInfo};
//!
//! struct Echo;
//!
//! impl Executor for Echo {
//!     fn registered(_: &Host, _: Registered) -> Self {
//!         Self
//!     }
//!     fn launch(&mut self, host: &Host, task: TaskInfo) {
//!         host.report(&task.id, State::Finished, "", &task.data);
//!     }
//! }
//!
//! let script = Script::new().launch(TaskInfo::new("one", "hello"));
//! let transcript = script.run::<Echo>();
//! assert_eq!(transcript.said, [Said::update("one", State::Finished, "", "hello")]);
//! assert_eq!(transcript.end, End::Alive);
//! ```

mod host;
mod task;

use std::time::Duration;

use crate::{Executor, Exit, ExitState, Identity, Registered, Resources, Spawn, State, TaskInfo};

pub use task::{TaskScript, TaskTranscript};

/// What happens to an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What it is told when it starts.
    pub registered: Registered,
    /// What it holds.
    pub total: Resources,
    /// What happens then, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task is to be run.
    Launch(TaskInfo),
    /// A task is to be ended.
    Kill(String, Duration),
    /// Bytes come from the scheduler.
    Message(Vec<u8>),
    /// So much time passes: timers run out, children end.
    Pass(Duration),
    /// The executor is to end.
    Shutdown(Duration),
}

/// Something that a guest has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The state of a task.
    Update {
        /// Which.
        task: String,
        /// Its state.
        state: State,
        /// A line for people.
        message: String,
        /// Bytes for the scheduler.
        data: Vec<u8>,
    },
    /// Bytes for the scheduler.
    Message(Vec<u8>),
}

impl Said {
    /// An update.
    pub fn update(
        task: impl Into<String>,
        state: State,
        message: impl Into<String>,
        data: impl Into<Vec<u8>>,
    ) -> Self {
        Self::Update {
            task: task.into(),
            state,
            message: message.into(),
            data: data.into(),
        }
    }
}

/// How an executor stands when the script is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It waits for what comes next.
    Alive,
    /// It has stopped by itself.
    Stopped,
    /// It was ended: it trapped or ran into a limit. Only in a real sandbox; natively it would be a panic.
    Failed(String),
}

/// What became of an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// What it said, in order.
    pub said: Vec<Said>,
    /// How it stands.
    pub end: End,
}

impl Default for Script {
    fn default() -> Self {
        let me = Identity {
            framework: "fw-00000000000000000000000000000001".to_owned(),
            id: "executor".to_owned(),
            role: "*".to_owned(),
            ..Identity::default()
        };
        Self {
            registered: Registered {
                me,
                data: Vec::new(),
            },
            total: Resources::new(4000, 1 << 30).with_disk(64 << 20),
            steps: Vec::new(),
        }
    }
}

impl Script {
    /// Nothing happens to the executor but that it starts, with four CPUs and 1 GiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The executor is given these bytes when it starts.
    #[must_use]
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.registered.data = data.into();
        self
    }

    /// The executor holds this.
    #[must_use]
    pub fn total(mut self, total: Resources) -> Self {
        self.total = total;
        self
    }

    /// Then a task is to be run.
    #[must_use]
    pub fn launch(self, task: TaskInfo) -> Self {
        self.then(Step::Launch(task))
    }

    /// Then a task is to be ended.
    #[must_use]
    pub fn kill(self, task: impl Into<String>, grace: Duration) -> Self {
        self.then(Step::Kill(task.into(), grace))
    }

    /// Then bytes come from the scheduler.
    #[must_use]
    pub fn message(self, data: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Message(data.into()))
    }

    /// Then so much time passes.
    #[must_use]
    pub fn pass(self, time: Duration) -> Self {
        self.then(Step::Pass(time))
    }

    /// Then the executor is to end.
    #[must_use]
    pub fn shutdown(self, grace: Duration) -> Self {
        self.then(Step::Shutdown(grace))
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Runs an executor that starts no children.
    #[must_use]
    pub fn run<E: Executor>(&self) -> Transcript {
        self.run_with::<E>(|_| ScriptedChild::finished(""))
    }

    /// Runs an executor; `children` plays the part of each child that it starts.
    #[must_use]
    pub fn run_with<E: Executor>(
        &self,
        children: impl FnMut(ChildStart<'_>) -> ScriptedChild + 'static,
    ) -> Transcript {
        host::play::<E>(self, Box::new(children))
    }
}

/// A child that a scripted executor has started.
#[derive(Clone, Copy, Debug)]
pub struct ChildStart<'a> {
    /// What it was started as.
    pub spawn: &'a Spawn,
    /// All that was written to its standard input.
    pub stdin: &'a [u8],
}

/// What a child does, in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedChild {
    /// All that it writes to its standard output.
    pub stdout: Vec<u8>,
    /// All that it writes to its standard error.
    pub stderr: Vec<u8>,
    /// How it ends.
    pub exit: Exit,
}

impl ScriptedChild {
    /// Writes this and is well.
    pub fn finished(stdout: impl Into<Vec<u8>>) -> Self {
        Self::ending(ExitState::Finished, 0, stdout)
    }

    /// Writes nothing and exits with this code, which is not 0.
    #[must_use]
    pub fn failed(code: u8) -> Self {
        Self::ending(ExitState::Failed, code, "")
    }

    fn ending(state: ExitState, code: u8, stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            stdout: stdout.into(),
            stderr: Vec::new(),
            exit: Exit {
                state,
                reason: "exited".to_owned(),
                message: String::new(),
                code: Some(code),
                cpu: Duration::ZERO,
                peak_mem_bytes: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests;
