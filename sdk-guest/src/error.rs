//! Why the host did not do what it was asked for.

use thiserror::Error;

use crate::Resources;

/// Why an update of a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// There is no such task in this executor.
    #[error("this executor has no such task")]
    UnknownTask,
    /// A terminal state of it was told already.
    #[error("a terminal state of this task was told already")]
    AlreadyEnded,
    /// The data is too long.
    #[error("the data is longer than {0} bytes")]
    TooLarge(u64),
    /// The task is in no state that this one may follow.
    #[error("the task is in no state that this one may follow")]
    NotAllowed,
    /// Too many updates are under way. Try again later.
    #[error("too many updates are under way; try again later")]
    Flooding,
}

/// Why a message to the scheduler was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It is too long.
    #[error("the message is longer than {0} bytes")]
    TooLarge(u64),
    /// Too many messages are under way. Try again later.
    #[error("too many messages are under way; try again later")]
    Flooding,
    /// There is no scheduler to talk to.
    #[error("there is no scheduler to talk to")]
    NoScheduler,
}

/// Why progress or a result was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReportError {
    /// The data is too long.
    #[error("the data is longer than {0} bytes")]
    TooLarge(u64),
    /// Too many reports are under way. Try again later.
    #[error("too many reports are under way; try again later")]
    Flooding,
    /// There is nobody to report to.
    #[error("there is nobody to report to")]
    NoScheduler,
}

/// Why a timer was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimerError {
    /// There are so many already, the most that are allowed.
    #[error("there are {0} timers already, the most that are allowed")]
    TooMany(u32),
    /// A child has no timers.
    #[error("only executors have timers")]
    NotAnExecutor,
}

/// Why a child was not started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpawnError {
    /// It asks for more than this, which is left.
    #[error(
        "the child asks for more than is left: {} thousandths of a CPU, {} bytes of memory and {} of disk",
        .0.cpu_milli, .0.mem_bytes, .0.disk_bytes
    )]
    NoResources(Resources),
    /// The agent has no room for another sandbox now.
    #[error("the agent has no room for another sandbox now; try again when one has ended")]
    NoRoom,
    /// There are so many children already, the most that are allowed.
    #[error("there are {0} children already, the most that are allowed")]
    TooMany(u32),
    /// The description is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Only executors have children.
    #[error("only executors have children")]
    NotAnExecutor,
}
