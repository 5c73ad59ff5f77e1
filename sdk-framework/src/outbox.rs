//! Calls on their way to the master: whoever is slow to read gets them in larger frames.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use nesos_api::v1;
use prost::Message;

/// How many bytes of calls fill a frame; a single larger call travels alone.
const FULL_FRAME_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Queue {
    calls: Vec<v1::SchedulerCall>,
    closed: bool,
    reader: Option<Waker>,
}

/// The writing end. Closes the stream when dropped.
#[derive(Debug)]
pub(crate) struct Outbox(Arc<Mutex<Queue>>);

/// The reading end: the request stream of a conversation.
#[derive(Debug)]
pub(crate) struct Frames(Arc<Mutex<Queue>>);

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends of an empty queue.
pub(crate) fn outbox() -> (Outbox, Frames) {
    let queue = Arc::<Mutex<Queue>>::default();
    (Outbox(queue.clone()), Frames(queue))
}

impl Outbox {
    /// Appends calls, leaving `calls` empty; they leave in one frame if nothing else is in the way.
    pub(crate) fn push(&self, calls: &mut Vec<v1::SchedulerCall>) {
        let mut queue = lock(&self.0);
        if queue.calls.is_empty() {
            std::mem::swap(&mut queue.calls, calls);
        } else {
            queue.calls.append(calls);
        }
        wake(queue);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.closed = true;
        wake(queue);
    }
}

/// Wakes the reader outside the lock.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Takes a frame's worth off the front.
fn take_frame(calls: &mut Vec<v1::SchedulerCall>) -> Vec<v1::SchedulerCall> {
    let mut bytes = 0;
    let fitting = calls
        .iter()
        .take_while(|call| {
            let first = bytes == 0;
            bytes += call.encoded_len().max(1);
            first || bytes <= FULL_FRAME_BYTES
        })
        .count();
    if fitting == calls.len() {
        return std::mem::take(calls);
    }
    calls.drain(..fitting).collect()
}

impl Stream for Frames {
    type Item = v1::SchedulerCalls;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = lock(&self.0);
        if !queue.calls.is_empty() {
            let calls = take_frame(&mut queue.calls);
            return Poll::Ready(Some(v1::SchedulerCalls { calls }));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn kill(task: &str) -> v1::SchedulerCall {
        let kill = v1::Kill {
            task_id: task.to_owned(),
            grace_us: None,
        };
        v1::SchedulerCall {
            call: Some(v1::scheduler_call::Call::Kill(kill)),
        }
    }

    fn frame(frames: &mut Frames) -> Option<Option<usize>> {
        frames
            .next()
            .now_or_never()
            .map(|frame| frame.map(|frame| frame.calls.len()))
    }

    #[test]
    fn what_waits_leaves_in_one_frame_and_the_end_comes_last() {
        let (outbox, mut frames) = outbox();
        assert_eq!(frame(&mut frames), None, "nothing to say yet");
        outbox.push(&mut vec![kill("a")]);
        outbox.push(&mut vec![kill("b"), kill("c")]);
        drop(outbox);
        assert_eq!(frame(&mut frames), Some(Some(3)));
        assert_eq!(frame(&mut frames), Some(None));
    }

    #[test]
    fn a_frame_is_bounded_but_a_large_call_still_leaves() {
        let (outbox, mut frames) = outbox();
        let large = "x".repeat(FULL_FRAME_BYTES * 3 / 4);
        outbox.push(&mut vec![kill(&large), kill(&large), kill("small")]);
        assert_eq!(frame(&mut frames), Some(Some(1)));
        assert_eq!(frame(&mut frames), Some(Some(2)));
        outbox.push(&mut vec![kill(&large.repeat(2)), kill("small")]);
        assert_eq!(frame(&mut frames), Some(Some(1)));
        assert_eq!(frame(&mut frames), Some(Some(1)));
    }
}
