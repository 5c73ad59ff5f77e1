//! Looks at something at an interval for as long as the agent wants to know. What is looked at it does not
//! know.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

/// At most one measurement that is under way.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    under_way: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Measuring {
    /// Calls `look` soon, and then at this interval, in place of what was called before; an interval of
    /// zero calls nothing. Must be called within a tokio runtime.
    pub(super) fn repeat(&self, interval: Duration, look: impl Fn() + Send + 'static) {
        let task = (!interval.is_zero()).then(|| {
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut ticks = tokio::time::interval(interval);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    look();
                }
            }))
        });
        self.replace(task);
    }

    /// Calls nothing any more.
    pub(super) fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, task: Option<AbortOnDropHandle<()>>) {
        let under_way = self.under_way.lock();
        *under_way.unwrap_or_else(PoisonError::into_inner) = task;
    }
}
