//! The scripted host of a task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::Said;
use crate::task::{IntoResult, TaskApi, finish};
use crate::{Identity, MessageError, ReportError, Resources, State, Stop, Task};

const MAX_DATA: usize = 64 << 10;

/// What a task finds, and what it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskScript {
    /// Who it is.
    pub me: Identity,
    /// What it may use.
    pub resources: Resources,
    /// Its bytes from the scheduler.
    pub data: Vec<u8>,
    /// When its time limit ends it.
    pub deadline: Option<SystemTime>,
    /// Messages that wait for it.
    pub messages: Vec<Vec<u8>>,
    /// It is to stop when there is no message left, with so much grace.
    pub stop: Option<Duration>,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskTranscript {
    /// What it said, in order; progress is an update to RUNNING.
    pub said: Vec<Said>,
    /// The data of its last status.
    pub result: Vec<u8>,
    /// Whether it returned well.
    pub succeeded: bool,
}

impl TaskScript {
    /// Runs a task.
    ///
    /// # Panics
    /// If the task waits for something that the script does not bring.
    #[must_use]
    pub fn run<R: IntoResult, E: Display>(
        &self,
        task: impl FnOnce(Task) -> Result<R, E>,
    ) -> TaskTranscript {
        let stage = Rc::new(Stage {
            script: self.clone(),
            messages: RefCell::new(self.messages.clone().into()),
            said: RefCell::default(),
            result: RefCell::default(),
        });
        let succeeded = finish(&Task::new(stage.clone()), task);
        let (said, result) = (stage.said.take(), stage.result.take());
        TaskTranscript {
            said,
            result,
            succeeded,
        }
    }
}

struct Stage {
    script: TaskScript,
    messages: RefCell<VecDeque<Vec<u8>>>,
    said: RefCell<Vec<Said>>,
    result: RefCell<Vec<u8>>,
}

impl TaskApi for Stage {
    fn me(&self) -> Identity {
        self.script.me.clone()
    }

    fn resources(&self) -> Resources {
        self.script.resources
    }

    fn data(&self) -> Vec<u8> {
        self.script.data.clone()
    }

    fn deadline(&self) -> Option<SystemTime> {
        self.script.deadline
    }

    fn progress(&self, message: &str, data: &[u8]) -> Result<(), ReportError> {
        check(data)?;
        let update = Said::update(&self.script.me.id, State::Running, message, data);
        self.said.borrow_mut().push(update);
        Ok(())
    }

    fn set_result(&self, data: &[u8]) -> Result<(), ReportError> {
        check(data)?;
        self.result.replace(data.to_vec());
        Ok(())
    }

    fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        if data.len() > MAX_DATA {
            return Err(MessageError::TooLarge(MAX_DATA as u64));
        }
        self.said.borrow_mut().push(Said::Message(data.to_vec()));
        Ok(())
    }

    fn receive(&self) -> Option<Vec<u8>> {
        self.messages.borrow_mut().pop_front()
    }

    fn wait(&self, timeout: Option<Duration>) {
        let something = !self.messages.borrow().is_empty() || self.stop_requested().is_some();
        assert!(
            something || timeout.is_some(),
            "the task waits for ever: the script has no message left and does not stop it"
        );
    }

    fn stop_requested(&self) -> Option<Stop> {
        let grace_left = self
            .script
            .stop
            .filter(|_| self.messages.borrow().is_empty())?;
        Some(Stop { grace_left })
    }
}

fn check(data: &[u8]) -> Result<(), ReportError> {
    if data.len() > MAX_DATA {
        return Err(ReportError::TooLarge(MAX_DATA as u64));
    }
    Ok(())
}
