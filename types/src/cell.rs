//! What an agent and a cell, the process that holds the sandboxes of one role, say to one another.

use std::path::PathBuf;
use std::time::Duration;

use crate::bundle::Digest;
use crate::ids::{AgentId, TaskKey};
use crate::limits::Metering;
use crate::task::{SharedTask, TaskState, TaskStatus};
use crate::time::Time;

/// Everything that a cell needs to start a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxLaunch {
    /// The task.
    pub key: TaskKey,
    /// What to run.
    pub task: SharedTask,
    /// The compiled bundle, ready to be mapped. Trusted: it comes from the agent's own cache.
    pub compiled: PathBuf,
    /// The sandbox' own directory: `root/` is the guest's writable root, `stdout` and `stderr` its
    /// output.
    pub directory: PathBuf,
    /// Persistent volumes that appear in the sandbox.
    pub volumes: Vec<SandboxVolume>,
    /// The rate at which `Metering::Fuel` fills the bucket: units per second of one CPU.
    pub fuel_per_cpu_second: u64,
    /// What the guest is told of the agent.
    pub agent: Option<AgentId>,
    /// What the guest is told of its host.
    pub hostname: String,
}

/// A persistent volume of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxVolume {
    /// Its directory on the host.
    pub host: PathBuf,
    /// Where the guest finds it: an absolute path.
    pub guest: String,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// The most bytes that may lie in it.
    pub max_bytes: u64,
}

/// What an agent asks of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellCommand {
    /// Start a sandbox. Sandboxes start in the order of their commands. A launch of a task that the
    /// cell already has, live or not yet forgotten, is a repetition and changes nothing.
    Launch(Box<SandboxLaunch>),
    /// Give a task to the run of an executor that the cell holds. As with a launch, a repetition changes
    /// nothing. If the run is over, so is the task.
    Assign {
        /// The task.
        key: TaskKey,
        /// What to run; it names the run.
        task: SharedTask,
    },
    /// Pass bytes on to a guest; dropped if it is not there or its mailbox is full.
    Message {
        /// Whom.
        key: TaskKey,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Answers [`CellEvent::BundleWanted`].
    BundleReady {
        /// The question's number.
        request: u64,
        /// The compiled bundle, ready to be mapped; or why there is none.
        compiled: Result<PathBuf, String>,
    },
    /// End a sandbox: ask the guest, then after the grace drop it.
    Kill {
        /// The task.
        key: TaskKey,
        /// How long the guest has to end by itself; zero is "now".
        grace: Duration,
    },
    /// The agent has the status and all earlier ones of the task safe; the cell may forget them.
    Acknowledge {
        /// The task.
        key: TaskKey,
        /// The newest safe status' number.
        sequence: u64,
    },
    /// Let a sandbox use so much CPU from now on, whatever its task accepted.
    Throttle {
        /// The task.
        key: TaskKey,
        /// Thousandths of a core; what the task accepted undoes it.
        cpu_milli: u64,
    },
    /// Say now, and then at this interval, what CPU time the sandboxes have used. Holds for this connection
    /// only; a later one replaces it, and zero stops it.
    MeasureUsage {
        /// How often.
        interval: Duration,
    },
    /// End when the last sandbox is gone.
    Retire,
}

/// What a cell tells its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellEvent {
    /// The first event of every connection: what the cell holds. Statuses that were not acknowledged
    /// follow as updates.
    Hello {
        /// The cell's process id.
        pid: u32,
        /// Its sandboxes.
        sandboxes: Vec<SandboxReport>,
    },
    /// A sandbox' status; repeated on every connection until it is acknowledged. The agent fills in
    /// its id and the update id.
    Update {
        /// The task.
        key: TaskKey,
        /// Numbers the statuses of one task from 1.
        sequence: u64,
        /// The status.
        status: TaskStatus,
    },
    /// A guest has sent bytes to its scheduler; neither acknowledged nor repeated.
    Message {
        /// Who.
        key: TaskKey,
        /// The bytes.
        data: Vec<u8>,
    },
    /// An executor wants to start a child from this bundle. Asked on one connection only; a cell that is
    /// connected to anew asks again.
    BundleWanted {
        /// Numbers the questions of a connection.
        request: u64,
        /// The run that asks.
        key: TaskKey,
        /// The bundle: a bare module or component.
        bundle: Digest,
        /// How the child's CPU is metered.
        metering: Metering,
    },
    /// What the sandboxes that have not ended have used so far. Said only while the agent has asked for
    /// it; neither acknowledged nor repeated.
    Usage {
        /// When it was read, by the cell's clock.
        at: Time,
        /// One for each sandbox, in no order.
        samples: Vec<CpuSample>,
    },
}

/// The CPU time of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSample {
    /// The task.
    pub key: TaskKey,
    /// Nanoseconds since its start; zero before it.
    pub cpu_ns: u64,
}

/// One sandbox of a cell, as told to an agent that has come back: live ones, and ended ones whose
/// terminal status was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxReport {
    /// The task.
    pub key: TaskKey,
    /// What was launched: an agent that crashed before it had written the task down adopts it.
    pub task: SharedTask,
    /// Its state.
    pub state: TaskState,
}
