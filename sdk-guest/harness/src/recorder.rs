//! Writes down what a guest says.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use nesos_guest::State;
use nesos_guest::testing::Said;
use nesos_runtime::{GuestUpdate, MessageRefused, UpdateRefused, Uplink};
use nesos_types::bundle::Digest;
use nesos_types::limits::Metering;
use nesos_types::task::TaskState;
use tokio::sync::oneshot;

/// The most that is written down; whatever comes after is refused as a flood.
const MOST: usize = 1024;

/// An uplink that writes down what is said.
#[derive(Debug, Default)]
pub struct Recorder {
    said: Mutex<Vec<Said>>,
    other: Mutex<Option<PathBuf>>,
}

impl Recorder {
    /// What was said so far, in order.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.lock().clone()
    }

    /// Any other bundle that a child wants is this compiled image.
    pub fn offer(&self, image: PathBuf) {
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uplink for Recorder {
    fn update(&self, update: GuestUpdate) -> Result<(), UpdateRefused> {
        let mut said = self.lock();
        if said.len() == MOST {
            return Err(UpdateRefused::Flooding);
        }
        let task = update.task.map_or(String::new(), |task| task.to_string());
        let state = state_of(update.state);
        said.push(Said::update(task, state, update.message, update.data));
        Ok(())
    }

    fn message(&self, data: Bytes) -> Result<(), MessageRefused> {
        // Messages are few: those of a flood are to be seen.
        self.lock().push(Said::Message(data.into()));
        Ok(())
    }

    fn prepare(
        &self,
        bundle: Digest,
        _: Metering,
        ready: oneshot::Sender<Result<PathBuf, String>>,
    ) {
        let other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || format!("there is no bundle {bundle}");
        // Whoever does not wait for the answer any more does not need it.
        let _ = ready.send(other.clone().ok_or_else(none));
    }
}

fn state_of(state: TaskState) -> State {
    match state {
        TaskState::Starting => State::Starting,
        TaskState::Finished => State::Finished,
        TaskState::Failed => State::Failed,
        TaskState::Killed => State::Killed,
        TaskState::Error => State::Error,
        _ => State::Running,
    }
}
