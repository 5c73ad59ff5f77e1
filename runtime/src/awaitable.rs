//! A value that others can wait for to become something.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value behind a lock, and whoever waits for it. Every sandbox has some, and hardly anybody ever waits: it is
/// small, and a change that nobody need hear of wakes nobody.
#[derive(Debug, Default)]
pub(crate) struct Awaitable<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Awaitable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Notify::new(),
        }
    }

    /// The value, to be read, or changed in what nobody waits for.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes whoever waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    /// Waits until the value is as wished.
    pub(crate) async fn until(&self, is_so: impl Fn(&T) -> bool) {
        loop {
            // Made before the value is read: a change in between is heard.
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}
