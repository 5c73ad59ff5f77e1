//! Writes checkpoints, one after the other, without holding up the agent.
//!
//! A disk that fails (a full one, say) holds up nothing but the acknowledgements to the cells: the
//! group is tried again until it succeeds, and whatever changes meanwhile gathers in the core.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nesos_agent_core::Event;
use nesos_agent_core::checkpoint::Checkpoint;
use tokio::sync::mpsc::UnboundedSender;

use super::{CheckpointError, CheckpointFile};

/// How long to wait before a failed commit is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where checkpoints go.
#[derive(Debug)]
pub(crate) enum Writer {
    /// To a file, by a thread of its own.
    File(FileWriter),
    /// Nowhere: the agent ends with its process.
    Ephemeral(UnboundedSender<Event>),
}

/// The near end of the thread.
#[derive(Debug)]
pub(crate) struct FileWriter {
    queue: mpsc::Sender<Checkpoint>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Writes to this file, and says what was committed through `events`.
    pub(crate) fn to_file(
        file: CheckpointFile,
        path: PathBuf,
        events: UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let (queue, checkpoints) = mpsc::channel();
        let commits = Commits {
            file: Some(file),
            path,
            checkpoints,
            failing: false,
        };
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || commits.run(&events))?;
        Ok(Self::File(FileWriter { queue, thread }))
    }

    /// Begins to write a checkpoint. The next may follow once this one was said to be committed.
    pub(crate) fn write(&self, checkpoint: Checkpoint) {
        match self {
            // The thread lives as long as its queue.
            Self::File(writer) => drop(writer.queue.send(checkpoint)),
            // A driver that no longer listens is about to end.
            Self::Ephemeral(events) => drop(events.send(Event::Committed {
                sequence: checkpoint.sequence,
            })),
        }
    }

    /// Waits until what was given is written, or has failed once more. Blocks.
    pub(crate) fn finish(self) {
        let Self::File(FileWriter { queue, thread }) = self else {
            return;
        };
        drop(queue);
        if thread.join().is_err() {
            tracing::error!("the checkpoint's writer has failed");
        }
    }
}

/// The thread's side.
struct Commits {
    /// None after a failure: redb wants the file closed and opened again.
    file: Option<CheckpointFile>,
    path: PathBuf,
    checkpoints: mpsc::Receiver<Checkpoint>,
    failing: bool,
}

impl Commits {
    fn run(mut self, events: &UnboundedSender<Event>) {
        while let Ok(checkpoint) = self.checkpoints.recv() {
            if !self.commit(&checkpoint) {
                tracing::error!("the last changes of the agent's checkpoint are not on the disk");
                return;
            }
            let sequence = checkpoint.sequence;
            // A driver that no longer listens is about to end.
            let _ = events.send(Event::Committed { sequence });
        }
    }

    /// Tries until it succeeds, or until nobody waits for it any more.
    fn commit(&mut self, checkpoint: &Checkpoint) -> bool {
        loop {
            match self.try_commit(checkpoint) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the checkpoint can be written again");
                    }
                    return true;
                }
                Err(error) => self.report(&error),
            }
            let waited = self.checkpoints.recv_timeout(RETRY_AFTER);
            if matches!(waited, Err(RecvTimeoutError::Disconnected)) {
                return self.try_commit(checkpoint).is_ok();
            }
        }
    }

    fn try_commit(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => CheckpointFile::open(&self.path)?,
        };
        file.commit(&checkpoint.changes)?;
        self.file = Some(file);
        Ok(())
    }

    /// Once when it begins, not every second.
    fn report(&mut self, error: &CheckpointError) {
        if !std::mem::replace(&mut self.failing, true) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                %error,
                cause,
                "tasks go on; until this is mended a crash of the agent may lose what it knew of them"
            );
        }
    }
}
