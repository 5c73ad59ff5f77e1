//! `nesos:guest/this-task`.

use nesos_types::task::TaskState;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use super::side::{cut, millis};
use super::watched::{Watched, watch};
use super::wit::this_task::{Host, ReportError, Stop};
use super::wit::types::{Identity, MessageError, Resources};
use super::{Part, View};
use crate::mailbox::GuestEvent;
use crate::uplink::{GuestUpdate, MAX_STATUS_BYTES, UpdateRefused};

impl Host for View<'_> {
    fn me(&mut self) -> Result<Identity> {
        Ok(self.side.me())
    }

    fn my_resources(&mut self) -> Result<Resources> {
        Ok(self.total())
    }

    fn my_data(&mut self) -> Result<Vec<u8>> {
        Ok(self.side.task.data.clone())
    }

    fn deadline_ms(&mut self) -> Result<Option<u64>> {
        Ok(self.side.deadline_ms())
    }

    fn report_progress(
        &mut self,
        message: String,
        data: Vec<u8>,
    ) -> Result<Result<(), ReportError>> {
        Ok(self.check_report(&data).and_then(|()| {
            let update = GuestUpdate {
                task: None,
                state: TaskState::Running,
                message: cut(message),
                data,
            };
            self.side.uplink.update(update).map_err(refused)
        }))
    }

    fn set_result(&mut self, data: Vec<u8>) -> Result<Result<(), ReportError>> {
        let checked = self.check_report(&data);
        Ok(checked.map(|()| self.side.control.set_result(data)))
    }

    fn send_message(&mut self, data: Vec<u8>) -> Result<Result<(), MessageError>> {
        Ok(self.side.send(data))
    }

    fn receive_message(&mut self) -> Result<Option<Vec<u8>>> {
        // An executor's messages are events.
        if matches!(self.side.part, Part::Executor(_)) {
            return Ok(None);
        }
        let event = self.side.control.mailbox.take();
        Ok(event.and_then(|event| match event {
            GuestEvent::Message(data) => Some(data.into()),
            GuestEvent::Launch(_) | GuestEvent::Kill { .. } => None,
        }))
    }

    fn subscribe_messages(&mut self) -> Result<Resource<DynPollable>> {
        let mailbox = self.side.control.mailbox.clone();
        watch(self.table, Watched::Message(mailbox))
    }

    fn stop_requested(&mut self) -> Result<Option<Stop>> {
        let by = self.side.control.mailbox.stop_at();
        Ok(by.map(|by| Stop {
            grace_left_ms: millis(by.saturating_duration_since(std::time::Instant::now())),
        }))
    }

    fn subscribe_stop(&mut self) -> Result<Resource<DynPollable>> {
        let mailbox = self.side.control.mailbox.clone();
        watch(self.table, Watched::Stop(mailbox))
    }
}

impl View<'_> {
    fn check_report(&self, data: &[u8]) -> Result<(), ReportError> {
        if !self.side.has_scheduler() {
            return Err(ReportError::NoScheduler);
        }
        if data.len() > MAX_STATUS_BYTES {
            return Err(ReportError::TooLarge(MAX_STATUS_BYTES as u64));
        }
        Ok(())
    }
}

fn refused(refused: UpdateRefused) -> ReportError {
    match refused {
        UpdateRefused::TooLarge { limit } => ReportError::TooLarge(limit as u64),
        UpdateRefused::Flooding => ReportError::Flooding,
        // Its own task is over as soon as somebody has ended it, and so is anybody who listens.
        UpdateRefused::UnknownTask | UpdateRefused::Ended | UpdateRefused::NotAllowed(_) => {
            ReportError::NoScheduler
        }
    }
}
