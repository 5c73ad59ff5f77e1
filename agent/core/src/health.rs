//! What the probes of a health check mean: when a task is said to be well or not, and when it is to be ended.
//!
//! Failures do not count before the first success, until the grace has passed; the grace begins when the delay
//! ends. From then on each failure is told, so many in a row are the end, and a success after them is told
//! again. How a probe is made, and what time it is, nothing in here knows: time is counted from RUNNING and
//! handed in.

use std::time::Duration;

use nesos_types::service::HealthCheck;

/// The health of one task.
#[derive(Clone, Debug)]
pub struct Health {
    check: HealthCheck,
    /// Failures since the last success that counted.
    failures: u32,
    /// There was a success: the grace is over for good.
    has_been_well: bool,
}

/// What a probe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that anybody need hear of.
    Nothing,
    /// The task is well, and was not known to be.
    Well,
    /// It is not; this was so many failures in a row.
    Ailing(u32),
    /// It is to be ended: too many failures in a row.
    End,
}

impl Health {
    /// Of a task about which nothing is known yet.
    #[must_use]
    pub fn new(check: HealthCheck) -> Self {
        Self {
            check,
            failures: 0,
            has_been_well: false,
        }
    }

    /// How long to wait before the first probe, from RUNNING, or from the end of one probe to the next.
    #[must_use]
    pub fn wait(&self, probes: u64) -> Duration {
        if probes == 0 {
            self.check.delay
        } else {
            self.check.interval
        }
    }

    /// A probe has come to its end, so long after RUNNING.
    pub fn probed(&mut self, after: Duration, well: bool) -> Verdict {
        if well {
            return self.succeeded();
        }
        let graced = self.check.delay.saturating_add(self.check.grace);
        if !self.has_been_well && after < graced {
            return Verdict::Nothing;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.check.failures {
            Verdict::End
        } else {
            Verdict::Ailing(self.failures)
        }
    }

    fn succeeded(&mut self) -> Verdict {
        let is_news = !self.has_been_well || self.failures > 0;
        self.has_been_well = true;
        self.failures = 0;
        if is_news {
            Verdict::Well
        } else {
            Verdict::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use nesos_types::service::Probe;

    use super::Verdict::{Ailing, End, Nothing, Well};
    use super::*;

    /// Delay 5 s, grace 10 s, so many failures allowed: what becomes of probes at these seconds.
    fn course(failures: u32, probes: &[(u64, bool)]) -> Vec<Verdict> {
        let mut health = Health::new(HealthCheck {
            delay: Duration::from_secs(5),
            grace: Duration::from_secs(10),
            failures,
            ..HealthCheck::by(Probe::Tcp { port: 1 })
        });
        let probes = probes.iter();
        probes
            .map(|&(at, well)| health.probed(Duration::from_secs(at), well))
            .collect()
    }

    #[test]
    fn the_first_success_is_told_and_those_after_it_are_not() {
        let said = course(3, &[(5, true), (6, true), (7, true)]);
        assert_eq!(said, [Well, Nothing, Nothing]);
    }

    #[test]
    fn failures_within_the_grace_do_not_count() {
        let said = course(
            2,
            &[
                (5, false),
                (9, false),
                (14, false),
                (15, false),
                (16, false),
            ],
        );
        assert_eq!(said, [Nothing, Nothing, Nothing, Ailing(1), End]);
    }

    #[test]
    fn the_grace_begins_when_the_delay_ends() {
        // With a grace that counted from RUNNING, as in Mesos, the second would count.
        let said = course(1, &[(10, false), (14, false), (15, false)]);
        assert_eq!(said, [Nothing, Nothing, End]);
    }

    #[test]
    fn the_first_success_ends_the_grace_for_good() {
        let said = course(3, &[(5, true), (6, false), (7, false), (8, false)]);
        assert_eq!(said, [Well, Ailing(1), Ailing(2), End]);
    }

    #[test]
    fn a_success_starts_the_count_anew_and_is_told() {
        let said = course(
            2,
            &[(20, false), (21, true), (22, false), (23, true), (24, true)],
        );
        assert_eq!(said, [Ailing(1), Well, Ailing(1), Well, Nothing]);
    }

    #[test]
    fn one_failure_is_enough_where_one_is_allowed() {
        assert_eq!(course(1, &[(20, false)]), [End]);
    }

    #[test]
    fn the_delay_is_before_the_first_probe_and_the_interval_before_the_others() {
        let check = HealthCheck::by(Probe::Call);
        let health = Health::new(check.clone());
        assert_eq!(health.wait(0), check.delay);
        assert_eq!(health.wait(1), check.interval);
    }
}
