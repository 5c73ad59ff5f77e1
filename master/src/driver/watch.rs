//! The stream of happenings to operators who watch.

use std::sync::Arc;

use nesos_master_core::{Happening, Snapshot};
use nesos_types::time::Time;
use tokio::sync::broadcast;

/// How many batches a watcher may fall behind before it is cut.
const MOST_BEHIND: usize = 4096;

/// What happened in one batch.
#[derive(Debug)]
pub(crate) struct Happenings {
    pub(crate) at: Time,
    pub(crate) happenings: Vec<Happening>,
}

/// A snapshot, and everything that happens after it, without a gap and without a repetition.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) happenings: broadcast::Receiver<Arc<Happenings>>,
}

/// Where the driver tells what happened. Costs nothing while nobody watches.
#[derive(Debug)]
pub(crate) struct Watchers {
    sender: broadcast::Sender<Arc<Happenings>>,
    pending: Vec<Happening>,
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(MOST_BEHIND),
            pending: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, happening: Happening) {
        if self.sender.receiver_count() > 0 {
            self.pending.push(happening);
        }
    }

    /// Tells what was pushed since the last time.
    pub(crate) fn flush(&mut self, at: Time) {
        if self.pending.is_empty() {
            return;
        }
        let happenings = std::mem::take(&mut self.pending);
        // Fails if the last watcher has just left, and then nobody misses anything.
        let _ = self.sender.send(Arc::new(Happenings { at, happenings }));
    }

    pub(crate) fn watch(&self, snapshot: Arc<Snapshot>) -> Watching {
        Watching {
            snapshot,
            happenings: self.sender.subscribe(),
        }
    }
}
