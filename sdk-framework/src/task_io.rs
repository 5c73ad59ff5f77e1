//! A task's input and output, straight from its agent.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use nesos_api::v1;
use nesos_api::v1::task_io_service_client::TaskIoServiceClient;
use nesos_types::ids::TaskKey;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::{ConnectError, endpoint};

/// A connection to an agent's task input and output.
#[derive(Clone, Debug)]
pub struct TaskIo {
    client: TaskIoServiceClient<Channel>,
}

/// A piece of an attached task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The task is there and starts.
    Attached,
    /// Bytes that the guest wrote to stdout.
    Stdout(Bytes),
    /// Bytes that the guest wrote to stderr.
    Stderr(Bytes),
}

impl TaskIo {
    /// A client of the agent at `url` ([`Offer::agent_url`](nesos_types::offer::Offer)), connected
    /// when it is first used.
    ///
    /// # Errors
    /// If the address is not one.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let channel = endpoint(url)?.connect_lazy();
        let client = TaskIoServiceClient::new(channel)
            .max_decoding_message_size(nesos_api::MAX_FRAME_BYTES)
            .max_encoding_message_size(nesos_api::MAX_FRAME_BYTES);
        Ok(Self { client })
    }

    /// Attaches to a task that was or will be launched with
    /// [`Stdio::Attached`](nesos_types::task::Stdio::Attached). The end of `stdin` is the guest's end
    /// of input. The guest waits while output is not read.
    ///
    /// # Errors
    /// If the agent does not answer or somebody else is attached.
    pub async fn attach(
        &mut self,
        task: &TaskKey,
        stdin: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Attachment, Status> {
        use v1::attach_input::Input;
        let message = |input| v1::AttachInput { input: Some(input) };
        let open = message(Input::Open(task.into()));
        let input = stdin.map(move |bytes| message(Input::Stdin(bytes)));
        let end = message(Input::EndOfInput(v1::EndOfInput {}));
        // The request stream stays open after the end of input: closing it means going away.
        let requests = stream::iter([open])
            .chain(input)
            .chain(stream::iter([end]))
            .chain(stream::pending());
        let stream = self.client.attach(requests).await?.into_inner();
        Ok(Attachment { stream })
    }

    /// Reads the output that the agent has kept of a task.
    ///
    /// # Errors
    /// If the agent does not answer or knows nothing of the task.
    pub async fn logs(
        &mut self,
        task: &TaskKey,
        stream: v1::OutputStream,
        follow: bool,
    ) -> Result<Streaming<v1::LogsChunk>, Status> {
        let request = v1::LogsRequest {
            key: Some(task.into()),
            stream: stream.into(),
            follow,
        };
        Ok(self.client.logs(request).await?.into_inner())
    }
}

/// The output of an attached task. Dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    stream: Streaming<v1::AttachOutput>,
}

impl Attachment {
    /// The next piece of output; `None` when the guest has ended and all output was read.
    ///
    /// # Errors
    /// If the stream broke before the end of the output.
    pub async fn next(&mut self) -> Result<Option<Output>, Status> {
        use v1::attach_output::Output as Wire;
        loop {
            let Some(message) = self.stream.message().await? else {
                return Err(Status::unavailable("the agent closed the stream"));
            };
            return Ok(Some(match message.output {
                Some(Wire::Stdout(bytes)) => Output::Stdout(bytes),
                Some(Wire::Stderr(bytes)) => Output::Stderr(bytes),
                Some(Wire::Attached(v1::Attached {})) => Output::Attached,
                Some(Wire::EndOfOutput(v1::EndOfOutput {})) => return Ok(None),
                None => continue,
            }));
        }
    }
}
