//! Where a guest's standard input comes from and its output goes to, whatever WASI it speaks.
//!
//! Waiting is always cancellable by dropping the future, and any number of readers and writers may wait at
//! once: threads of one guest share these.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::pipe::{PipeReader, PipeWriter};
use super::retained::RetainedOutput;

/// The most that travels in one message to whoever is attached.
pub(crate) const FRAME: usize = 64 << 10;

/// How many may wait for input before all are woken to see who still does.
const MAX_WAITING: usize = 256;

/// Where stdin comes from.
#[derive(Debug)]
pub enum Stdin {
    /// At its end from the start.
    Empty,
    /// From whoever holds the sender; at its end when the sender is dropped.
    Attached(mpsc::Receiver<Bytes>),
    /// From another sandbox.
    Pipe(PipeReader),
}

/// Where stdout or stderr goes. Clones lead to the same place.
#[derive(Clone, Debug)]
pub enum Stdout {
    /// Kept on the host. The guest is never held up.
    Retained(RetainedOutput),
    /// To whoever holds the receiver, at their pace: the guest waits while the channel is full, and gets
    /// `EPIPE` once the receiver is gone.
    Attached(mpsc::Sender<Bytes>),
    /// To another sandbox, at its pace.
    Pipe(PipeWriter),
    /// Nowhere.
    Null,
}

/// A guest's stdin, shared by all who read it.
#[derive(Debug)]
pub(crate) struct Input {
    state: Mutex<InputState>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct InputState {
    source: Option<Source>,
    chunk: Bytes,
}

#[derive(Debug)]
enum Source {
    Channel(mpsc::Receiver<Bytes>),
    Pipe(PipeReader),
}

impl Source {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Channel(receiver) => receiver.poll_recv(cx),
            Self::Pipe(pipe) => pipe.poll_recv(cx),
        }
    }
}

/// Everybody who waits for input. The channel knows only one waker: this one, which wakes them all.
#[derive(Debug, Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    fn add(self: &Arc<Self>, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        waiting.push(waker.clone());
        if waiting.len() > MAX_WAITING {
            // Most have given up long ago; who has not comes back.
            drop(waiting);
            self.wake_by_ref();
        }
    }
}

impl Input {
    pub(crate) fn new(stdin: Stdin) -> Self {
        let source = match stdin {
            Stdin::Empty => None,
            Stdin::Attached(receiver) => Some(Source::Channel(receiver)),
            Stdin::Pipe(pipe) => Some(Source::Pipe(pipe)),
        };
        Self {
            state: Mutex::new(InputState {
                source,
                chunk: Bytes::new(),
            }),
            waiting: Arc::default(),
        }
    }

    /// Ready when there is something to read, the end included.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_state(cx).map(drop)
    }

    /// Takes up to `max` bytes; none at all is the end.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, max: usize) -> Poll<Bytes> {
        self.poll_state(cx).map(|mut state| {
            let len = state.chunk.len().min(max);
            state.chunk.split_to(len)
        })
    }

    /// Waits until [`Self::take`] would not wait.
    pub(crate) async fn ready(&self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }

    /// Takes up to `max` bytes; none at all is the end.
    pub(crate) async fn take(&self, max: usize) -> Bytes {
        std::future::poll_fn(|cx| self.poll_take(cx, max)).await
    }

    /// Takes up to `max` bytes if that needs no waiting.
    pub(crate) fn try_take(&self, max: usize) -> Option<Bytes> {
        match self.poll_take(&mut Context::from_waker(Waker::noop()), max) {
            Poll::Ready(bytes) => Some(bytes),
            Poll::Pending => None,
        }
    }

    /// Bytes that can be had without waiting, as far as is known.
    pub(crate) fn available(&self) -> usize {
        self.lock().chunk.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_state(&self, cx: &mut Context<'_>) -> Poll<std::sync::MutexGuard<'_, InputState>> {
        let mut state = self.lock();
        while state.chunk.is_empty()
            && let Some(source) = &mut state.source
        {
            self.waiting.add(cx.waker());
            let waker = Waker::from(Arc::clone(&self.waiting));
            match source.poll_recv(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(chunk)) => state.chunk = chunk,
                Poll::Ready(None) => state.source = None,
            }
            waker.wake();
        }
        Poll::Ready(state)
    }
}

/// A guest's stdout or stderr, shared by all who write it.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    sink: Arc<Stdout>,
    written: Arc<AtomicU64>,
}

impl Output {
    /// Output to `sink`, with every byte added to `written`.
    pub(crate) fn new(sink: Stdout, written: Arc<AtomicU64>) -> Self {
        Self {
            sink: Arc::new(sink),
            written,
        }
    }

    /// Writes some of `buffers`, [`FRAME`] bytes at most; says how many.
    pub(crate) async fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match &*self.sink {
            Stdout::Null => buffers.iter().map(|buffer| buffer.len()).sum(),
            Stdout::Retained(retained) => match gather(buffers) {
                Gathered::One(bytes) => retained.append(bytes).map(|()| bytes.len())?,
                Gathered::Many(bytes) => retained.append(&bytes).map(|()| bytes.len())?,
            },
            Stdout::Attached(sender) => {
                let bytes = match gather(buffers) {
                    Gathered::One(bytes) => Bytes::copy_from_slice(bytes),
                    Gathered::Many(bytes) => bytes.freeze(),
                };
                let len = bytes.len();
                if len > 0 {
                    sender.send(bytes).await.map_err(|_| broken_pipe())?;
                }
                len
            }
            Stdout::Pipe(_) => loop {
                match self.try_write_some(buffers) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready().await,
                    done => return done,
                }
            },
        };
        self.count(written);
        Ok(written)
    }

    /// Writes without waiting; gives back what there is no room for now.
    pub(crate) fn try_write(&self, mut bytes: Bytes) -> io::Result<Option<Bytes>> {
        let len = bytes.len();
        match &*self.sink {
            Stdout::Null => {}
            Stdout::Retained(retained) => retained.append(&bytes)?,
            Stdout::Attached(sender) => match sender.try_send(bytes) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(bytes)) => return Ok(Some(bytes)),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(broken_pipe()),
            },
            Stdout::Pipe(pipe) => {
                pipe.try_write(&mut bytes).map_err(|_| broken_pipe())?;
                self.count(len - bytes.len());
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
        }
        self.count(len);
        Ok(None)
    }

    /// Writes some of `buffers` without waiting; `EAGAIN` if there is no room now.
    pub(crate) fn try_write_some(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = match gather(buffers) {
            Gathered::One(bytes) => Bytes::copy_from_slice(bytes),
            Gathered::Many(bytes) => bytes.freeze(),
        };
        let len = bytes.len();
        match self.try_write(bytes)? {
            None => Ok(len),
            Some(rest) if rest.len() < len => Ok(len - rest.len()),
            Some(_) => Err(rustix::io::Errno::AGAIN.into()),
        }
    }

    /// Waits until there is room, or nobody is left to make any.
    pub(crate) async fn ready(&self) {
        // Either way a write will not wait; the write is what tells of an end.
        match &*self.sink {
            Stdout::Attached(sender) => drop(sender.reserve().await),
            Stdout::Pipe(pipe) => std::future::poll_fn(|cx| pipe.poll_ready(cx)).await,
            Stdout::Null | Stdout::Retained(_) => {}
        }
    }

    fn count(&self, written: usize) {
        self.written.fetch_add(written as u64, Ordering::Relaxed);
    }
}

fn broken_pipe() -> io::Error {
    rustix::io::Errno::PIPE.into()
}

enum Gathered<'a> {
    One(&'a [u8]),
    Many(BytesMut),
}

/// The first [`FRAME`] bytes of `buffers` in one piece.
fn gather<'a>(buffers: &'a [IoSlice<'a>]) -> Gathered<'a> {
    let mut parts = buffers.iter().filter(|buffer| !buffer.is_empty());
    let first = parts.next().map_or(&[][..], |buffer| &buffer[..]);
    if first.len() >= FRAME || parts.clone().next().is_none() {
        return Gathered::One(&first[..first.len().min(FRAME)]);
    }
    let mut all = BytesMut::from(first);
    for part in parts {
        let len = part.len().min(FRAME - all.len());
        all.extend_from_slice(&part[..len]);
    }
    Gathered::Many(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_readers_share_one_input() {
        let (sender, receiver) = mpsc::channel(1);
        let input = Arc::new(Input::new(Stdin::Attached(receiver)));
        let (first, second) = (Arc::clone(&input), Arc::clone(&input));
        let first = tokio::spawn(async move { first.take(100).await });
        let second = tokio::spawn(async move { second.take(100).await });
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        sender.send(Bytes::from_static(b"two")).await.unwrap();
        let mut got = [first.await.unwrap(), second.await.unwrap()];
        got.sort();
        assert_eq!(got, [&b"one"[..], &b"two"[..]]);
        drop(sender);
        assert!(input.take(1).await.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_gave_up_does_not_swallow_the_wake() {
        let (sender, receiver) = mpsc::channel(1);
        let input = Arc::new(Input::new(Stdin::Attached(receiver)));
        let waiting = Arc::clone(&input);
        let reader = tokio::spawn(async move { waiting.take(100).await });
        tokio::task::yield_now().await;
        {
            let mut gives_up = std::pin::pin!(input.ready());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(gives_up.as_mut().poll(&mut cx).is_pending());
        }
        sender.send(Bytes::from_static(b"late")).await.unwrap();
        assert_eq!(reader.await.unwrap(), "late");
    }

    #[tokio::test]
    async fn output_waits_for_its_reader_and_breaks_without_one() {
        let (sender, mut receiver) = mpsc::channel(1);
        let written = Arc::new(AtomicU64::new(0));
        let output = Output::new(Stdout::Attached(sender), Arc::clone(&written));
        let parts = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
        assert_eq!(output.write(&parts).await.unwrap(), 5);
        {
            let more = [IoSlice::new(b"x")];
            let mut blocked = std::pin::pin!(output.write(&more));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(blocked.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(receiver.recv().await.unwrap(), "hello");
        drop(receiver);
        let error = output.write(&parts).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(written.load(Ordering::Relaxed), 5);
    }
}
