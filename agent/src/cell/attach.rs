//! A client attaches to a task: its input goes to the guest, the guest's output comes back, and
//! whoever is slow holds up the other.
//!
//! The cell takes no input before the guest reads it and no output before the client has room: a few
//! chunks wait in between. If the client goes, the guest's input ends and its output has nowhere to go.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use nesos_api::v1::attach_input::Input;
use nesos_api::v1::attach_output::Output;
use nesos_api::v1::task_io_service_server::TaskIoService;
use nesos_api::{MAX_CHUNK_BYTES, v1};
use nesos_runtime::{RetainedOutput, Stdin, Stdout};
use nesos_types::cell::SandboxLaunch;
use nesos_types::ids::TaskKey;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::directory::kept_output;
use super::launcher::{GuestIo, Launcher};
use super::sandboxes::{Sandboxes, Seat};

/// How many chunks of each stream may wait.
const CHUNKS: usize = 4;

/// How long a client waits for a launch that is still on its way to the cell.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(10);

/// Serves clients whose input and output the agent passes on.
pub(super) struct ClientDoor<L: Launcher> {
    sandboxes: Arc<Sandboxes<L>>,
}

impl<L: Launcher> ClientDoor<L> {
    /// A door to these sandboxes.
    pub(super) fn new(sandboxes: Arc<Sandboxes<L>>) -> Self {
        Self { sandboxes }
    }

    /// Takes the seat beside the task, which may be there any moment.
    async fn take_seat(&self, key: &TaskKey) -> Result<Box<SandboxLaunch>, Status> {
        let seat = async {
            loop {
                let mut attachable = std::pin::pin!(self.sandboxes.attachable());
                attachable.as_mut().enable();
                match self.sandboxes.take_seat(key) {
                    Seat::Unknown => attachable.await,
                    seat => return seat,
                }
            }
        };
        let seat = tokio::time::timeout(LAUNCH_PATIENCE, seat).await;
        match seat.unwrap_or(Seat::Unknown) {
            Seat::Free(launch) => Ok(launch),
            Seat::Unknown => Err(Status::not_found(format!("no task {key} is here"))),
            Seat::Ended => Err(Status::failed_precondition(format!("task {key} has ended"))),
            Seat::Taken => Err(Status::already_exists(format!(
                "a client has already attached to task {key}; only one can"
            ))),
            Seat::NotAttached => Err(Status::failed_precondition(format!(
                "task {key} was not launched to be attached to; its output is kept, read its logs"
            ))),
        }
    }
}

#[tonic::async_trait]
impl<L: Launcher> TaskIoService for ClientDoor<L> {
    type AttachStream = GuestOutput;
    type LogsStream = futures::stream::Empty<Result<v1::LogsChunk, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachInput>>,
    ) -> Result<Response<GuestOutput>, Status> {
        let mut input = request.into_inner();
        let key = read_open(&mut input).await?;
        let launch = self.take_seat(&key).await?;
        let (stdin, guest_stdin) = mpsc::channel(CHUNKS);
        let (guest_stdout, stdout) = mpsc::channel(CHUNKS);
        let (guest_stderr, stderr) = mpsc::channel(CHUNKS);
        let io = GuestIo {
            stdin: Stdin::Attached(guest_stdin),
            stdout: Stdout::Attached(guest_stdout),
            stderr: Stdout::Attached(guest_stderr),
        };
        let (kept_stdout, kept_stderr) = kept_output(&launch);
        self.sandboxes.start(*launch, io);
        tokio::spawn(pass_input(input, stdin));
        Ok(Response::new(GuestOutput::new(
            Half::kept(stdout, kept_stdout),
            Half::kept(stderr, kept_stderr),
        )))
    }

    async fn logs(
        &self,
        _request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        Err(Status::unimplemented("the agent reads logs, not the cell"))
    }
}

/// The first message of a client: which task it means.
pub(crate) async fn read_open(input: &mut Streaming<v1::AttachInput>) -> Result<TaskKey, Status> {
    let first = input.message().await?.and_then(|message| message.input);
    let Some(Input::Open(key)) = first else {
        return Err(Status::invalid_argument(
            "the first message must be open, with the task's key",
        ));
    };
    TaskKey::try_from(key).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Passes the client's input on until it ends, the client goes, or the guest reads no more.
async fn pass_input(mut input: Streaming<v1::AttachInput>, stdin: mpsc::Sender<Bytes>) {
    loop {
        let message = tokio::select! {
            message = input.message() => message,
            () = stdin.closed() => return,
        };
        let Ok(Some(v1::AttachInput {
            input: Some(Input::Stdin(bytes)),
        })) = message
        else {
            return;
        };
        // An empty chunk says nothing; to a reader it could look like the end.
        if !bytes.is_empty() && stdin.send(bytes).await.is_err() {
            return;
        }
    }
}

/// The guest's output as the client gets it.
#[derive(Debug)]
pub(super) struct GuestOutput {
    stage: Stage,
    stdout: Half,
    stderr: Half,
    /// Which of the two is asked first, so that a flood of one does not keep the other back.
    stderr_first: bool,
}

#[derive(Debug)]
enum Stage {
    Opening,
    Flowing,
    Ended,
}

/// One of the guest's two output streams. What passes is kept as well, so that others can read in the
/// logs what the client was sent.
#[derive(Debug)]
struct Half {
    chunks: mpsc::Receiver<Bytes>,
    kept: Option<RetainedOutput>,
    /// What is left of a chunk that was too large for one message.
    rest: Bytes,
}

impl Half {
    fn kept(chunks: mpsc::Receiver<Bytes>, kept: RetainedOutput) -> Self {
        Self {
            chunks,
            kept: Some(kept),
            rest: Bytes::new(),
        }
    }

    /// Keeps a chunk; where that fails (the disk is full) the client gets it all the same.
    fn keep(&mut self, chunk: &Bytes) {
        let failed = self.kept.as_ref().and_then(|kept| kept.append(chunk).err());
        if let Some(error) = failed {
            tracing::warn!(%error, "output of a task is no longer kept");
            self.kept = None;
        }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.rest.is_empty() {
            match std::task::ready!(self.chunks.poll_recv(context)) {
                Some(chunk) => {
                    self.keep(&chunk);
                    self.rest = chunk;
                }
                None => return Poll::Ready(None),
            }
        }
        let size = self.rest.len().min(MAX_CHUNK_BYTES);
        Poll::Ready(Some(self.rest.split_to(size)))
    }
}

impl GuestOutput {
    fn new(stdout: Half, stderr: Half) -> Self {
        Self {
            stage: Stage::Opening,
            stdout,
            stderr,
            stderr_first: false,
        }
    }

    /// The next chunk of either stream; `None` when both have ended.
    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<Option<Output>> {
        self.stderr_first = !self.stderr_first;
        let mut ended = 0;
        for stderr in [self.stderr_first, !self.stderr_first] {
            let half = if stderr {
                &mut self.stderr
            } else {
                &mut self.stdout
            };
            match half.poll_chunk(context) {
                Poll::Ready(Some(bytes)) if stderr => {
                    return Poll::Ready(Some(Output::Stderr(bytes)));
                }
                Poll::Ready(Some(bytes)) => return Poll::Ready(Some(Output::Stdout(bytes))),
                Poll::Ready(None) => ended += 1,
                Poll::Pending => {}
            }
        }
        if ended == 2 {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

impl Stream for GuestOutput {
    type Item = Result<v1::AttachOutput, Status>;
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let output = match this.stage {
            Stage::Opening => {
                this.stage = Stage::Flowing;
                Output::Attached(v1::Attached {})
            }
            Stage::Flowing => match std::task::ready!(this.poll_output(context)) {
                Some(output) => output,
                None => {
                    this.stage = Stage::Ended;
                    Output::EndOfOutput(v1::EndOfOutput {})
                }
            },
            Stage::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(v1::AttachOutput {
            output: Some(output),
        })))
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, executor::block_on};

    use super::*;

    fn discarded(chunks: mpsc::Receiver<Bytes>) -> Half {
        Half {
            chunks,
            kept: None,
            rest: Bytes::new(),
        }
    }

    fn collect(stdout: &[&'static [u8]], stderr: &[&'static [u8]]) -> Vec<Output> {
        let (to_stdout, from_stdout) = mpsc::channel(8);
        let (to_stderr, from_stderr) = mpsc::channel(8);
        for (chunks, to) in [(stdout, to_stdout), (stderr, to_stderr)] {
            for chunk in chunks {
                to.try_send(Bytes::from_static(chunk)).expect("room");
            }
        }
        block_on(
            GuestOutput::new(discarded(from_stdout), discarded(from_stderr))
                .map(|message| message.expect("no error").output.expect("an output"))
                .collect(),
        )
    }

    #[test]
    fn output_begins_with_attached_and_ends_with_its_end() {
        assert_eq!(
            collect(&[], &[]),
            [
                Output::Attached(v1::Attached {}),
                Output::EndOfOutput(v1::EndOfOutput {})
            ]
        );
    }

    #[test]
    fn a_flood_of_stdout_does_not_keep_stderr_back() {
        let outputs = collect(&[b"a", b"b", b"c"], &[b"x"]);
        let stderr = outputs
            .iter()
            .position(|output| *output == Output::Stderr(Bytes::from_static(b"x")));
        assert!(stderr.expect("is there") <= 2, "{outputs:?}");
        assert_eq!(outputs.len(), 6);
    }

    #[test]
    fn a_chunk_too_large_for_a_message_is_split_unaltered() {
        static LARGE: [u8; MAX_CHUNK_BYTES + 3] = [7; MAX_CHUNK_BYTES + 3];
        let sizes: Vec<usize> = collect(&[&LARGE], &[])
            .iter()
            .filter_map(|output| match output {
                Output::Stdout(bytes) => Some(bytes.len()),
                _ => None,
            })
            .collect();
        assert_eq!(sizes, [MAX_CHUNK_BYTES, 3]);
    }
}
