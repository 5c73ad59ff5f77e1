//! The token bucket of one sandbox: credit that fills at the accepted CPUs and is spent in CPU time.

use std::time::{Duration, Instant};

/// Credit is counted in thousandths of a nanosecond, so that milli-CPUs × nanoseconds need no rounding.
const UNITS_PER_NS: i64 = 1_000;
const MS: i64 = 1_000_000 * UNITS_PER_NS;

/// Credit in CPU time.
///
/// A bucket that has run dry stays dry until some milliseconds are in it again: waking a guest for less
/// would spend more on waking than on the guest. It may go into debt, for a quantum is only measured
/// when it is over. And it overflows: who sleeps does not save up for later.
#[derive(Debug)]
pub(crate) struct Bucket {
    credit: i64,
    cpu_milli: i64,
    /// Credit at which a dry bucket is worth using again.
    enough: i64,
    /// Credit beyond which it overflows.
    full: i64,
    dry: bool,
    filled_at: Instant,
}

impl Bucket {
    /// A bucket for so many milli-CPUs.
    pub(crate) fn new(cpu_milli: u64, now: Instant) -> Self {
        let cpu_milli = i64::try_from(cpu_milli.clamp(1, 1_000_000)).unwrap_or(1_000_000);
        // 5 ms, or what 50 ms bring where that is less, but never less than a quantum.
        let enough = (50 * MS * cpu_milli / 1000).clamp(MS / 2, 5 * MS);
        // What can be caught up: nothing at a full CPU, for one thread cannot run faster than that.
        let idle_milli = (1000 - cpu_milli).max(0);
        let full = enough + 4 * enough * idle_milli / 1000;
        // Half of "enough" on average over a cycle of spending and filling, so that a short run is
        // neither favoured nor robbed; all of it at a full CPU, where there is no cycle.
        let credit = enough * cpu_milli.clamp(500, 1000) / 1000;
        Self {
            credit,
            cpu_milli,
            enough,
            full,
            dry: false,
            filled_at: now,
        }
    }

    /// Pours in what has accrued since the last call.
    pub(crate) fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now;
        let elapsed_ns = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        let poured = elapsed_ns.saturating_mul(self.cpu_milli);
        self.credit = self.credit.saturating_add(poured).min(self.full);
        if self.credit >= self.enough {
            self.dry = false;
        }
    }

    /// Takes out what a quantum cost, and pours in what has accrued meanwhile.
    pub(crate) fn spend(&mut self, cpu_ns: u64, now: Instant) {
        let cpu_ns = i64::try_from(cpu_ns).unwrap_or(i64::MAX);
        // In this order, for a guest that uses a full CPU must not lose the quantum to the overflow.
        self.credit = self
            .credit
            .saturating_sub(cpu_ns.saturating_mul(UNITS_PER_NS));
        self.fill(now);
        if self.credit <= 0 {
            self.dry = true;
        }
    }

    /// Whether the guest has to wait.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry
    }

    /// Whether it overflows: the guest is losing what it accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.credit >= self.full
    }

    /// How long until a dry bucket can be used again.
    pub(crate) fn until_enough(&self) -> Duration {
        self.until(self.enough)
    }

    /// How long until it overflows.
    pub(crate) fn until_full(&self) -> Duration {
        self.until(self.full)
    }

    fn until(&self, credit: i64) -> Duration {
        let missing = u64::try_from(credit.saturating_sub(self.credit)).unwrap_or(0);
        let per_ns = u64::try_from(self.cpu_milli).unwrap_or(1);
        Duration::from_nanos(missing.div_ceil(per_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends in quanta whenever it may, for five seconds of virtual time; returns the CPU time got.
    fn run_for_five_seconds(cpu_milli: u64, quantum: Duration) -> Duration {
        let start = Instant::now();
        let mut now = start;
        let mut bucket = Bucket::new(cpu_milli, start);
        let mut got = Duration::ZERO;
        while now < start + Duration::from_secs(5) {
            bucket.fill(now);
            if bucket.is_dry() {
                now += bucket.until_enough();
                continue;
            }
            now += quantum;
            got += quantum;
            bucket.spend(u64::try_from(quantum.as_nanos()).unwrap(), now);
        }
        got
    }

    #[test]
    fn a_spinning_guest_gets_its_share_whatever_its_quantum() {
        for cpu_milli in [10, 100, 250, 500, 900, 1000] {
            for quantum in [200, 700, 10_000] {
                let quantum = Duration::from_micros(quantum);
                let got = run_for_five_seconds(cpu_milli, quantum).as_secs_f64();
                let due = 5.0 * f64::from(u32::try_from(cpu_milli).unwrap()) / 1000.0;
                // A quantum is never split, so at the end one may be owed or owing.
                let slack = 0.01 * due + quantum.as_secs_f64();
                assert!(
                    (got - due).abs() <= slack,
                    "{cpu_milli} m, {quantum:?}: {got} of {due}"
                );
            }
        }
    }

    #[test]
    fn sleeping_saves_up_no_more_than_some_milliseconds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(500, start);
        let later = start + Duration::from_secs(3600);
        bucket.fill(later);
        assert!(bucket.is_full());
        bucket.spend(30_000_000, later);
        assert!(bucket.is_dry());
    }

    #[test]
    fn debt_is_paid_back_before_anything_else() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, start);
        bucket.spend(650_000_000, start);
        assert!(bucket.until_enough() > Duration::from_secs(6));
        bucket.fill(start + Duration::from_secs(6));
        assert!(bucket.is_dry());
        bucket.fill(start + Duration::from_secs(7));
        assert!(!bucket.is_dry());
    }
}
