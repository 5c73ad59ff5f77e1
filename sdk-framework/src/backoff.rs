//! Waiting longer after each failure, and never in step with everybody else.

use std::time::Duration;

use rand::Rng;

/// Delays that double from `min` to `max`, each drawn from the upper half of its span, so that many
/// clients that lost the same master do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays between `min` and `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// How long to wait now; the next time is longer.
    pub fn delay(&mut self, random: &mut impl Rng) -> Duration {
        let delay = self.next.mul_f64(random.random_range(0.5..=1.0));
        self.next = self.next.saturating_mul(2).min(self.max);
        delay
    }

    /// Begins again with the shortest delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_success() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.delay(&mut random);
            let full = Duration::from_millis(full);
            assert!(
                delay >= full / 2 && delay <= full,
                "{delay:?} against {full:?}"
            );
        }
        backoff.reset();
        assert!(backoff.delay(&mut random) <= Duration::from_millis(100));
    }
}
