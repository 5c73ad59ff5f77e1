//! What a task asks of its host.

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::{Identity, MessageError, ReportError, Resources};

/// That a task should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// How much of the grace is left. When none is left the sandbox is dropped.
    pub grace_left: Duration,
}

/// This task, as its host knows it: the real one, or a scripted one of a test.
#[derive(Clone)]
pub struct Task {
    api: Rc<dyn TaskApi>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// What the host of a task does.
pub(crate) trait TaskApi {
    fn me(&self) -> Identity;
    fn resources(&self) -> Resources;
    fn data(&self) -> Vec<u8>;
    fn deadline(&self) -> Option<SystemTime>;
    fn progress(&self, message: &str, data: &[u8]) -> Result<(), ReportError>;
    fn set_result(&self, data: &[u8]) -> Result<(), ReportError>;
    fn send(&self, data: &[u8]) -> Result<(), MessageError>;
    fn receive(&self) -> Option<Vec<u8>>;
    fn wait(&self, timeout: Option<Duration>);
    fn stop_requested(&self) -> Option<Stop>;
}

impl Task {
    pub(crate) fn new(api: Rc<dyn TaskApi>) -> Self {
        Self { api }
    }

    /// Who this task is, and where it runs.
    #[must_use]
    pub fn me(&self) -> Identity {
        self.api.me()
    }

    /// What it may use.
    #[must_use]
    pub fn resources(&self) -> Resources {
        self.api.resources()
    }

    /// Opaque bytes from the scheduler.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        self.api.data()
    }

    /// When its time limit ends it, if it has one.
    #[must_use]
    pub fn deadline(&self) -> Option<SystemTime> {
        self.api.deadline()
    }

    /// Reports progress: the scheduler gets a RUNNING status with this message, cut to 1 KiB, and data, 64 KiB at
    /// most.
    pub fn progress(&self, message: &str, data: &[u8]) -> Result<(), ReportError> {
        self.api.progress(message, data)
    }

    /// Sets the data of the task's last status, whatever that will be. The last call counts.
    pub fn set_result(&self, data: &[u8]) -> Result<(), ReportError> {
        self.api.set_result(data)
    }

    /// Sends bytes to the scheduler, 64 KiB at most.
    pub fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        self.api.send(data)
    }

    /// Takes the next message from the scheduler, if there is one.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.api.receive()
    }

    /// Waits for the next message; none if the task should stop.
    #[must_use]
    pub fn wait_for_message(&self) -> Option<Vec<u8>> {
        loop {
            if let Some(message) = self.receive() {
                return Some(message);
            }
            if self.stop_requested().is_some() {
                return None;
            }
            self.api.wait(None);
        }
    }

    /// Waits so long, or until a message comes or the task should stop, whatever is first.
    pub fn wait(&self, timeout: Duration) {
        self.api.wait(Some(timeout));
    }

    /// Whether the task should stop.
    #[must_use]
    pub fn stop_requested(&self) -> Option<Stop> {
        self.api.stop_requested()
    }
}

/// What a task can return: the data of its last status.
pub trait IntoResult {
    /// The data; none if there is nothing to set.
    fn into_result(self) -> Option<Vec<u8>>;
}

impl IntoResult for () {
    fn into_result(self) -> Option<Vec<u8>> {
        None
    }
}

impl IntoResult for Vec<u8> {
    fn into_result(self) -> Option<Vec<u8>> {
        Some(self)
    }
}

impl IntoResult for String {
    fn into_result(self) -> Option<Vec<u8>> {
        Some(self.into_bytes())
    }
}

/// Runs a task to its end: whether all is well.
pub(crate) fn finish<R: IntoResult, E: Display>(
    task: &Task,
    run: impl FnOnce(Task) -> Result<R, E>,
) -> bool {
    let result = run(task.clone()).map_err(|error| error.to_string());
    let result = result.and_then(|result| match result.into_result() {
        Some(data) => task.set_result(&data).map_err(|error| error.to_string()),
        None => Ok(()),
    });
    if let Err(error) = &result {
        eprintln!("error: {error}");
    }
    result.is_ok()
}

/// Runs a task in its sandbox.
#[doc(hidden)]
pub fn __run_task<R: IntoResult, E: Display>(run: impl FnOnce(Task) -> Result<R, E>) -> ExitCode {
    #[cfg(target_family = "wasm")]
    let well = finish(&crate::wasm::task(), run);
    #[cfg(not(target_family = "wasm"))]
    let well = {
        let _ = run;
        eprintln!(
            "this is a guest: build it for wasm32-wasip2, or test it with nesos_guest::testing"
        );
        false
    };
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
