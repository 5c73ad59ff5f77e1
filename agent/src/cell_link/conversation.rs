//! One conversation with a cell: commands there, events back, in frames.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use nesos_agent_core::{CellId, Event};
use nesos_api::v1;
use nesos_api::v1::cell_service_client::CellServiceClient;
use nesos_types::cell::CellEvent;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use tracing::warn;

use super::{Open, Shared};
use crate::frames::Frames;
use crate::unix_socket;

/// How much output of one task, and of all together, may be on its way.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A standing connection on which both sides may speak.
#[derive(Debug)]
pub(super) struct Conversation {
    channel: Channel,
    commands: mpsc::UnboundedSender<v1::CellCommand>,
    events: Streaming<v1::CellEvents>,
}

/// A conversation could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("cannot connect to the cell")]
    Connect(#[from] tonic::transport::Error),
    #[error("the cell does not answer: {}", .0.message())]
    Converse(tonic::Status),
}

impl Conversation {
    /// Connects to the cell that listens on `socket`.
    pub(super) async fn open(socket: &Path) -> Result<Self, OpenError> {
        let channel = connect(socket.to_owned()).await?;
        let (commands, queue) = mpsc::unbounded_channel();
        let frames = Frames::new(queue, |commands| v1::CellCommands { commands });
        // The cell is trusted and its Hello names every sandbox: no limit on a message's size.
        let events = CellServiceClient::new(channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
            .converse(frames)
            .await
            .map_err(OpenError::Converse)?
            .into_inner();
        Ok(Self {
            channel,
            commands,
            events,
        })
    }

    /// What the agent speaks through.
    pub(super) fn near_end(&self) -> Open {
        Open {
            channel: self.channel.clone(),
            commands: self.commands.clone(),
        }
    }

    /// Passes on what the cell says until the conversation ends; answers how it did.
    pub(super) async fn listen(mut self, cell: CellId, shared: &Shared) -> String {
        loop {
            let frame = match self.events.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return "the cell has hung up".to_owned(),
                Err(status) => return format!("the connection broke: {}", status.message()),
            };
            for event in frame.events {
                let event = match CellEvent::try_from(event) {
                    Ok(event) => event,
                    Err(error) => {
                        warn!(%cell, %error, "a cell said what this agent does not understand");
                        continue;
                    }
                };
                shared.places.heard(cell, &event);
                shared.backlog.enter(&event).await;
                // A driver that no longer listens is about to end.
                let _ = shared.events.send(Event::CellEvent { cell, event });
            }
        }
    }
}

async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { unix_socket::connect(&socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://cell")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
}
