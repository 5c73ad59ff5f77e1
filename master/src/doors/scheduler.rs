//! The schedulers' door.

use nesos_api::v1::scheduler_service_server::SchedulerService;
use nesos_api::{WireError, v1};
use nesos_master_core::ConnectionId;
use nesos_types::message::{Refusal, SchedulerCall, SchedulerEvent};
use tonic::{Request, Response, Status, Streaming};

use super::conversation::{Inward, Speaker, converse};
use super::frames::{Outward, split_half};
use crate::driver::input::{DriverHandle, Input};
use crate::driver::outbox::Outbox;

/// Serves `SchedulerService`.
#[derive(Debug)]
pub(crate) struct SchedulerDoor {
    pub(crate) driver: DriverHandle,
    /// How many events may wait for a scheduler that does not read.
    pub(crate) most_queued: usize,
}

#[tonic::async_trait]
impl SchedulerService for SchedulerDoor {
    type ConverseStream = Speaker<SchedulerEvent>;

    async fn converse(
        &self,
        request: Request<Streaming<v1::SchedulerCalls>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let speaker =
            converse::<SchedulerCall>(request.into_inner(), self.driver.clone(), self.most_queued);
        Ok(Response::new(speaker))
    }
}

impl Inward for SchedulerCall {
    type Reply = SchedulerEvent;
    type Wire = v1::SchedulerCall;
    type Frame = v1::SchedulerCalls;
    type Parts = ();

    fn messages(frame: v1::SchedulerCalls) -> Vec<v1::SchedulerCall> {
        frame.calls
    }

    fn assemble(
        (): &mut (),
        wire: v1::SchedulerCall,
    ) -> Result<Option<v1::SchedulerCall>, WireError> {
        Ok(Some(wire))
    }

    fn name(wire: &v1::SchedulerCall) -> &'static str {
        wire.name()
    }

    fn opens(wire: &v1::SchedulerCall) -> bool {
        matches!(wire.call, Some(v1::scheduler_call::Call::Subscribe(_)))
    }

    fn connected(connection: ConnectionId, outbox: Outbox<SchedulerEvent>) -> Input {
        Input::SchedulerConnected(connection, outbox)
    }

    fn said(connection: ConnectionId, messages: Vec<Self>) -> Input {
        Input::SchedulerCalled(connection, messages)
    }

    fn disconnected(connection: ConnectionId) -> Input {
        Input::SchedulerDisconnected(connection)
    }
}

impl Outward for SchedulerEvent {
    type Wire = v1::SchedulerEvent;
    type Frame = v1::SchedulerEvents;

    fn refusal(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    fn wire(&self) -> v1::SchedulerEvent {
        self.into()
    }

    fn frame(events: Vec<v1::SchedulerEvent>) -> v1::SchedulerEvents {
        v1::SchedulerEvents { events }
    }

    fn split(&mut self) -> Option<Self> {
        match self {
            Self::Offers(offers) => split_half(offers).map(Self::Offers),
            _ => None,
        }
    }
}
