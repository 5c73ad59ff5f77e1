//! A pipe between two sandboxes: bytes in order, bounded, in one piece however small the writes were.
//!
//! Whoever writes waits while it is full. When the last writer is gone the reader comes to the end; when the reader is
//! gone, writing fails as it does on every broken pipe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};

use super::stdio::FRAME;

/// The end that bytes go into. Clones write into the same pipe.
#[derive(Clone, Debug)]
pub struct PipeWriter(Arc<WriteEnd>);

/// The end that bytes come out of.
#[derive(Debug)]
pub struct PipeReader(Arc<Shared>);

#[derive(Debug)]
struct WriteEnd(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    buffer: BytesMut,
    writers_gone: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

/// The pipe has no reader any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A new pipe of [`FRAME`] bytes.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let shared = Arc::<Shared>::default();
    let writer = Arc::new(WriteEnd(shared.clone()));
    (PipeWriter(writer), PipeReader(shared))
}

impl PipeWriter {
    /// Puts in as many of `bytes` as there is room for, and leaves the rest.
    pub(crate) fn try_write(&self, bytes: &mut Bytes) -> Result<(), Broken> {
        let mut state = self.0.0.state();
        if state.reader_gone {
            return Err(Broken);
        }
        let count = bytes.len().min(FRAME - state.buffer.len());
        state.buffer.extend_from_slice(&bytes[..count]);
        bytes.advance(count);
        wake(state.reader.take(), state);
        Ok(())
    }

    /// Ready when there is room, or nobody is left to make any.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.state();
        if state.reader_gone || state.buffer.len() < FRAME {
            return Poll::Ready(());
        }
        if !state
            .writers
            .iter()
            .any(|known| known.will_wake(cx.waker()))
        {
            state.writers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl PipeReader {
    /// Takes out all that there is; none at the end.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.0.state();
        if !state.buffer.is_empty() {
            let bytes = std::mem::take(&mut state.buffer).freeze();
            let writers = std::mem::take(&mut state.writers);
            wake(writers, state);
            return Poll::Ready(Some(bytes));
        }
        if state.writers_gone {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.writers_gone = true;
        wake(state.reader.take(), state);
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.reader_gone = true;
        state.buffer = BytesMut::new();
        let writers = std::mem::take(&mut state.writers);
        wake(writers, state);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whoever waited, when nobody holds the lock any more.
fn wake(waiting: impl IntoIterator<Item = Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &PipeReader) -> Poll<Option<Bytes>> {
        reader.poll_recv(&mut Context::from_waker(Waker::noop()))
    }

    fn write(writer: &PipeWriter, bytes: &[u8]) -> Result<usize, Broken> {
        let mut rest = Bytes::copy_from_slice(bytes);
        writer.try_write(&mut rest).map(|()| rest.len())
    }

    #[test]
    fn small_writes_come_out_in_one_piece_and_large_ones_wait() {
        let (writer, reader) = pipe();
        assert_eq!(read(&reader), Poll::Pending);
        for part in [b"one ", b"two "] {
            assert_eq!(write(&writer, part), Ok(0));
        }
        assert_eq!(write(&writer, &[0; FRAME]), Ok(8));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(writer.poll_ready(&mut cx), Poll::Pending);
        let Poll::Ready(Some(bytes)) = read(&reader) else {
            panic!("there is something to read");
        };
        assert!(bytes.starts_with(b"one two ") && bytes.len() == FRAME);
        assert_eq!(writer.poll_ready(&mut cx), Poll::Ready(()));
    }

    #[test]
    fn either_end_learns_that_the_other_is_gone() {
        let (writer, reader) = pipe();
        assert_eq!(write(&writer.clone(), b"x"), Ok(0));
        assert_eq!(read(&reader), Poll::Ready(Some(Bytes::from_static(b"x"))));
        assert_eq!(read(&reader), Poll::Pending);
        drop(writer);
        assert_eq!(read(&reader), Poll::Ready(None));
        let (writer, reader) = pipe();
        drop(reader);
        assert_eq!(write(&writer, b"x"), Err(Broken));
    }
}
