//! What cells have said and the driver has not yet heard: bounded, by listening no further.
//!
//! A guest may say more than the driver can hear. It is held up by its cell, the cell by its connection, and
//! the connection by this.

use nesos_types::cell::CellEvent;
use tokio::sync::Semaphore;

/// How many bytes of events may wait for the driver.
const MAX_BYTES: u32 = 32 << 20;
/// What an event takes beside what guests have put into it.
const EVENT_BYTES: usize = 512;

/// Room for events on their way to the driver.
#[derive(Debug)]
pub(super) struct Backlog(Semaphore);

impl Backlog {
    /// Nothing waits.
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_BYTES as usize))
    }

    /// Waits until there is room for an event, and takes it.
    pub(super) async fn enter(&self, event: &CellEvent) {
        // It is never closed.
        if let Ok(room) = self.0.acquire_many(weight(event)).await {
            room.forget();
        }
    }

    /// The driver has heard an event.
    pub(super) fn leave(&self, event: &CellEvent) {
        self.0.add_permits(weight(event) as usize);
    }
}

/// How much room an event takes: all of it, if it is larger.
fn weight(event: &CellEvent) -> u32 {
    let bytes = match event {
        CellEvent::Hello { sandboxes, .. } => sandboxes.len() * EVENT_BYTES,
        CellEvent::Usage { samples, .. } => samples.len() * EVENT_BYTES,
        CellEvent::Update { status, .. } => status.data.len() + status.message.len(),
        CellEvent::Message { data, .. } => data.len(),
        CellEvent::BundleWanted { .. } => 0,
    };
    u32::try_from(bytes + EVENT_BYTES).map_or(MAX_BYTES, |bytes| bytes.min(MAX_BYTES))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use nesos_types::ids::{FrameworkId, TaskKey};

    use super::*;

    fn message(bytes: usize) -> CellEvent {
        CellEvent::Message {
            key: TaskKey {
                framework: FrameworkId(1),
                task: "a".parse().expect("a task id"),
            },
            data: vec![0; bytes],
        }
    }

    #[test]
    fn who_says_too_much_waits_until_the_driver_has_heard() {
        let backlog = Backlog::new();
        let large = message(MAX_BYTES as usize / 2);
        assert!(backlog.enter(&large).now_or_never().is_some());
        assert!(
            backlog.enter(&large).now_or_never().is_none(),
            "and what it takes beside"
        );
        backlog.leave(&large);
        assert!(backlog.enter(&large).now_or_never().is_some());
    }

    #[test]
    fn what_is_larger_than_all_the_room_comes_alone() {
        let backlog = Backlog::new();
        let huge = message(2 * MAX_BYTES as usize);
        assert!(backlog.enter(&huge).now_or_never().is_some());
        assert!(backlog.enter(&message(0)).now_or_never().is_none());
        backlog.leave(&huge);
        assert!(backlog.enter(&message(0)).now_or_never().is_some());
    }
}
