//! The cell's door: what its agent says, and the clients whose input and output the agent passes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::Stream;
use nesos_api::v1;
use nesos_api::v1::cell_service_server::CellService;
use nesos_types::cell::CellCommand;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::launcher::Launcher;
use super::sandboxes::Sandboxes;
use crate::frames::Frames;

/// Serves the agent's side of the conversation.
pub(super) struct AgentDoor<L: Launcher> {
    sandboxes: Arc<Sandboxes<L>>,
}

impl<L: Launcher> AgentDoor<L> {
    /// A door to these sandboxes.
    pub(super) fn new(sandboxes: Arc<Sandboxes<L>>) -> Self {
        Self { sandboxes }
    }
}

/// The conversation's events, a frame at a time.
type EventFrames = Pin<Box<dyn Stream<Item = Result<v1::CellEvents, Status>> + Send>>;

fn is_message(event: &v1::CellEvent) -> bool {
    matches!(event.event, Some(v1::cell_event::Event::Message(_)))
}

#[tonic::async_trait]
impl<L: Launcher> CellService for AgentDoor<L> {
    type ConverseStream = EventFrames;

    async fn converse(
        &self,
        request: Request<Streaming<v1::CellCommands>>,
    ) -> Result<Response<EventFrames>, Status> {
        let session = self.sandboxes.connect();
        info!(connection = session.number, "the agent has connected");
        tokio::spawn(listen(
            self.sandboxes.clone(),
            request.into_inner(),
            session.number,
            session.replaced,
        ));
        let frames = Frames::new(session.events, |events| v1::CellEvents { events });
        let messages = session.messages;
        let frames = futures::StreamExt::map(frames, move |frame| {
            let sent = frame.events.iter().filter(|event| is_message(event));
            messages.fetch_sub(sent.count(), Ordering::Relaxed);
            Ok(frame)
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

/// Does what the agent asks until it hangs up or a newer connection takes over.
async fn listen<L: Launcher>(
    sandboxes: Arc<Sandboxes<L>>,
    mut commands: Streaming<v1::CellCommands>,
    connection: u64,
    replaced: CancellationToken,
) {
    while let Some(Ok(Some(frame))) = replaced.run_until_cancelled(commands.message()).await {
        for command in frame.commands {
            match CellCommand::try_from(command) {
                Ok(command) => sandboxes.on_command(command),
                Err(error) => warn!(%error, "the agent said what this cell does not understand"),
            }
        }
    }
    info!(connection, "the agent is gone");
    sandboxes.disconnect(connection);
}
