//! The clock that the driver hands to the core: the wall clock at the start plus a monotonic clock
//! since, so that time never runs backwards, whatever is done to the host's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nesos_types::time::Time;

/// A clock that never runs backwards. Copies agree with one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_at_start: Time,
    start: Instant,
}

impl Clock {
    /// A clock that begins at the wall clock's time.
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall_at_start: Time::ZERO + since_epoch,
            start: Instant::now(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Time {
        self.wall_at_start + self.start.elapsed()
    }

    /// The clock's first moment.
    pub(crate) fn started_at(&self) -> Time {
        self.wall_at_start
    }

    /// When the runtime's timers have to fire for this clock to show `time` at least. `None` if that
    /// is too far off to say.
    pub(crate) fn instant_of(&self, time: Time) -> Option<Instant> {
        self.start.checked_add(time.since(self.wall_at_start))
    }
}
