//! The agent's end of its conversation with the master: one bidirectional stream at a time, events
//! there, commands back, in frames.
//!
//! When to connect and what to say the core decides; the link says what became of it.

mod address;
mod parts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use nesos_agent_core::Event;
use nesos_api::masters::FindError;
use nesos_api::v1::agent_service_client::AgentServiceClient;
use nesos_api::{MAX_FRAME_BYTES, v1};
use nesos_types::message::{AgentCommand, AgentEvent};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) use self::address::MasterAddress;
pub use self::address::MasterUrlError;
use self::parts::in_parts;
use crate::causes::with_causes;
use crate::frames::Frames;

/// How many bytes of guests' messages may wait for a master that is slow to read: what comes beyond is lost, as
/// messages may be.
const MAX_MESSAGE_QUEUE: usize = 16 << 20;
/// What a message takes beside what the guest has put into it.
const MESSAGE_BYTES: usize = 256;
/// How long the last words may take to be sent.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// The conversation.
#[derive(Debug)]
pub(crate) struct MasterLink {
    address: MasterAddress,
    events: mpsc::UnboundedSender<Event>,
    standing: Option<Standing>,
}

#[derive(Debug)]
struct Standing {
    outgoing: mpsc::UnboundedSender<v1::AgentEvent>,
    /// The bytes of guests' messages in it.
    messages: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MasterLink {
    /// A link that says what happens through `events`.
    pub(crate) fn new(address: MasterAddress, events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            address,
            events,
            standing: None,
        }
    }

    /// Performs [`Effect::ConnectMaster`](nesos_agent_core::Effect::ConnectMaster).
    pub(crate) fn connect(&mut self, connection: u64) {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let events = self.events.clone();
        let address = self.address.clone();
        let messages = Arc::<AtomicUsize>::default();
        let sent = messages.clone();
        let task = tokio::spawn(async move {
            let frames = Frames::new(queue, |events| v1::AgentEvents { events });
            let frames = frames.inspect(move |frame| {
                let bytes = frame.events.iter().map(message_bytes).sum();
                sent.fetch_sub(bytes, Ordering::Relaxed);
            });
            let message = match converse(address, connection, frames, &events).await {
                Ok(()) => "the master has hung up".to_owned(),
                Err(error) => with_causes(&error),
            };
            // A driver that no longer listens is about to end.
            let _ = events.send(Event::MasterDisconnected {
                connection,
                message,
            });
        });
        self.standing = Some(Standing {
            outgoing,
            messages,
            task,
        });
    }

    /// Performs [`Effect::SendMaster`](nesos_agent_core::Effect::SendMaster).
    pub(crate) fn send(&self, event: &AgentEvent) {
        if let Some(standing) = &self.standing {
            let event: v1::AgentEvent = event.into();
            let bytes = message_bytes(&event);
            if bytes > 0 && standing.messages.load(Ordering::Relaxed) + bytes > MAX_MESSAGE_QUEUE {
                tracing::debug!("a guest's message is lost: the master is behind");
                return;
            }
            standing.messages.fetch_add(bytes, Ordering::Relaxed);
            for part in in_parts(event) {
                // A queue that is closed belongs to a connection whose end is about to be heard.
                let _ = standing.outgoing.send(part);
            }
        }
    }

    /// Performs [`Effect::DisconnectMaster`](nesos_agent_core::Effect::DisconnectMaster).
    pub(crate) fn disconnect(&mut self) {
        self.standing = None;
    }

    /// Ends the conversation after everything was sent, if the master takes it.
    pub(crate) async fn close(mut self) {
        let Some(standing) = self.standing.take() else {
            return;
        };
        let (nobody, _) = mpsc::unbounded_channel();
        let mut standing = standing;
        standing.outgoing = nobody;
        let ended = tokio::time::timeout(GOODBYE_WITHIN, &mut standing.task).await;
        if ended.is_err() {
            tracing::debug!("the master did not hang up in time");
        }
    }
}

/// What a guest's message takes in the queue; nothing, if it is something else.
fn message_bytes(event: &v1::AgentEvent) -> usize {
    match &event.event {
        Some(v1::agent_event::Event::Message(message)) => MESSAGE_BYTES + message.data.len(),
        _ => 0,
    }
}

/// Why a conversation ended.
#[derive(Debug, Error)]
enum LinkError {
    #[error("no master leads that could be found")]
    Find(#[source] FindError),
    #[error("the connection to the master broke: {}", .0.message())]
    Converse(tonic::Status),
}

/// One conversation, from the connection to its end.
async fn converse(
    address: MasterAddress,
    connection: u64,
    frames: impl Stream<Item = v1::AgentEvents> + Send + 'static,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), LinkError> {
    let channel = address.find().await.map_err(LinkError::Find)?;
    // A driver that no longer listens is about to end.
    let _ = events.send(Event::MasterConnected { connection });
    let mut commands = AgentServiceClient::new(channel)
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES)
        .converse(frames)
        .await
        .map_err(LinkError::Converse)?
        .into_inner();
    while let Some(frame) = commands.message().await.map_err(LinkError::Converse)? {
        for command in frame.commands {
            hear(connection, command, events);
        }
    }
    Ok(())
}

fn hear(connection: u64, command: v1::AgentCommand, events: &mpsc::UnboundedSender<Event>) {
    match AgentCommand::try_from(command) {
        Ok(command) => {
            // A driver that no longer listens is about to end.
            let _ = events.send(Event::MasterCommand {
                connection,
                command,
            });
        }
        Err(error) => {
            tracing::warn!(%error, "the master said what this agent does not understand; is one of them older?");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_master_that_is_not_there_is_said_to_be_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let (sender, mut events) = mpsc::unbounded_channel();
        let address = MasterAddress::parse(&nobody.to_string()).unwrap();
        let mut link = MasterLink::new(address, sender);
        link.connect(7);
        let Some(Event::MasterDisconnected {
            connection: 7,
            message,
        }) = events.recv().await
        else {
            panic!("expected a disconnection");
        };
        assert!(message.contains("refused"), "{message}");
    }
}
