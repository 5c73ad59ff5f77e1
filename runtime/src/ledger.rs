//! How much memory a sandbox may hold, and holds: one number for all that is charged to it.
//!
//! The guest's own memories, what waits in its mailbox and what an executor gave to its children draw on the
//! same ledger, on different threads. The limit may change while the sandbox runs; below what is held
//! already, nothing more is granted until enough was given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::Meter;

/// The memory of one sandbox.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: AtomicU64,
    used: AtomicU64,
    meter: Arc<Meter>,
}

impl Ledger {
    /// A ledger of `limit` bytes of which none are held; the meter shows the most that ever were.
    pub(crate) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            meter,
        }
    }

    /// Charges `bytes` if they fit.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let after = used.checked_add(bytes)?;
                (after <= limit || bytes == 0).then_some(after)
            });
        self.note_peak();
        taken.is_ok()
    }

    /// Charges `bytes` whether they fit or not.
    pub(crate) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.note_peak();
    }

    /// Takes back what was charged.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The most that may be held.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on so much may be held.
    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// What is held.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may still be taken.
    pub(crate) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    fn note_peak(&self) {
        self.meter
            .peak_memory_bytes
            .fetch_max(self.used(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_limit_takes_nothing_away_and_grants_nothing_more() {
        let meter = Arc::new(Meter::default());
        let ledger = Ledger::new(100, meter.clone());
        assert!(ledger.take(80) && !ledger.take(21));
        ledger.set_limit(50);
        assert!(!ledger.take(1));
        assert_eq!((ledger.used(), ledger.left()), (80, 0));
        ledger.give_back(40);
        assert!(ledger.take(10));
        assert_eq!(meter.peak_memory_bytes.load(Ordering::Relaxed), 80);
    }
}
