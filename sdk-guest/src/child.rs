//! Children of an executor: sandboxes of their own.

use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;

use crate::Resources;

/// Names a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub(crate) u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child-{}", self.0)
    }
}

/// What a child runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The executor's own bundle: its function with the attribute [`child`](macro@crate::child).
    ThisBundle,
    /// Another bundle, by its digest: `sha256:` and 64 hexadecimal digits.
    Bundle(String),
}

/// Where a standard stream of a child leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Nowhere.
    #[default]
    Null,
    /// Output goes where the executor's own goes.
    Inherit,
    /// To the executor. It takes 128 KiB of the executor's memory.
    Pipe,
}

/// A child to start: begin with [`Spawn::this_bundle`] or [`Spawn::bundle`] and add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// What it runs.
    pub program: Program,
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What it may use, taken from what the executor holds.
    pub resources: Resources,
    /// How long it may run, if not as long as its executor.
    pub timeout: Option<Duration>,
    /// Units of fuel that it may burn, if there is a limit.
    pub fuel: Option<u64>,
    /// Its standard input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
}

impl Spawn {
    /// A child of the executor's own bundle. Output is inherited, input is empty.
    #[must_use]
    pub fn this_bundle(resources: Resources) -> Self {
        Self {
            program: Program::ThisBundle,
            args: vec!["child".to_owned()],
            env: Vec::new(),
            resources,
            timeout: None,
            fuel: None,
            stdin: Stdio::Null,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
        }
    }

    /// A child of another bundle, by its digest.
    #[must_use]
    pub fn bundle(digest: impl Into<String>, resources: Resources) -> Self {
        Self {
            program: Program::Bundle(digest.into()),
            ..Self::this_bundle(resources)
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// With one more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With a limit of time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// With its standard input from here.
    #[must_use]
    pub fn stdin(mut self, stdio: Stdio) -> Self {
        self.stdin = stdio;
        self
    }

    /// With its standard output to there.
    #[must_use]
    pub fn stdout(mut self, stdio: Stdio) -> Self {
        self.stdout = stdio;
        self
    }

    /// With its standard error to there.
    #[must_use]
    pub fn stderr(mut self, stdio: Stdio) -> Self {
        self.stderr = stdio;
        self
    }
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitState {
    /// All is well.
    Finished,
    /// It trapped, ran into a limit, or exited with a code other than 0.
    Failed,
    /// Its executor killed it.
    Killed,
    /// It could never run like this.
    Error,
    /// It could not be started this time.
    Dropped,
}

/// The end of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it has ended.
    pub state: ExitState,
    /// Why: the name of a reason, such as `memory_limit`.
    pub reason: String,
    /// One line for a person; may be empty.
    pub message: String,
    /// Its exit code, if it exited by itself.
    pub code: Option<u8>,
    /// CPU time that it has used.
    pub cpu: Duration,
    /// The most memory that it has used at once, in bytes.
    pub peak_mem_bytes: u64,
}

impl Exit {
    /// Whether all is well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.state == ExitState::Finished
    }
}

/// A hold on a child. Dropping it changes nothing for the child.
pub struct Child {
    api: Box<dyn ChildApi>,
}

/// What a hold on a child does.
pub(crate) trait ChildApi {
    fn id(&self) -> u64;
    fn stdin(&self) -> Option<Box<dyn Write>>;
    fn stdout(&self) -> Option<Box<dyn Read>>;
    fn stderr(&self) -> Option<Box<dyn Read>>;
    fn kill(&self, grace: Duration);
    fn exit(&self) -> Option<Exit>;
    fn wait(&self) -> Exit;
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.api.id()).finish()
    }
}

impl Child {
    pub(crate) fn new(api: Box<dyn ChildApi>) -> Self {
        Self { api }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ChildId {
        ChildId(self.api.id())
    }

    /// What leads to its standard input, once, if that is a pipe. Writing waits while the pipe is full; dropping
    /// it is the end of the child's input.
    pub fn stdin(&self) -> Option<Box<dyn Write>> {
        self.api.stdin()
    }

    /// Its standard output, once, if that is a pipe.
    pub fn stdout(&self) -> Option<Box<dyn Read>> {
        self.api.stdout()
    }

    /// Its standard error, once, if that is a pipe.
    pub fn stderr(&self) -> Option<Box<dyn Read>> {
        self.api.stderr()
    }

    /// Ends it, at once unless it hears that it should stop; then within the grace.
    pub fn kill(&self, grace: Duration) {
        self.api.kill(grace);
    }

    /// How it has ended; none if it has not. Whoever asks is not told again by
    /// [`Executor::child_exited`](crate::Executor::child_exited).
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.api.exit()
    }

    /// Waits until it has ended. The executor hears nothing else meanwhile, and the time counts as its method's.
    #[must_use]
    pub fn wait(&self) -> Exit {
        self.api.wait()
    }
}
