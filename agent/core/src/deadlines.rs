//! The one ordered set of moments at which the agent has something to do by itself.

use std::collections::BTreeSet;

use nesos_types::time::Time;

use crate::event::{BundleKey, CellId};
use crate::tasks::TaskHandle;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Connect to what the checkpoint names.
    Recover,
    /// The master: connect, or give up waiting for it.
    Master,
    /// Repeat a task's oldest status.
    Repeat(TaskHandle),
    /// A run of an executor is to be ready.
    Registration(TaskHandle),
    /// Let go of a bundle that nobody used for a while.
    BundleIdle(BundleKey),
    /// Retire a cell that held nothing for a while.
    CellIdle(CellId),
    /// Collect directories of ended tasks.
    Sandboxes,
    /// See how much CPU is unused, and whether that is enough for those who borrow it.
    Review,
    /// The grace of a shutdown is over.
    Drain,
}

/// Moments in order. Every timer stands in it at most once: its owner keeps the moment and moves it.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    set: BTreeSet<(Time, Timer)>,
}

impl Deadlines {
    /// Moves a timer from where its owner says it stands to a new moment, or takes it out.
    pub(crate) fn set(&mut self, stands: &mut Option<Time>, at: Option<Time>, timer: Timer) {
        if *stands == at {
            return;
        }
        let mut timer = timer;
        if let Some(old) = stands.take() {
            let entry = (old, timer);
            self.set.remove(&entry);
            timer = entry.1;
        }
        if let Some(at) = at {
            self.set.insert((at, timer));
        }
        *stands = at;
    }

    /// Takes out the first timer whose moment has come. Its owner is to forget the moment.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (at, _) = self.set.first()?;
        if *at > now {
            return None;
        }
        self.set.pop_first().map(|(_, timer)| timer)
    }

    /// The first moment.
    pub(crate) fn next(&self) -> Option<Time> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Whether a timer stands at this moment.
    pub(crate) fn holds(&self, at: Time, timer: Timer) -> bool {
        self.set.contains(&(at, timer))
    }

    /// How many timers there are.
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}
