//! What guests are told of themselves and of tasks.

use std::time::Duration;

/// An amount of resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU core.
    pub cpu_milli: u64,
    /// Bytes of memory, the sandbox' own overhead included.
    pub mem_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

impl Resources {
    /// CPU and memory, and no disk.
    #[must_use]
    pub fn new(cpu_milli: u64, mem_bytes: u64) -> Self {
        Self {
            cpu_milli,
            mem_bytes,
            disk_bytes: 0,
        }
    }

    /// The same with so much disk.
    #[must_use]
    pub fn with_disk(self, disk_bytes: u64) -> Self {
        Self { disk_bytes, ..self }
    }
}

/// Where a guest runs, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The framework that it belongs to.
    pub framework: String,
    /// Its own id, as its scheduler gave it.
    pub id: String,
    /// The role that it was launched in.
    pub role: String,
    /// The agent; none where there is none, such as in a test.
    pub agent: Option<String>,
    /// The agent's host name for itself.
    pub hostname: String,
}

/// A task, as its scheduler described it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its id.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What the task may use.
    pub resources: Resources,
    /// How long it may run, if it was given a limit.
    pub timeout: Option<Duration>,
    /// Labels: carried along, not interpreted.
    pub labels: Vec<(String, String)>,
    /// Opaque bytes from the scheduler.
    pub data: Vec<u8>,
}

impl TaskInfo {
    /// A task with nothing but an id and data, for tests.
    #[must_use]
    pub fn new(id: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            data: data.into(),
            ..Self::default()
        }
    }
}

/// What an executor may say of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The executor prepares it.
    Starting,
    /// It runs. May be said again and again.
    Running,
    /// It is over, and all is well.
    Finished,
    /// It is over by its own fault.
    Failed,
    /// It is over because that was asked for.
    Killed,
    /// It could never run like this.
    Error,
}

impl State {
    /// Whether a task in this state is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Starting | Self::Running)
    }
}
