//! The clock of a process: it begins where the wall clock of its machine stood when the process was started,
//! and goes a little too fast or too slow from then on.
//!
//! That is what the drivers hand to their cores. Whoever sets a machine's clock is noticed at the next start.

use std::time::Duration;

use nesos_types::time::Time;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How much clocks go wrong at most, in millionths.
const MAX_DRIFT_PPM: i64 = 500;

/// How far wall clocks are set wrong at most, in microseconds.
const MAX_JUMP_US: i64 = 90_000_000;

/// Beyond what any simulation lasts.
const FOREVER_US: i64 = 1 << 42;

/// A machine's wall clock, and how well its oscillator goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Oscillator {
    offset_us: i64,
    drift_ppm: i64,
}

impl Oscillator {
    /// One that is not quite right.
    pub(crate) fn any(rng: &mut ChaCha8Rng) -> Self {
        Self {
            offset_us: rng.random_range(-MAX_JUMP_US..=MAX_JUMP_US) / 100,
            drift_ppm: rng.random_range(-MAX_DRIFT_PPM..=MAX_DRIFT_PPM),
        }
    }

    /// Somebody sets the clock.
    pub(crate) fn jump(&mut self, rng: &mut ChaCha8Rng) {
        self.offset_us = rng.random_range(-MAX_JUMP_US..=MAX_JUMP_US);
    }

    /// The clock of a process that is started now.
    pub(crate) fn start(self, now: Time) -> Clock {
        Clock {
            began: now,
            showed: moved(now, self.offset_us),
            drift_ppm: self.drift_ppm,
        }
    }
}

/// The clock of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Time,
    showed: Time,
    drift_ppm: i64,
}

impl Clock {
    /// What it shows at a true moment.
    pub(crate) fn at(&self, now: Time) -> Time {
        let passed = now.since(self.began);
        let drift = micros(passed) * self.drift_ppm / 1_000_000;
        moved(self.showed + passed, drift)
    }

    /// The first true moment at which it shows as much.
    pub(crate) fn when(&self, shown: Time) -> Time {
        let wanted = micros(shown.since(self.showed));
        if wanted == FOREVER_US {
            return Time::MAX;
        }
        let passed = wanted * 1_000_000 / (1_000_000 + self.drift_ppm);
        let mut when = moved(self.began, passed);
        while self.at(when) < shown {
            when = when + Duration::from_micros(1);
        }
        when
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).map_or(FOREVER_US, |us| us.min(FOREVER_US))
}

fn moved(time: Time, by_us: i64) -> Time {
    Time::from_micros(time.as_micros().saturating_add_signed(by_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_shows_and_when_it_shows_it_agree() {
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        for (offset_us, drift_ppm) in [(0, 0), (7_000_001, 500), (-90_000_000, -499)] {
            let clock = Oscillator {
                offset_us,
                drift_ppm,
            };
            let clock = clock.start(now);
            for passed in [0, 1, 999, 1_000_003, 86_400_000_000] {
                let shown = clock.at(now) + Duration::from_micros(passed);
                let when = clock.when(shown);
                assert!(clock.at(when) >= shown);
                let before = moved(when, -1);
                assert!(when == now || clock.at(before) < shown);
            }
        }
    }
}
