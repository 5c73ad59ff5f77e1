//! The streams of an attached task: this process' stdin to the guest, the guest's output to this
//! process' stdout and stderr.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use nesos_sdk::{ConnectError, Output, TaskIo, describe};
use nesos_types::ids::TaskKey;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::console::{self, WriteError, Writer};
use crate::failure::Failure;

/// Why output stopped before its end.
#[derive(Debug, Error)]
pub(super) enum PumpError {
    /// The agent went away, or would not let us attach.
    #[error("cannot read the task's output from its agent: {}", describe(.0))]
    Agent(#[source] Box<tonic::Status>),
    /// Whoever reads our output went away, or it cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A bug.
    #[error("the task's streams were lost")]
    Lost,
}

impl PumpError {
    /// Whether the task ended because of this, rather than this because of the task.
    pub(super) fn is_own_fault(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Lost)
    }
}

/// What a shell shows for a program whose reader went away: 128 + SIGPIPE.
const READER_LEFT: u8 = 141;

impl From<PumpError> for Failure {
    fn from(error: PumpError) -> Self {
        let failure = Self::said(format!("{error}; the task was killed"));
        match error {
            PumpError::Write(cause) if cause.is_broken_pipe() => failure.with_status(READER_LEFT),
            _ => failure,
        }
    }
}

/// The streams of one task, pumped until the guest's output ends. Dropping it detaches.
#[derive(Debug)]
pub(super) struct Pump {
    attached: Arc<AtomicBool>,
    work: JoinHandle<Result<(), PumpError>>,
}

impl Pump {
    /// Attaches to a task that was launched or is about to be.
    pub(super) fn start(agent_url: &str, task: TaskKey) -> Result<Self, ConnectError> {
        let io = TaskIo::new(agent_url)?;
        let attached = Arc::<AtomicBool>::default();
        Ok(Self {
            work: tokio::spawn(pump(io, task, attached.clone())),
            attached,
        })
    }

    /// Whether the task is there, so that its output will come to an end.
    pub(super) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed)
    }

    /// Waits until all output was written.
    pub(super) async fn ended(&mut self) -> Result<(), PumpError> {
        (&mut self.work).await.unwrap_or(Err(PumpError::Lost))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn pump(mut io: TaskIo, task: TaskKey, attached: Arc<AtomicBool>) -> Result<(), PumpError> {
    let broken = |status| PumpError::Agent(Box::new(status));
    // Nothing is read of our stdin before there is a guest to read it.
    let (begin, begun) = oneshot::channel::<()>();
    let stdin = stream::once(async {
        match begun.await {
            Ok(()) => console::stdin().left_stream(),
            Err(_) => stream::empty().right_stream(),
        }
    });
    let mut begin = Some(begin);
    let mut attachment = io.attach(&task, stdin.flatten()).await.map_err(broken)?;
    let (mut stdout, mut stderr) = (Writer::stdout(), Writer::stderr());
    while let Some(output) = attachment.next().await.map_err(broken)? {
        match output {
            Output::Attached => {
                attached.store(true, Ordering::Relaxed);
                if let Some(begin) = begin.take() {
                    // The request stream was dropped if nobody wants input any more.
                    let _ = begin.send(());
                }
            }
            Output::Stdout(bytes) => stdout.write(bytes).await?,
            Output::Stderr(bytes) => stderr.write(bytes).await?,
        }
    }
    stdout.finish().await?;
    stderr.finish().await?;
    Ok(())
}
