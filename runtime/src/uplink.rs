//! Where what a guest says by `nesos:guest` goes, and who it is told that it is.
//!
//! The runtime checks what a guest says against what it can know by itself (sizes, which tasks an executor
//! has); the rest is decided by whoever is behind the [`Uplink`]. It does not know that there are agents.

use std::path::PathBuf;

use bytes::Bytes;
use nesos_types::bundle::Digest;
use nesos_types::ids::{AgentId, TaskId};
use nesos_types::limits::Metering;
use nesos_types::role::Role;
use nesos_types::task::TaskState;
use thiserror::Error;
use tokio::sync::oneshot;

pub use nesos_types::executor::{MAX_MESSAGE_BYTES, MAX_STATUS_BYTES};

/// Bytes to which the line for a person in such a status is cut.
pub const MAX_STATUS_MESSAGE_BYTES: usize = 1 << 10;

/// Where a guest runs, and in which role. Its framework and its id are known already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The role that it was launched in.
    pub role: Role,
    /// The agent; none in a plain run.
    pub agent: Option<AgentId>,
    /// The agent's host name for itself.
    pub hostname: String,
}

/// A status that a guest makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestUpdate {
    /// One of an executor's tasks, or `None`: the guest's own task.
    pub task: Option<TaskId>,
    /// Its state.
    pub state: TaskState,
    /// One line for a person, [`MAX_STATUS_MESSAGE_BYTES`] at most.
    pub message: String,
    /// Bytes for the scheduler, [`MAX_STATUS_BYTES`] at most.
    pub data: Vec<u8>,
}

/// Why an update was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpdateRefused {
    /// The guest has no such task.
    #[error("there is no such task")]
    UnknownTask,
    /// A terminal state of it was told already.
    #[error("the task has ended already")]
    Ended,
    /// The data is too long.
    #[error("the data is longer than {limit} bytes")]
    TooLarge {
        /// The most that it may be, in bytes.
        limit: usize,
    },
    /// The task is in no state that this one may follow.
    #[error("a task in its state cannot become {0}")]
    NotAllowed(TaskState),
    /// Too many updates are under way.
    #[error("too many updates have not been sent yet")]
    Flooding,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageRefused {
    /// It is too long.
    #[error("the message is longer than {limit} bytes")]
    TooLarge {
        /// The most that it may be, in bytes.
        limit: usize,
    },
    /// Too many messages are under way.
    #[error("too many messages have not been sent yet")]
    Flooding,
    /// There is nobody to send it to.
    #[error("there is no scheduler")]
    NoScheduler,
}

/// What a guest says by `nesos:guest`. Called on guest threads: must not block.
pub trait Uplink: Send + Sync + 'static {
    /// Of its own task or, from an executor, of one of its tasks.
    fn update(&self, update: GuestUpdate) -> Result<(), UpdateRefused>;

    /// To its scheduler.
    fn message(&self, data: Bytes) -> Result<(), MessageRefused>;

    /// Brings another bundle here, compiled, for a child. Answered through `ready`: with the compiled image,
    /// or with a sentence that says why there is none.
    fn prepare(
        &self,
        bundle: Digest,
        metering: Metering,
        ready: oneshot::Sender<Result<PathBuf, String>>,
    );
}

/// An uplink that leads nowhere: updates are taken and forgotten, there is no scheduler and no other bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUplink;

impl Uplink for NoUplink {
    fn update(&self, _: GuestUpdate) -> Result<(), UpdateRefused> {
        Ok(())
    }

    fn message(&self, _: Bytes) -> Result<(), MessageRefused> {
        Err(MessageRefused::NoScheduler)
    }

    fn prepare(
        &self,
        bundle: Digest,
        _: Metering,
        ready: oneshot::Sender<Result<PathBuf, String>>,
    ) {
        // Whoever does not wait for the answer any more does not need it.
        let _ = ready.send(Err(format!(
            "there is nobody to fetch the bundle {bundle} from"
        )));
    }
}
