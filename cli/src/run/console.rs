//! This process' stdin, stdout and stderr as the guest's: bytes, unaltered, with back-pressure.
//!
//! Reading and writing may block for ever, so each stream has a thread of its own, and whoever waits
//! for one waits for a channel.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

/// How much is read from stdin at once.
const READ_BYTES: usize = 64 << 10;

/// How many pieces may wait between a thread and the network.
const PIECES: usize = 8;

/// Reads stdin to its end, in a thread that begins now. A terminal that this process may not read,
/// because it is in the background, counts as ended: asking would stop the process.
pub(super) fn stdin() -> ReceiverStream<Bytes> {
    let (sender, receiver) = mpsc::channel(PIECES);
    if !in_background() {
        thread::spawn(move || read_all(&sender));
    }
    ReceiverStream::new(receiver)
}

fn in_background() -> bool {
    let stdin = io::stdin();
    rustix::termios::isatty(&stdin)
        && rustix::termios::tcgetpgrp(&stdin)
            .is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

fn read_all(sender: &mpsc::Sender<Bytes>) {
    let stdin = io::stdin();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let piece = Bytes::copy_from_slice(&buffer[..count]);
                if sender.blocking_send(piece).is_err() {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(&stdin, PollFlags::IN),
            // A closed descriptor or a terminal that hung up: there is no more input.
            Err(_) => return,
        }
    }
}

/// One of the two output streams.
#[derive(Debug)]
pub(super) struct Writer {
    name: &'static str,
    pieces: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<Result<(), Errno>>,
}

/// The reader of an output stream went away, or the stream cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {stream}: {cause}")]
pub(super) struct WriteError {
    stream: &'static str,
    cause: Errno,
}

impl WriteError {
    /// Whether nobody reads any more.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.cause == Errno::PIPE
    }
}

impl Writer {
    /// Writes to stdout.
    pub(super) fn stdout() -> Self {
        Self::new("stdout", io::stdout())
    }

    /// Writes to stderr.
    pub(super) fn stderr() -> Self {
        Self::new("stderr", io::stderr())
    }

    fn new(name: &'static str, file: impl AsFd + Send + 'static) -> Self {
        let (pieces, mut receiver) = mpsc::channel::<Bytes>(PIECES);
        let (sender, done) = oneshot::channel();
        thread::spawn(move || {
            let mut result = Ok(());
            while let (Ok(()), Some(piece)) = (result, receiver.blocking_recv()) {
                result = write_all(&file, &piece);
            }
            // Whether anybody waits for the end is not this thread's business.
            let _ = sender.send(result);
        });
        Self { name, pieces, done }
    }

    /// Hands a piece over; waits while earlier ones have not been taken.
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), WriteError> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        let cause = match (&mut self.done).await {
            Ok(Err(cause)) => cause,
            Ok(Ok(())) | Err(_) => Errno::IO,
        };
        Err(WriteError {
            stream: self.name,
            cause,
        })
    }

    /// Waits until everything has been written.
    pub(super) async fn finish(self) -> Result<(), WriteError> {
        drop(self.pieces);
        match self.done.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(WriteError {
                stream: self.name,
                cause,
            }),
            Err(_) => Err(WriteError {
                stream: self.name,
                cause: Errno::IO,
            }),
        }
    }
}

fn write_all(file: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(file, PollFlags::OUT),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Somebody made the descriptor non-blocking: waits until there is something to do.
fn wait_for(file: &impl AsFd, flags: PollFlags) {
    let mut descriptors = [PollFd::new(file, flags)];
    // Whatever goes wrong here, the read or write that follows says it better.
    let _ = poll(&mut descriptors, None);
}
