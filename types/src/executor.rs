//! Executors: sandboxes of a framework's own that run many of its tasks.
//!
//! A task may name the executor that is to run it. The first such task on an agent has the executor started
//! there, in a sandbox with resources of its own, and later ones of the same executor join it. One *run* of an
//! executor lasts from its start to its end; to the master and its agents it is a task like others, made by the
//! master, whose statuses the master itself acknowledges.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundle::{Digest, Repository};
use crate::ids::{ExecutorId, TaskId};
use crate::limits::Limits;
use crate::resources::Resources;

/// What a framework says of an executor. Tasks that name an executor by the same id on the same agent must
/// say the same of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// The executor's id: there is at most one run of it on an agent.
    pub id: ExecutorId,
    /// A name for people.
    pub name: String,
    /// What it is: a component of the world `executor` of `nesos:guest`.
    pub bundle: Digest,
    /// Where the bundle is, as in [`TaskInfo`](crate::task::TaskInfo).
    #[serde(default)]
    pub repository: Option<Repository>,
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What it uses itself, beside what its tasks use.
    pub resources: Resources,
    /// Further limits, for all that it and its tasks do.
    pub limits: Limits,
    /// How long it may take from its first task's launch, fetching and compiling included, until it is ready;
    /// `None` is [`DEFAULT_REGISTRATION`](Self::DEFAULT_REGISTRATION).
    pub registration_timeout: Option<Duration>,
    /// How long it has to end by itself; `None` is [`DEFAULT_SHUTDOWN_GRACE`](Self::DEFAULT_SHUTDOWN_GRACE).
    pub shutdown_grace: Option<Duration>,
    /// Opaque bytes for the guest.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl ExecutorInfo {
    /// How long an executor may take until it is ready, where it is not said (Mesos: 1 min).
    pub const DEFAULT_REGISTRATION: Duration = Duration::from_secs(60);
    /// How long an executor has to end by itself, where it is not said (Mesos: 5 s).
    pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

    /// An executor of this id that runs `bundle` within `resources`; everything else at its default.
    #[must_use]
    pub fn new(id: ExecutorId, bundle: Digest, resources: Resources) -> Self {
        Self {
            name: id.to_string(),
            id,
            bundle,
            repository: None,
            args: Vec::new(),
            env: Vec::new(),
            resources,
            limits: Limits::default(),
            registration_timeout: None,
            shutdown_grace: None,
            data: Vec::new(),
        }
    }
}

/// Whom a message is for, or from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Correspondent {
    /// An executor's run on the agent.
    Executor(ExecutorId),
    /// A task with a sandbox of its own.
    Task(TaskId),
}

/// The most data in a status that a guest makes, in bytes.
pub const MAX_STATUS_BYTES: usize = 64 << 10;

/// The largest message between a scheduler and its executors and tasks, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;
