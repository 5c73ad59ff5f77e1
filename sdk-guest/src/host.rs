//! What an executor asks of its host.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::child::ChildApi;
use crate::{
    Child, MessageError, Resources, Spawn, SpawnError, State, TaskInfo, TimerError, UpdateError,
};

/// Names a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer(pub(crate) u64);

/// The host of an executor: the real one, or a scripted one of a test. Clones speak to the same.
#[derive(Clone)]
pub struct Host {
    api: Rc<dyn HostApi>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// What a host does.
pub(crate) trait HostApi {
    fn update(
        &self,
        task: &str,
        state: State,
        message: &str,
        data: &[u8],
    ) -> Result<(), UpdateError>;
    fn send(&self, data: &[u8]) -> Result<(), MessageError>;
    fn set_timer(&self, after: Duration) -> Result<u64, TimerError>;
    fn cancel_timer(&self, timer: u64) -> bool;
    fn total(&self) -> Resources;
    fn left(&self) -> Resources;
    fn tasks(&self) -> Vec<TaskInfo>;
    fn stop(&self);
    fn spawn(&self, spawn: Spawn) -> Result<Box<dyn ChildApi>, SpawnError>;
    fn adopt(&self, child: u64) -> Option<Box<dyn ChildApi>>;
}

impl Host {
    pub(crate) fn new(api: Rc<dyn HostApi>) -> Self {
        Self { api }
    }

    /// Tells the state of a task. The message is for people and is cut to 1 KiB; the data, 64 KiB at most, is
    /// for the scheduler. After a terminal state the task is forgotten.
    pub fn update(
        &self,
        task: &str,
        state: State,
        message: &str,
        data: &[u8],
    ) -> Result<(), UpdateError> {
        self.api.update(task, state, message, data)
    }

    /// The same, for those who could not do anything about an error: it is printed to stderr.
    pub fn report(&self, task: &str, state: State, message: &str, data: &[u8]) {
        if let Err(error) = self.update(task, state, message, data) {
            eprintln!("cannot report task {task} as {state:?}: {error}");
        }
    }

    /// Sends bytes to the scheduler, 64 KiB at most. They are sent once, and not certain to arrive.
    pub fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        self.api.send(data)
    }

    /// Sets a timer that runs out once, at a grain of a millisecond.
    pub fn set_timer(&self, after: Duration) -> Result<Timer, TimerError> {
        self.api.set_timer(after).map(Timer)
    }

    /// Forgets a timer; says whether it was still to run out.
    #[must_use = "it may have run out already"]
    pub fn cancel_timer(&self, timer: Timer) -> bool {
        self.api.cancel_timer(timer.0)
    }

    /// What the executor holds: its own resources and those of its tasks.
    #[must_use]
    pub fn total(&self) -> Resources {
        self.api.total()
    }

    /// What of it could be given to one more child.
    #[must_use]
    pub fn left(&self) -> Resources {
        self.api.left()
    }

    /// The tasks that were launched and have not ended, by id.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.api.tasks()
    }

    /// Ends the executor well, as soon as the present method has returned.
    pub fn stop(&self) {
        self.api.stop();
    }

    /// Starts a child.
    pub fn spawn(&self, spawn: Spawn) -> Result<Child, SpawnError> {
        self.api.spawn(spawn).map(Child::new)
    }

    /// A new hold on a child whose end the executor was not told of yet.
    #[must_use]
    pub fn adopt(&self, child: crate::ChildId) -> Option<Child> {
        self.api.adopt(child.0).map(Child::new)
    }
}
