//! Tasks: what a framework asks to run, the states that it goes through, and why it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundle::{Digest, Repository};
use crate::executor::ExecutorInfo;
use crate::ids::{AgentId, ExecutorId, GroupId, RunId, TaskId, UpdateId, VolumeId};
use crate::limits::{Limits, Usage};
use crate::resources::Resources;
use crate::service::{HealthCheck, Service};
use crate::time::Time;

/// The states of a task. Mesos' words; there is no LOST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// The master has accepted the task; no agent has spoken of it yet.
    Staging,
    /// The agent prepares the sandbox: fetching or compiling the bundle.
    Starting,
    /// The guest runs.
    Running,
    /// A kill was asked for and the guest has not ended yet.
    Killing,
    /// The guest ended with exit code zero.
    Finished,
    /// The guest ended by its own fault: an exit code, a trap, a limit.
    Failed,
    /// The task ended because somebody asked for it.
    Killed,
    /// The description was invalid. The task never started; retrying it unchanged is useless.
    Error,
    /// The task never started for a passing cause. Retrying is fine.
    Dropped,
    /// The task's agent was lost from sight. It may come back.
    Unreachable,
    /// The task had started and is certainly dead, without a report of its own.
    Gone,
    /// An operator vouched that the task's agent is dead.
    GoneByOperator,
    /// Only in reconciliation: the master has no record of the task.
    Unknown,
}

impl TaskState {
    /// Every state, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::Staging,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Error,
        Self::Dropped,
        Self::Unreachable,
        Self::Gone,
        Self::GoneByOperator,
        Self::Unknown,
    ];

    /// Whether a task in this state never runs again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished
                | Self::Failed
                | Self::Killed
                | Self::Error
                | Self::Dropped
                | Self::Gone
                | Self::GoneByOperator
        )
    }

    /// The state's name, in lower case, as the command line prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Killing => "killing",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::GoneByOperator => "gone-by-operator",
            Self::Unknown => "unknown",
        }
    }
}
impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a task is in its state. Every way to die has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskReason {
    // Ended by the guest.
    /// The guest returned or called `exit`; the exit code is in the status.
    Exited,
    /// The guest trapped; the status carries the trap and its backtrace.
    Trap,
    /// The guest used up `limits.fuel`.
    FuelExhausted,
    /// The guest needed more memory than its RAM and did not survive the refusal.
    MemoryLimit,
    /// The guest ran out of its disk quota and ended because of it.
    DiskLimit,
    /// `limits.timeout` passed.
    TimeLimit,
    /// The guest's call stack overflowed.
    StackOverflow,

    // Never started.
    /// The bundle could not be fetched.
    FetchFailed,
    /// The bundle's bytes are not those that its digest promises.
    DigestMismatch,
    /// The bundle is not valid WebAssembly, or uses a proposal that is not enabled.
    InvalidModule,
    /// Compiling took more time or memory than is allowed.
    CompileLimit,
    /// The bundle imports something that the agent does not provide.
    ImportUnsatisfied,
    /// The module could not be instantiated.
    InstantiateFailed,
    /// A capability that the task asks for is not granted here, for example a host directory.
    CapabilityDenied,
    /// The role wants signed bundles, and nobody whom it trusts has signed this one.
    Unsigned,
    /// A signature of the bundle does not match.
    SignatureInvalid,
    /// The task's description is not valid.
    TaskInvalid,
    /// An accepted offer was unknown, not this framework's, or already used.
    InvalidOffers,
    /// The agent has not the resources that the task was to use.
    ResourcesUnknown,
    /// The agent could not prepare the sandbox: no descriptor, no disk, no process.
    LaunchFailed,
    /// The task was killed before it started.
    KilledDuringLaunch,
    /// The framework's scheduler is not connected.
    FrameworkDisconnected,

    // Ended by others.
    /// The scheduler asked.
    KillRequested,
    /// The framework was torn down or its failover timeout passed.
    FrameworkRemoved,
    /// Resources were wanted back.
    Preempted,
    /// The cell that held the sandbox died.
    CellTerminated,
    /// The executor did not come back from an event in time.
    ExecutorUnresponsive,
    /// The executor was not ready in time.
    ExecutorRegistrationTimeout,
    /// The executor that ran the task ended before it.
    ExecutorTerminated,
    /// Another task of its group failed or was killed.
    GroupEnded,
    /// Too many health checks in a row failed.
    Unhealthy,

    // About the agent.
    /// The agent lost its connection.
    AgentDisconnected,
    /// The agent was removed.
    AgentRemoved,
    /// An operator removed the agent.
    AgentRemovedByOperator,
    /// The agent came back and brought the task.
    AgentReregistered,
    /// The agent restarted and no longer has the task.
    AgentRestarted,
    /// The agent is not known.
    AgentUnknown,
    /// The agent is being drained.
    AgentDraining,

    // Answers.
    /// The status answers a reconciliation.
    Reconciliation,
    /// The task is not known.
    TaskUnknown,
}

/// Who made a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusSource {
    /// The master. Such a status has no update id, is not repeated, and needs no acknowledgement.
    Master,
    /// The agent.
    Agent,
    /// The cell, speaking for the guest.
    Cell,
}

/// A statement about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The task.
    pub task: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Why, where there is more to say than the state.
    pub reason: Option<TaskReason>,
    /// One line for a person; empty if there is nothing to add.
    pub message: String,
    /// Who made this status.
    pub source: StatusSource,
    /// The task's agent, where it has one.
    pub agent: Option<AgentId>,
    /// When the status was made.
    pub at: Time,
    /// Set if the status must be acknowledged; it is repeated until then.
    pub update: Option<UpdateId>,
    /// The guest's exit code, 0 to 255, if it exited.
    pub exit_code: Option<u8>,
    /// Frames of the trap, innermost first, one line each; empty if there was none.
    pub backtrace: Vec<String>,
    /// What the task has used; on terminal statuses of tasks that ran.
    pub usage: Option<Usage>,
    /// Bytes from the guest to its scheduler.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// What the task's health check says, where it has one and that has something to say.
    #[serde(default)]
    pub healthy: Option<bool>,
}

impl TaskStatus {
    /// A status with nothing but a state: the rest is to be filled in.
    #[must_use]
    pub fn new(task: TaskId, state: TaskState, source: StatusSource, at: Time) -> Self {
        Self {
            task,
            state,
            reason: None,
            message: String::new(),
            source,
            agent: None,
            at,
            update: None,
            exit_code: None,
            backtrace: Vec::new(),
            usage: None,
            data: Vec::new(),
            healthy: None,
        }
    }

    /// The same status with a reason and a line for a person.
    #[must_use]
    pub fn because(mut self, reason: TaskReason, message: impl Into<String>) -> Self {
        self.reason = Some(reason);
        self.message = message.into();
        self
    }

    /// The same status about a task of the given agent.
    #[must_use]
    pub fn on(mut self, agent: AgentId) -> Self {
        self.agent = Some(agent);
        self
    }
}

/// Where a task's output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// stdin is empty; output is kept on the agent, bounded and rotated. The guest is never held up.
    #[default]
    Retained,
    /// A client attaches: stdin comes from it and output goes to it unaltered, with back-pressure on
    /// the guest. The guest starts when the client is there.
    Attached,
}

/// A directory of the agent's host that appears in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// An absolute path on the agent's host.
    pub host: String,
    /// Where the guest finds it: an absolute path.
    pub guest: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// A persistent volume among the task's resources, and where it appears in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which.
    pub volume: VolumeId,
    /// Where the guest finds it: an absolute path.
    pub guest: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// What a task has in its agent's cells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A sandbox of its own.
    #[default]
    Sandbox,
    /// A place in an executor, which runs it.
    InExecutor {
        /// Which, and how to start it where it does not run yet.
        executor: Arc<ExecutorInfo>,
        /// The run that the master has found or made for it; a framework leaves it open.
        run: Option<RunId>,
    },
    /// It is itself a run of an executor. Only a master makes such tasks.
    Executor {
        /// Which.
        id: ExecutorId,
        /// How long it may take until it is ready.
        registration_timeout: Duration,
    },
}

/// What becomes of the tasks that are in an executor when its run ends so.
#[must_use]
pub fn end_in_executor(state: TaskState, reason: Option<TaskReason>) -> (TaskState, TaskReason) {
    match (state, reason) {
        (TaskState::Finished, _) | (_, None | Some(TaskReason::Exited)) => {
            (TaskState::Failed, TaskReason::ExecutorTerminated)
        }
        (
            _,
            Some(
                reason @ (TaskReason::ExecutorRegistrationTimeout
                | TaskReason::ExecutorUnresponsive),
            ),
        ) => (TaskState::Failed, reason),
        (state, Some(reason)) => (state, reason),
    }
}

/// Tasks that were launched together and share their fate: when one fails or is killed the others are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Which group; given by the master.
    pub id: GroupId,
    /// How many there are in it.
    pub size: u32,
    /// What their disks come to: the most that may lie in the directory that they share.
    pub disk_bytes: u64,
}

/// What a framework asks to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// The task's id, unique among the framework's live tasks.
    pub id: TaskId,
    /// A name for people; need not be unique.
    pub name: String,
    /// What to run: a module or component of the master's, or a manifest in `repository`.
    pub bundle: Digest,
    /// In which repository the bundle lies; `None` if it is a bare module or component.
    #[serde(default)]
    pub repository: Option<Repository>,
    /// What it has in the agent's cells.
    #[serde(default)]
    pub work: Work,
    /// The group that it was launched in; given by the master.
    #[serde(default)]
    pub group: Option<TaskGroup>,
    /// How it serves, if it is a service.
    #[serde(default)]
    pub service: Option<Box<Service>>,
    /// How it is found out whether it is well.
    #[serde(default)]
    pub health: Option<Box<HealthCheck>>,
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Resources out of the accepted offers that the task uses until it ends.
    pub resources: Resources,
    /// Further limits.
    pub limits: Limits,
    /// Where stdin comes from and output goes to.
    pub stdio: Stdio,
    /// Directories of the host, where the agent allows them.
    pub mounts: Vec<Mount>,
    /// Persistent volumes among the resources, and where they appear.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// How long a killed guest has to end by itself; `None` is the agent's default (3 s).
    pub kill_grace: Option<Duration>,
    /// Carried along, not interpreted.
    pub labels: BTreeMap<String, String>,
    /// Opaque bytes for the guest.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl TaskInfo {
    /// A task with this id that runs `bundle` within `resources`; everything else at its default.
    #[must_use]
    pub fn new(id: TaskId, bundle: Digest, resources: Resources) -> Self {
        Self {
            name: id.to_string(),
            id,
            bundle,
            repository: None,
            work: Work::default(),
            group: None,
            service: None,
            health: None,
            args: Vec::new(),
            env: Vec::new(),
            resources,
            limits: Limits::default(),
            stdio: Stdio::default(),
            mounts: Vec::new(),
            volumes: Vec::new(),
            kill_grace: None,
            labels: BTreeMap::new(),
            data: Vec::new(),
        }
    }

    /// Which of these resources the task would use, with what sets each part apart: what
    /// [`Resources::choose`] chooses, and the volumes that it mounts. `None` if they are not there.
    #[must_use]
    pub fn choose_from(&self, offered: &Resources) -> Option<Resources> {
        if self.volumes.is_empty() {
            return offered.choose(&self.resources);
        }
        let mut wanted = self.resources.clone();
        for mount in &self.volumes {
            if wanted.volumes().any(|(held, _)| held.id == mount.volume) {
                continue;
            }
            let mut parts = offered.parts();
            let (claim, part) = parts.find(|(claim, _)| {
                let volume = claim.volume.as_ref();
                volume.is_some_and(|volume| volume.id == mount.volume)
            })?;
            wanted = wanted.checked_add(&Resources::claimed(claim.clone(), part.clone()))?;
        }
        offered.choose(&wanted)
    }

    /// The run of an executor that it is in, once the master has said.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        match &self.work {
            Work::InExecutor { run, .. } => *run,
            Work::Sandbox | Work::Executor { .. } => None,
        }
    }

    /// Whether it has a sandbox of its own; else an executor runs it.
    #[must_use]
    pub fn has_sandbox(&self) -> bool {
        !matches!(self.work, Work::InExecutor { .. })
    }

    /// The executor of which it is a run.
    #[must_use]
    pub fn run_of(&self) -> Option<&ExecutorId> {
        match &self.work {
            Work::Executor { id, .. } => Some(id),
            Work::Sandbox | Work::InExecutor { .. } => None,
        }
    }

    /// What its sandbox has: all of its resources but the volumes, whatever sets them apart.
    #[must_use]
    pub fn sandbox_resources(&self) -> Resources {
        self.resources.flattened_if(|claim| claim.volume.is_none())
    }
}

impl From<(RunId, &ExecutorInfo)> for TaskInfo {
    /// The task that a run of an executor is.
    fn from((run, executor): (RunId, &ExecutorInfo)) -> Self {
        Self {
            name: executor.name.clone(),
            repository: executor.repository.clone(),
            work: Work::Executor {
                id: executor.id.clone(),
                registration_timeout: executor
                    .registration_timeout
                    .unwrap_or(ExecutorInfo::DEFAULT_REGISTRATION),
            },
            args: executor.args.clone(),
            env: executor.env.clone(),
            limits: executor.limits.clone(),
            kill_grace: Some(
                executor
                    .shutdown_grace
                    .unwrap_or(ExecutorInfo::DEFAULT_SHUTDOWN_GRACE),
            ),
            data: executor.data.clone(),
            ..Self::new(run.into(), executor.bundle, executor.resources.clone())
        }
    }
}

/// A task description that many hold at once: scheduler queue, master, agent.
pub type SharedTask = Arc<TaskInfo>;
