//! Reads the output that was kept of a task, and follows it to the task's end.
//!
//! Follows by the kernel's notifications: nothing looks at a file at intervals.

use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nesos_api::v1;
use nesos_types::ids::TaskKey;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::kept::KeptOutput;
use super::places::{Output, TaskPlaces};

/// How many chunks may wait for the reader.
const CHUNKS: usize = 2;

/// The kept output on its way to the reader.
pub(super) type Logs = ReceiverStream<Result<v1::LogsChunk, Status>>;

/// Opens the kept output that the request names.
pub(super) fn open(places: &Arc<TaskPlaces>, request: v1::LogsRequest) -> Result<Logs, Status> {
    let name = match request.stream() {
        v1::OutputStream::Unspecified | v1::OutputStream::Stdout => "stdout",
        v1::OutputStream::Stderr => "stderr",
    };
    let key = request
        .key
        .ok_or_else(|| Status::invalid_argument("key is missing"))?;
    let key =
        TaskKey::try_from(key).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let directory = match places.output(&key) {
        Output::Kept(directory) => directory,
        Output::Silent => return Ok(nothing()),
        Output::Unknown => {
            return Err(Status::not_found(format!(
                "no task {key} is or was on this agent, or its output is kept no more"
            )));
        }
    };
    let follow = request.follow.then(|| places.end_of(&key));
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        if let Err(status) = send_all(directory, name, follow, &sender).await {
            // A reader that has gone need not hear why.
            let _ = sender.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(chunks))
}

fn nothing() -> Logs {
    let (_, chunks) = mpsc::channel(1);
    ReceiverStream::new(chunks)
}

type Sender = mpsc::Sender<Result<v1::LogsChunk, Status>>;

/// Sends what there is and, when following, what comes, until the task has ended.
async fn send_all(
    directory: PathBuf,
    name: &str,
    follow: Option<CancellationToken>,
    sender: &Sender,
) -> Result<(), Status> {
    let mut output = KeptOutput::new(directory.join(name));
    let Some(ended) = follow else {
        return send_rest(output, sender).await.map(drop);
    };
    // Watched before it is read, or what is written in between would not be noticed.
    let mut watch = Watch::new(&directory).map_err(failed)?;
    loop {
        let over = ended.is_cancelled();
        output = match send_rest(output, sender).await? {
            Some(output) if !over => output,
            _ => return Ok(()),
        };
        tokio::select! {
            changed = watch.changed() => changed.map_err(failed)?,
            () = ended.cancelled() => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Sends what there is, and gives the output back unless the reader has gone.
async fn send_rest(mut output: KeptOutput, sender: &Sender) -> Result<Option<KeptOutput>, Status> {
    loop {
        let Ok(permit) = sender.reserve().await else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let chunk = output.read();
            (output, chunk)
        });
        let (back, chunk) = read.await.map_err(std::io::Error::from).map_err(failed)?;
        output = back;
        match chunk.map_err(failed)? {
            Some((offset, data)) => permit.send(Ok(v1::LogsChunk { offset, data })),
            None => return Ok(Some(output)),
        }
    }
}

fn failed(error: std::io::Error) -> Status {
    Status::internal(format!("cannot read the task's output: {error}"))
}

/// The kernel's notifications about a directory.
struct Watch {
    inotify: AsyncFd<std::os::fd::OwnedFd>,
}

impl Watch {
    fn new(directory: &Path) -> std::io::Result<Self> {
        // A task that has written nothing yet has no directory yet.
        std::fs::create_dir_all(directory)?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&inotify, directory, flags)?;
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and nobody but the
        // `AsyncFd` has it from here on.
        #[expect(unsafe_code, reason = "the descriptor is owned by what registers it")]
        let inotify = unsafe { AsyncFd::register(inotify)? };
        Ok(Self { inotify })
    }

    /// Resolves when something was written since the last call.
    async fn changed(&mut self) -> std::io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        // What happened does not matter, only that it is taken note of.
        loop {
            match events.next() {
                Ok(_) => {}
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use futures::StreamExt;

    use super::*;

    /// Reads so many bytes, and fails where they are not in order.
    async fn read(logs: &mut Logs, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let chunk = logs.next().await.expect("more").expect("no error");
            all.extend_from_slice(&chunk.data);
        }
        all
    }

    fn append(path: &Path, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.expect("written");
    }

    fn follow(directory: &Path, ended: &CancellationToken) -> Logs {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let (directory, ended) = (directory.to_owned(), ended.clone());
        tokio::spawn(async move { send_all(directory, "stdout", Some(ended), &sender).await });
        ReceiverStream::new(chunks)
    }

    #[tokio::test]
    async fn a_follower_hears_what_is_written_and_of_the_end() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("made/later");
        std::fs::create_dir_all(&directory).expect("made");
        let stdout = directory.join("stdout");
        append(&stdout, "one");
        let ended = CancellationToken::new();
        let mut logs = follow(&directory, &ended);
        assert_eq!(read(&mut logs, 3).await, b"one");
        append(&stdout, "two");
        assert_eq!(read(&mut logs, 3).await, b"two");
        append(&stdout, "three");
        ended.cancel();
        assert_eq!(read(&mut logs, 5).await, b"three");
        assert!(logs.next().await.is_none());
    }

    #[tokio::test]
    async fn a_follower_waits_for_a_task_that_has_written_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("not/there/yet");
        let ended = CancellationToken::new();
        let mut logs = follow(&directory, &ended);
        ended.cancel();
        assert!(logs.next().await.is_none());
    }

    #[tokio::test]
    async fn output_of_a_task_that_nobody_knows_is_not_found() {
        let places = TaskPlaces::new("/nowhere".into());
        let request = |framework: &str| v1::LogsRequest {
            key: Some(v1::TaskKey {
                framework_id: framework.to_owned(),
                task_id: "a".to_owned(),
            }),
            stream: 0,
            follow: false,
        };
        let code = |framework| open(&places, request(framework)).expect_err("fails").code();
        let known = nesos_types::ids::FrameworkId(1).to_string();
        assert_eq!(code(&known), tonic::Code::NotFound);
        assert_eq!(code("nonsense"), tonic::Code::InvalidArgument);
    }
}
