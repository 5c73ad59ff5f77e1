//! The timers of an executor. Pure: time is handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The most timers of one executor.
pub(super) const MAX_TIMERS: u32 = 1024;

/// Beyond this a timer is as good as never.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Timers that have not run out.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, u64)>,
    by_id: BTreeMap<u64, Instant>,
    next_id: u64,
}

impl Timers {
    /// Sets one; none if there are too many.
    pub(super) fn set(&mut self, now: Instant, after: Duration) -> Option<u64> {
        if self.by_id.len() >= MAX_TIMERS as usize {
            return None;
        }
        self.next_id += 1;
        let (id, at) = (self.next_id, now + after.min(FAR));
        self.by_time.insert((at, id));
        self.by_id.insert(id, at);
        Some(id)
    }

    /// Forgets one; says whether it was there.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        match self.by_id.remove(&id) {
            Some(at) => self.by_time.remove(&(at, id)),
            None => false,
        }
    }

    /// When the next one runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes out one that has run out.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        let &(_, id) = self.by_time.first().filter(|&&(at, _)| at <= now)?;
        self.cancel(id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_out_once_in_order_and_are_bounded() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let at = |ms| Duration::from_millis(ms);
        let late = timers.set(now, at(20)).unwrap();
        let soon = timers.set(now, at(10)).unwrap();
        let gone = timers.set(now, at(5)).unwrap();
        assert!(timers.cancel(gone) && !timers.cancel(gone));
        assert_eq!(timers.next(), Some(now + at(10)));
        assert_eq!(timers.take_due(now), None);
        let due = [(); 3].map(|()| timers.take_due(now + at(30)));
        assert_eq!(due, [Some(soon), Some(late), None]);
        for _ in 0..MAX_TIMERS {
            timers.set(now, Duration::MAX).unwrap();
        }
        assert_eq!(timers.set(now, at(1)), None);
    }
}
