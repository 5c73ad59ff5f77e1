//! Passes a client's input to the cell that holds its task, and the task's output back.
//!
//! The agent only connects the two: what the client sends is what the cell gets, and neither side
//! reads ahead of the other. A client may come before its task.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use nesos_agent_core::CellId;
use nesos_api::v1;
use nesos_api::v1::attach_input::Input;
use nesos_api::v1::task_io_service_client::TaskIoServiceClient;
use nesos_api::v1::task_io_service_server::{TaskIoService, TaskIoServiceServer};
use nesos_types::ids::TaskKey;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::logs::{self, Logs};
use super::places::{Holder, TaskPlaces};
use crate::cell::read_open;
use crate::cell_link::CellLinks;

/// How long a client waits for a task that is not here yet.
const TASK_PATIENCE: Duration = Duration::from_secs(60);

/// Serves the clients of an agent's tasks.
#[derive(Debug)]
pub struct TaskIo {
    places: Arc<TaskPlaces>,
    cells: CellLinks,
}

impl TaskIo {
    /// The service of the tasks in these cells, ready to be added to a server.
    #[must_use]
    pub fn service(places: Arc<TaskPlaces>, cells: CellLinks) -> TaskIoServiceServer<Self> {
        TaskIoServiceServer::new(Self { places, cells })
            .max_decoding_message_size(nesos_api::MAX_FRAME_BYTES)
    }

    /// Waits until a cell holds the task.
    async fn find(&self, key: &TaskKey) -> Result<Channel, Status> {
        let found = async {
            loop {
                let mut attachable = std::pin::pin!(self.places.attachable());
                attachable.as_mut().enable();
                match self.places.holder(key) {
                    Holder::Unknown => attachable.await,
                    Holder::Cell(cell) => return Some(cell),
                    Holder::Ended => return None,
                }
            }
        };
        let cell = tokio::time::timeout(TASK_PATIENCE, found)
            .await
            .map_err(|_| {
                Status::not_found(format!(
                    "no task {key} has come to this agent within {} s",
                    TASK_PATIENCE.as_secs()
                ))
            })?;
        let ended = || Status::failed_precondition(format!("task {key} has ended"));
        self.channel(cell.ok_or_else(ended)?)
    }

    fn channel(&self, cell: CellId) -> Result<Channel, Status> {
        self.cells.channel(cell).ok_or_else(|| {
            Status::unavailable(format!("the agent is not connected to {cell} right now"))
        })
    }
}

#[tonic::async_trait]
impl TaskIoService for TaskIo {
    type AttachStream = Streaming<v1::AttachOutput>;
    type LogsStream = Logs;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachInput>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut input = request.into_inner();
        let key = read_open(&mut input).await?;
        let channel = self.find(&key).await?;
        let mut cell =
            TaskIoServiceClient::new(channel).max_decoding_message_size(nesos_api::MAX_FRAME_BYTES);
        let output = cell.attach(with_open(&key, input)).await?;
        Ok(Response::new(output.into_inner()))
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        logs::open(&self.places, request.into_inner()).map(Response::new)
    }
}

/// The client's input, its first message included; ends where the client's breaks.
fn with_open(
    key: &TaskKey,
    input: Streaming<v1::AttachInput>,
) -> impl Stream<Item = v1::AttachInput> + use<> {
    let open = v1::AttachInput {
        input: Some(Input::Open(key.into())),
    };
    let rest = input.take_while(|message| futures::future::ready(message.is_ok()));
    futures::stream::iter([open]).chain(rest.filter_map(|message| async { message.ok() }))
}
