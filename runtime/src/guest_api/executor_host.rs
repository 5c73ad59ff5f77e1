//! `nesos:guest/executor-host`.

use std::time::{Duration, Instant};

use nesos_types::ids::TaskId;
use nesos_types::task::TaskState;
use wasmtime::Result;

use super::View;
use super::side::{cut, described};
use super::timers::MAX_TIMERS;
use super::wit::executor_host::{self as wit, Host, TimerError, UpdateError};
use super::wit::types::{MessageError, Resources, Task};
use crate::uplink::{GuestUpdate, MAX_STATUS_BYTES, UpdateRefused};

impl Host for View<'_> {
    fn update(
        &mut self,
        task_id: String,
        state: wit::TaskState,
        message: String,
        data: Vec<u8>,
    ) -> Result<std::result::Result<(), UpdateError>> {
        let state = state_of(state);
        let updated = self.try_update(&task_id, state, message, data);
        Ok(updated.map_err(refused))
    }

    fn send_message(&mut self, data: Vec<u8>) -> Result<std::result::Result<(), MessageError>> {
        Ok(self.side.send(data))
    }

    fn set_timer(&mut self, after_ms: u64) -> Result<std::result::Result<u64, TimerError>> {
        let Some(executor) = self.side.executor() else {
            return Ok(Err(TimerError::NotAnExecutor));
        };
        let after = Duration::from_millis(after_ms);
        let timer = executor.timers.set(Instant::now(), after);
        Ok(timer.ok_or(TimerError::TooMany(MAX_TIMERS)))
    }

    fn cancel_timer(&mut self, id: u64) -> Result<bool> {
        let executor = self.side.executor();
        Ok(executor.is_some_and(|executor| executor.timers.cancel(id)))
    }

    fn total(&mut self) -> Result<Resources> {
        Ok(View::total(self))
    }

    fn left(&mut self) -> Result<Resources> {
        Ok(View::left(self))
    }

    fn tasks(&mut self) -> Result<Vec<Task>> {
        let executor = self.side.executor();
        Ok(executor.map_or_else(Vec::new, |executor| {
            executor.tasks.live().map(|task| described(task)).collect()
        }))
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(executor) = self.side.executor() {
            executor.stopping = true;
        }
        Ok(())
    }
}

impl View<'_> {
    fn try_update(
        &mut self,
        task_id: &str,
        state: TaskState,
        message: String,
        data: Vec<u8>,
    ) -> std::result::Result<(), UpdateRefused> {
        let uplink = self.side.uplink.clone();
        let executor = self.side.executor().ok_or(UpdateRefused::UnknownTask)?;
        // What is no task's id is no task of this executor.
        let id: TaskId = task_id.parse().map_err(|_| UpdateRefused::UnknownTask)?;
        executor.tasks.check(&id, state)?;
        if data.len() > MAX_STATUS_BYTES {
            let limit = MAX_STATUS_BYTES;
            return Err(UpdateRefused::TooLarge { limit });
        }
        uplink.update(GuestUpdate {
            task: Some(id.clone()),
            state,
            message: cut(message),
            data,
        })?;
        executor.tasks.told(&id, state);
        Ok(())
    }
}

fn state_of(state: wit::TaskState) -> TaskState {
    match state {
        wit::TaskState::Starting => TaskState::Starting,
        wit::TaskState::Running => TaskState::Running,
        wit::TaskState::Finished => TaskState::Finished,
        wit::TaskState::Failed => TaskState::Failed,
        wit::TaskState::Killed => TaskState::Killed,
        wit::TaskState::Error => TaskState::Error,
    }
}

fn refused(refused: UpdateRefused) -> UpdateError {
    match refused {
        UpdateRefused::UnknownTask => UpdateError::UnknownTask,
        UpdateRefused::Ended => UpdateError::AlreadyEnded,
        UpdateRefused::TooLarge { limit } => UpdateError::TooLarge(limit as u64),
        UpdateRefused::NotAllowed(_) => UpdateError::NotAllowed,
        UpdateRefused::Flooding => UpdateError::Flooding,
    }
}
