//! The agents' door.

use nesos_api::v1;
use nesos_api::v1::agent_service_server::AgentService;
use nesos_master_core::ConnectionId;
use nesos_types::message::{AgentCommand, AgentEvent, Refusal};
use tonic::{Request, Response, Status, Streaming};

use super::conversation::{Inward, Speaker, converse};
use super::frames::{Outward, split_half};
use crate::driver::input::{DriverHandle, Input};
use crate::driver::outbox::Outbox;

/// Serves `AgentService`.
#[derive(Debug)]
pub(crate) struct AgentDoor {
    pub(crate) driver: DriverHandle,
    /// How many commands may wait for an agent that does not read.
    pub(crate) most_queued: usize,
}

#[tonic::async_trait]
impl AgentService for AgentDoor {
    type ConverseStream = Speaker<AgentCommand>;

    async fn converse(
        &self,
        request: Request<Streaming<v1::AgentEvents>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let speaker =
            converse::<AgentEvent>(request.into_inner(), self.driver.clone(), self.most_queued);
        Ok(Response::new(speaker))
    }
}

impl Inward for AgentEvent {
    type Reply = AgentCommand;
    type Wire = v1::AgentEvent;
    type Frame = v1::AgentEvents;

    fn messages(frame: v1::AgentEvents) -> Vec<v1::AgentEvent> {
        frame.events
    }

    fn name(wire: &v1::AgentEvent) -> &'static str {
        use v1::agent_event::Event;
        match wire.event {
            None => "an unknown event",
            Some(Event::Register(_)) => "Register",
            Some(Event::Update(_)) => "Update",
            Some(Event::Bundles(_)) => "Bundles",
            Some(Event::Slack(_)) => "Slack",
            Some(Event::Pong(_)) => "Pong",
            Some(Event::Unregister(_)) => "Unregister",
        }
    }

    fn opens(wire: &v1::AgentEvent) -> bool {
        matches!(wire.event, Some(v1::agent_event::Event::Register(_)))
    }

    fn connected(connection: ConnectionId, outbox: Outbox<AgentCommand>) -> Input {
        Input::AgentConnected(connection, outbox)
    }

    fn said(connection: ConnectionId, messages: Vec<Self>) -> Input {
        Input::AgentSaid(connection, messages)
    }

    fn disconnected(connection: ConnectionId) -> Input {
        Input::AgentDisconnected(connection)
    }
}

impl Outward for AgentCommand {
    type Wire = v1::AgentCommand;
    type Frame = v1::AgentCommands;

    fn refusal(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    fn wire(&self) -> v1::AgentCommand {
        self.into()
    }

    fn frame(commands: Vec<v1::AgentCommand>) -> v1::AgentCommands {
        v1::AgentCommands { commands }
    }

    fn split(&mut self) -> Option<Self> {
        match self {
            Self::Launch {
                framework,
                role,
                tasks,
            } => split_half(tasks).map(|tasks| Self::Launch {
                framework: *framework,
                role: role.clone(),
                tasks,
            }),
            Self::Reconcile(keys) => split_half(keys).map(Self::Reconcile),
            _ => None,
        }
    }
}
