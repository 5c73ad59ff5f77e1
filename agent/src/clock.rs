//! The time of day, as it never runs backwards.

use std::time::{Duration, Instant, SystemTime};

use nesos_types::time::Time;

/// The wall clock at the start of the process, moved on by the monotonic clock: nobody who sets the
/// host's clock makes a status older than the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Time,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock, for the only time.
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
        Self {
            start: Time::ZERO + since_epoch,
            started: Instant::now(),
        }
    }

    /// The moment.
    pub(crate) fn now(&self) -> Time {
        self.start + self.started.elapsed()
    }

    /// When this clock will show `time` at least; `None` if that is too far off to say.
    pub(crate) fn instant_of(&self, time: Time) -> Option<Instant> {
        self.started.checked_add(time.since(self.start))
    }
}
