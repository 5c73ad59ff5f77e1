//! The agent's port: attaching to tasks and reading their output.

use std::sync::Arc;
use std::time::Duration;

use nesos_api::v1;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::cell_link::CellLinks;
use crate::task_io::{TaskIo, TaskPlaces};

/// How much a client may send on one stream, and on all of a connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// How often a silent connection is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// The open door.
#[derive(Debug)]
pub(super) struct Server {
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    /// Serves on this port until it is closed.
    pub(super) fn start(listener: TcpListener, places: Arc<TaskPlaces>, cells: CellLinks) -> Self {
        let stop = CancellationToken::new();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were generated with the code");
        let router = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .add_service(reflection)
            .add_service(TaskIo::service(places, cells));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stopped = stop.clone().cancelled_owned();
        let task =
            tokio::spawn(
                async move { router.serve_with_incoming_shutdown(incoming, stopped).await },
            );
        Self { stop, task }
    }

    /// Takes no more clients, and gives those who are there some time to go.
    pub(super) async fn close(mut self, patience: Duration) {
        self.stop.cancel();
        match timeout(patience, &mut self.task).await {
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the agent's door ended with an error"),
            Ok(_) => {}
            Err(_) => self.task.abort(),
        }
    }
}
