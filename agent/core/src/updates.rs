//! The statuses of one task on their way to its scheduler: in order, none lost, each at least once.
//!
//! Only the oldest, the head, is in flight; it is repeated with a growing pause until it is
//! acknowledged. The acknowledgement of a terminal status closes the stream. (Mesos:
//! `task_status_update_manager.cpp`.) When something is sent the agent decides, not the stream.

use std::collections::VecDeque;
use std::time::Duration;

use nesos_types::ids::UpdateId;
use nesos_types::task::TaskStatus;

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// It names no status in flight.
    Ignored,
    /// The head was acknowledged; the next status, if there is one, is the head now.
    Advanced,
    /// A terminal status was acknowledged: the stream is over, whatever else is queued.
    Closed,
}

/// One task's statuses that were not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct UpdateStream {
    /// Beside the queue, because most tasks never have a second one.
    head: Option<TaskStatus>,
    rest: VecDeque<TaskStatus>,
    pause: Duration,
}

impl UpdateStream {
    /// A stream that goes on with these statuses.
    pub(crate) fn resume(statuses: impl IntoIterator<Item = TaskStatus>) -> Self {
        // Collected whole before the head is taken: collecting what is left of a `vec::IntoIter` makes
        // a deque in Rust 1.95 whose first `pop_front` reads beyond its buffer.
        let mut rest: VecDeque<_> = statuses.into_iter().collect();
        Self {
            head: rest.pop_front(),
            rest,
            pause: Duration::ZERO,
        }
    }

    /// Appends a status, in place of the last one if that is not in flight and says the same state. Says whether
    /// it is the head.
    pub(crate) fn push(&mut self, status: TaskStatus) -> bool {
        if self.head.is_none() {
            self.head = Some(status);
            return true;
        }
        let repeats = |last: &mut TaskStatus| last.state == status.state;
        self.rest.pop_back_if(repeats);
        self.rest.push_back(status);
        false
    }

    /// The status in flight.
    pub(crate) fn head(&self) -> Option<&TaskStatus> {
        self.head.as_ref()
    }

    /// All statuses, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TaskStatus> {
        self.head.iter().chain(&self.rest)
    }

    /// All statuses, to be corrected.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TaskStatus> {
        self.head.iter_mut().chain(&mut self.rest)
    }

    /// Forgets all statuses.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledge(&mut self, update: UpdateId) -> Acknowledged {
        let Some(head) = self
            .head
            .as_ref()
            .filter(|head| head.update == Some(update))
        else {
            return Acknowledged::Ignored;
        };
        if head.state.is_terminal() {
            self.clear();
            return Acknowledged::Closed;
        }
        self.head = self.rest.pop_front();
        self.pause = Duration::ZERO;
        Acknowledged::Advanced
    }

    /// Begins anew with the shortest pause: there is a master again.
    pub(crate) fn restart_backoff(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// How long to wait before the head is repeated, longer each time.
    pub(crate) fn next_pause(&mut self, min: Duration, max: Duration) -> Duration {
        self.pause = if self.pause.is_zero() {
            min
        } else {
            self.pause.saturating_mul(2).min(max)
        };
        self.pause
    }
}

#[cfg(test)]
mod tests;
