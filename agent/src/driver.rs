//! The one task that owns the core.
//!
//! Take a batch of what was heard, let the core decide on each, and perform the effects at once: no
//! effect waits for the disk. Checkpoints are written behind, in groups; what must not happen before
//! a commit the core decides only when it hears of the commit.

use std::time::{Duration, Instant};

use nesos_agent_core::{Agent as Core, Decisions, Effect, Event, Snapshot, Stopped};
use nesos_types::message::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cell_link::CellLinks;
use crate::checkpoint_log::Writer;
use crate::clock::Clock;
use crate::compiler::Compiler;
use crate::master_link::MasterLink;
use crate::sandbox_dirs::Remover;
use crate::volumes::Volumes;

mod timer;

use timer::Timer;

/// How many events make a batch at most.
const BATCH: usize = 512;

/// The shortest time from one commit to the next: most tasks come and go within it, and are then
/// never written at all.
const COMMIT_PAUSE: Duration = Duration::from_millis(20);

/// Somebody who reads the core's state.
pub(crate) type SnapshotRequest = oneshot::Sender<Snapshot>;

/// How others reach the driver.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// What was heard.
    pub(crate) events: mpsc::UnboundedSender<Event>,
    /// Who reads.
    pub(crate) readers: mpsc::Sender<SnapshotRequest>,
}

/// The driver's side of the same.
#[derive(Debug)]
pub(crate) struct Queues {
    events: mpsc::UnboundedReceiver<Event>,
    readers: mpsc::Receiver<SnapshotRequest>,
}

/// Both ends.
pub(crate) fn inputs() -> (Inputs, Queues) {
    let (events, heard) = mpsc::unbounded_channel();
    let (readers, reading) = mpsc::channel(16);
    let queues = Queues {
        events: heard,
        readers: reading,
    };
    (Inputs { events, readers }, queues)
}

/// Everything by which effects leave.
pub(crate) struct Surroundings {
    pub(crate) master: MasterLink,
    pub(crate) cells: CellLinks,
    pub(crate) compiler: Compiler,
    pub(crate) checkpoints: Writer,
    pub(crate) remover: Remover,
    pub(crate) volumes: Volumes,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// Owns the core.
pub(crate) struct Driver {
    core: Core,
    clock: Clock,
    queues: Queues,
    around: Surroundings,
    decisions: Decisions,
    commit: Commit,
    stopped: Option<Stopped>,
}

/// Whether a checkpoint may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    /// From this moment on.
    From(Instant),
    /// When the one under way is committed.
    UnderWay(u64),
}

/// How the driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The core has decided so.
    Stopped(Stopped),
    /// It was told to let go; tasks and cells go on.
    Detached,
}

impl Driver {
    pub(crate) fn new(core: Core, clock: Clock, queues: Queues, around: Surroundings) -> Self {
        Self {
            core,
            clock,
            queues,
            around,
            decisions: Decisions::default(),
            commit: Commit::From(Instant::now()),
            stopped: None,
        }
    }

    /// Drives the core until it stops, or until `detach` is cancelled.
    pub(crate) async fn run(mut self, detach: CancellationToken) -> Ended {
        let mut batch = Vec::with_capacity(BATCH);
        let mut timer = Timer::new();
        while self.stopped.is_none() {
            timer.arm(self.next_instant());
            tokio::select! {
                biased;
                () = detach.cancelled() => break,
                // Its own sender keeps this queue open.
                _ = self.queues.events.recv_many(&mut batch, BATCH) => {}
                Some(reader) = self.queues.readers.recv() => {
                    // A reader that has gone away meanwhile misses nothing.
                    let _ = reader.send(self.core.snapshot());
                }
                () = timer.due() => {}
            }
            self.turn(&mut batch);
        }
        self.finish().await
    }

    /// When there is something to do even if nobody says anything.
    fn next_instant(&self) -> Option<Instant> {
        let deadline = self.core.next_deadline();
        let deadline = deadline.and_then(|time| self.clock.instant_of(time));
        match self.commit {
            Commit::From(moment) if self.core.has_changes() => {
                Some(deadline.map_or(moment, |deadline| deadline.min(moment)))
            }
            _ => deadline,
        }
    }

    fn turn(&mut self, batch: &mut Vec<Event>) {
        let now = self.clock.now();
        for event in batch.drain(..) {
            self.note(&event);
            self.core.handle(now, event, &mut self.decisions);
        }
        if self.core.next_deadline().is_some_and(|due| due <= now) {
            self.core.handle(now, Event::Tick, &mut self.decisions);
        }
        self.perform();
        self.checkpoint();
    }

    /// What the driver and its log want to know of an event.
    fn note(&mut self, event: &Event) {
        match event {
            Event::CellEvent { event, .. } => self.around.cells.heard(event),
            Event::Committed { sequence } if self.commit == Commit::UnderWay(*sequence) => {
                self.commit = Commit::From(Instant::now() + COMMIT_PAUSE);
            }
            Event::MasterDisconnected { message, .. } => {
                tracing::warn!(message, "not connected to the master; trying again");
            }
            Event::CellFailed { cell, message } => {
                tracing::warn!(%cell, message, "a cell is lost");
            }
            Event::BundleFailed {
                bundle, message, ..
            } => tracing::warn!(digest = %bundle.digest, message, "a bundle cannot be used"),
            _ => {}
        }
    }

    fn perform(&mut self) {
        for effect in self.decisions.effects.drain(..) {
            match effect {
                Effect::SendMaster(event) => self.around.master.send(&event),
                Effect::SendCell { cell, command } => self.around.cells.send(cell, &command),
                Effect::ConnectMaster { connection } => self.around.master.connect(connection),
                Effect::DisconnectMaster => self.around.master.disconnect(),
                Effect::StartCell { cell, role } => self.around.cells.start(cell, role),
                Effect::ConnectCell { cell, .. } => self.around.cells.connect(cell),
                Effect::DiscardCell { cell, pid } => self.around.cells.discard(cell, pid),
                Effect::FetchBundle(bundle) => {
                    let events = self.around.events.clone();
                    self.around.compiler.fetch(bundle, events);
                }
                Effect::ReleaseBundle(bundle) => self.around.compiler.release(&bundle),
                Effect::RemoveSandbox { directory } => self.around.remover.remove(directory),
                Effect::KeepVolumes { keep } => {
                    self.around.volumes.keep(&keep, &self.around.remover);
                }
                Effect::Stop(stopped) => self.stopped = Some(stopped),
            }
        }
    }

    /// Hands the next group of changes to the writer, unless it is still busy with the last.
    fn checkpoint(&mut self) {
        if matches!(self.commit, Commit::From(moment) if moment <= Instant::now()) {
            self.take_checkpoint();
        }
    }

    fn take_checkpoint(&mut self) {
        if let Some(checkpoint) = self.core.take_checkpoint() {
            self.commit = Commit::UnderWay(checkpoint.sequence);
            self.around.checkpoints.write(checkpoint);
        }
    }

    /// Says goodbye to the master, writes what is not yet written, and sees to it that the cells are
    /// gone, or go on by themselves.
    async fn finish(mut self) -> Ended {
        self.take_checkpoint();
        let Surroundings {
            master,
            cells,
            checkpoints,
            ..
        } = self.around;
        let written = tokio::task::spawn_blocking(move || checkpoints.finish());
        master.close().await;
        if written.await.is_err() {
            tracing::error!("the checkpoint's writer was lost");
        }
        let ended = self.stopped.map_or(Ended::Detached, Ended::Stopped);
        match &ended {
            // The other agent of this name has them.
            Ended::Stopped(Stopped::Refused(Refusal::AgentReplaced { .. })) | Ended::Detached => {
                cells.let_go().await;
            }
            Ended::Stopped(_) => cells.gone().await,
        }
        ended
    }
}
