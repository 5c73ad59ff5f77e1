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
        let cpu_milli = rate(cpu_milli);
        let (enough, full) = marks(cpu_milli);
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

    /// Fills at so many milli-CPUs from now on. What it owes and what is in it stay, up to what the new
    /// rate lets it hold.
    pub(crate) fn set_rate(&mut self, cpu_milli: u64, now: Instant) {
        self.fill(now);
        self.cpu_milli = rate(cpu_milli);
        (self.enough, self.full) = marks(self.cpu_milli);
        // The new marks may say otherwise of what is in it, and nothing more has accrued.
        self.fill(now);
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

/// A rate within what can be counted with: never nothing, for a guest that cannot run cannot end.
fn rate(cpu_milli: u64) -> i64 {
    i64::try_from(cpu_milli.clamp(1, 1_000_000)).unwrap_or(1_000_000)
}

/// The credit at which a dry bucket is worth using again, and that at which it overflows.
fn marks(cpu_milli: i64) -> (i64, i64) {
    // 5 ms, or what 50 ms bring where that is less, but never less than a quantum.
    let enough = (50 * MS * cpu_milli / 1000).clamp(MS / 2, 5 * MS);
    // What can be caught up: nothing at a full CPU, for one thread cannot run faster than that.
    let idle_milli = (1000 - cpu_milli).max(0);
    (enough, enough + 4 * enough * idle_milli / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_SECONDS: Duration = Duration::from_secs(5);

    /// Spends in quanta whenever it may, until `end` of virtual time; returns the CPU time got.
    fn spin(bucket: &mut Bucket, now: &mut Instant, end: Instant, quantum: Duration) -> Duration {
        let mut got = Duration::ZERO;
        while *now < end {
            bucket.fill(*now);
            if bucket.is_dry() {
                *now = end.min(*now + bucket.until_enough());
                continue;
            }
            *now += quantum;
            got += quantum;
            bucket.spend(u64::try_from(quantum.as_nanos()).unwrap(), *now);
        }
        got
    }

    #[track_caller]
    fn assert_due(got: Duration, cpu_milli: u32, quantum: Duration) {
        let got = got.as_secs_f64();
        let due = FIVE_SECONDS.as_secs_f64() * f64::from(cpu_milli) / 1000.0;
        // A quantum is never split, so at the end one may be owed or owing.
        let slack = 0.01 * due + quantum.as_secs_f64();
        assert!(
            (got - due).abs() <= slack,
            "{cpu_milli} m, {quantum:?}: {got} of {due}"
        );
    }

    #[test]
    fn a_spinning_guest_gets_its_share_whatever_its_quantum() {
        for cpu_milli in [10, 100, 250, 500, 900, 1000] {
            for quantum in [200, 700, 10_000] {
                let quantum = Duration::from_micros(quantum);
                let mut now = Instant::now();
                let mut bucket = Bucket::new(u64::from(cpu_milli), now);
                let end = now + FIVE_SECONDS;
                let got = spin(&mut bucket, &mut now, end, quantum);
                assert_due(got, cpu_milli, quantum);
            }
        }
    }

    #[test]
    fn a_new_rate_counts_from_the_moment_on_at_which_it_was_set() {
        let quantum = Duration::from_micros(500);
        let mut now = Instant::now();
        let mut bucket = Bucket::new(1000, now);
        for cpu_milli in [1000, 100, 10, 750, 1, 1000] {
            bucket.set_rate(u64::from(cpu_milli), now);
            let end = now + FIVE_SECONDS;
            let got = spin(&mut bucket, &mut now, end, quantum);
            // What was in the bucket at the higher rate may still be spent: some milliseconds.
            assert_due(got, cpu_milli, quantum + Duration::from_millis(6));
        }
    }

    #[test]
    fn a_rate_of_nothing_is_the_least_there_is() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, start);
        bucket.set_rate(0, start);
        bucket.spend(50_000_000, start);
        assert!(bucket.until_enough() < Duration::from_secs(51));
    }

    #[test]
    fn a_slower_bucket_holds_no_more_than_its_rate_lets_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(500, start);
        bucket.fill(start + FIVE_SECONDS);
        bucket.set_rate(10, start + FIVE_SECONDS);
        bucket.spend(3_000_000, start + FIVE_SECONDS);
        assert!(
            bucket.is_dry(),
            "15 ms were saved up, 3 ms are too many now"
        );
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
