//! Frames: many messages of a stream in one, by draining what has queued up.
//!
//! Whoever produces messages sends them into an unbounded queue; the stream that gRPC polls takes all
//! that is there whenever the connection has room for more. A lone message leaves at once, a burst
//! leaves in few frames, and no timer stands in between. Queues are unbounded because what they hold
//! is bounded elsewhere: a cell has so many sandboxes, a sandbox so many unacknowledged statuses.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;

/// The most messages in one frame.
const MAX_MESSAGES: usize = 512;

/// A frame takes no further message once it holds this many bytes.
const FULL_BYTES: usize = 4 << 20;

/// The stream of frames of type `F` made from queued messages of type `M`.
#[derive(Debug)]
pub(crate) struct Frames<M, F> {
    queue: mpsc::UnboundedReceiver<M>,
    /// Taken from the queue and not yet sent.
    drained: std::collections::VecDeque<M>,
    buffer: Vec<M>,
    wrap: fn(Vec<M>) -> F,
}

impl<M: Message, F> Frames<M, F> {
    /// Frames of what arrives on `queue`; ends when all senders are gone and everything was sent.
    pub(crate) fn new(queue: mpsc::UnboundedReceiver<M>, wrap: fn(Vec<M>) -> F) -> Self {
        Self {
            queue,
            drained: std::collections::VecDeque::new(),
            buffer: Vec::new(),
            wrap,
        }
    }

    /// Waits for the next frame; `None` when the senders are gone and everything was taken.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<F>> {
        if self.drained.is_empty() {
            ready!(
                self.queue
                    .poll_recv_many(context, &mut self.buffer, MAX_MESSAGES)
            );
            self.drained.extend(self.buffer.drain(..));
        }
        let frame = self.take_frame();
        Poll::Ready((!frame.is_empty()).then(|| (self.wrap)(frame)))
    }

    fn take_frame(&mut self) -> Vec<M> {
        let mut bytes = 0;
        let fitting = self.drained.iter().take_while(|message| {
            let fits = bytes < FULL_BYTES;
            bytes += message.encoded_len();
            fits
        });
        let count = fitting.count();
        self.drained.drain(..count).collect()
    }
}

impl<M: Message + Unpin, F> Stream for Frames<M, F> {
    type Item = F;
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F>> {
        self.get_mut().poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use nesos_api::v1;

    use super::*;

    fn update(sequence: u64, data_bytes: usize) -> v1::CellUpdate {
        v1::CellUpdate {
            framework_id: String::new(),
            sequence,
            status: Some(v1::TaskStatus {
                data: vec![0; data_bytes],
                ..Default::default()
            }),
        }
    }

    fn sizes(data_bytes: &[usize]) -> Vec<usize> {
        let (sender, queue) = mpsc::unbounded_channel();
        for (sequence, bytes) in (1..).zip(data_bytes) {
            sender.send(update(sequence, *bytes)).expect("open");
        }
        drop(sender);
        let frames: Vec<Vec<v1::CellUpdate>> =
            futures::executor::block_on(Frames::new(queue, |frame| frame).collect());
        let order: Vec<u64> = frames.iter().flatten().map(|each| each.sequence).collect();
        assert!(order.is_sorted() && order.len() == data_bytes.len());
        frames.iter().map(Vec::len).collect()
    }

    #[test]
    fn a_burst_leaves_in_one_frame() {
        assert_eq!(sizes(&[0; 100]), [100]);
    }

    #[test]
    fn a_frame_takes_no_more_messages_than_its_limit() {
        assert_eq!(sizes(&[0; MAX_MESSAGES + 1]), [MAX_MESSAGES, 1]);
    }

    #[test]
    fn a_full_frame_takes_no_further_message() {
        assert_eq!(sizes(&[FULL_BYTES, 0, FULL_BYTES - 1, 0, 0]), [1, 2, 2]);
    }

    #[test]
    fn no_messages_are_no_frame() {
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
