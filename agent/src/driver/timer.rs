//! The driver's one timer, re-armed only when the next deadline has changed: most batches do not
//! touch it.

use std::future;
use std::pin::Pin;
use std::time::Instant;

use tokio::time::{self, Sleep};

/// Fires when the instant for which it is armed has come.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Timer {
    /// A timer that is not armed.
    pub(crate) fn new() -> Self {
        Self {
            sleep: Box::pin(time::sleep_until(Instant::now().into())),
            armed: None,
        }
    }

    /// Sets the instant; `None` is never.
    pub(crate) fn arm(&mut self, at: Option<Instant>) {
        if self.armed == at {
            return;
        }
        self.armed = at;
        if let Some(at) = at {
            self.sleep.as_mut().reset(at.into());
        }
    }

    /// Waits for the instant. One that has passed already is not left to the runtime's timer, whose
    /// grain is a millisecond.
    pub(crate) async fn due(&mut self) {
        match self.armed {
            None => future::pending().await,
            Some(at) if at <= Instant::now() => {}
            Some(_) => self.sleep.as_mut().await,
        }
    }
}
