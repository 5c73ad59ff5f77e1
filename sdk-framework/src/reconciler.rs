//! Asking what became of tasks until each has been answered: the client rule of the Mesos
//! reconciliation guide (explicit, repeated with truncated exponential backoff, and again every so
//! often because updates can be lost while a scheduler is away).

use std::collections::BTreeSet;
use std::time::Duration;

use nesos_types::ids::TaskId;
use nesos_types::time::Time;

/// How often to ask.
#[derive(Clone, Copy, Debug)]
pub struct ReconcilePolicy {
    /// How long after one full reconciliation the next begins. Default: 15 min.
    pub interval: Duration,
    /// How long to wait for answers before asking again for those that are missing. Default: 5 s,
    /// doubled each time.
    pub retry_min: Duration,
    /// The longest such wait. Default: 5 min.
    pub retry_max: Duration,
}

impl Default for ReconcilePolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15 * 60),
            retry_min: Duration::from_secs(5),
            retry_max: Duration::from_secs(5 * 60),
        }
    }
}

/// Which tasks have still to be answered for, and when to ask.
#[derive(Debug)]
pub(crate) struct Reconciler {
    policy: ReconcilePolicy,
    missing: BTreeSet<TaskId>,
    wait: Duration,
    ask_at: Option<Time>,
    begin_at: Time,
}

impl Reconciler {
    pub(crate) fn new(policy: ReconcilePolicy, now: Time) -> Self {
        Self {
            policy,
            missing: BTreeSet::new(),
            wait: policy.retry_min,
            ask_at: None,
            begin_at: now + policy.interval,
        }
    }

    /// Begins a reconciliation of these tasks; they are to be asked for now.
    pub(crate) fn begin(&mut self, now: Time, tasks: impl IntoIterator<Item = TaskId>) {
        self.missing = tasks.into_iter().collect();
        self.wait = self.policy.retry_min;
        self.ask_at = (!self.missing.is_empty()).then(|| now + self.wait);
        self.begin_at = now + self.policy.interval;
    }

    /// A status of the task came, whatever it says.
    pub(crate) fn on_answer(&mut self, task: &TaskId) {
        if self.missing.is_empty() {
            return;
        }
        self.missing.remove(task);
        if self.missing.is_empty() {
            self.ask_at = None;
        }
    }

    /// Whether the next full reconciliation is due.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.begin_at
    }

    /// The tasks to ask for again, if it is time to.
    pub(crate) fn repeat(&mut self, now: Time) -> Option<&BTreeSet<TaskId>> {
        self.ask_at.filter(|at| now >= *at)?;
        self.wait = self.wait.saturating_mul(2).min(self.policy.retry_max);
        self.ask_at = Some(now + self.wait);
        Some(&self.missing)
    }

    pub(crate) fn next_deadline(&self) -> Time {
        self.ask_at
            .map_or(self.begin_at, |at| at.min(self.begin_at))
    }
}
