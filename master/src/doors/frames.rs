//! Frames: as many messages as are waiting, up to a size that keeps both sides busy.

use std::collections::VecDeque;

use nesos_api::MAX_FRAME_BYTES;
use nesos_types::message::Refusal;
use prost::Message;

/// A frame is closed when it has this size: large enough to make its overhead vanish, small enough
/// for the peer to work on it while the next one is made.
const FRAME_TARGET_BYTES: usize = 256 << 10;

/// What an entry of a frame costs beside its own bytes: a tag and a length.
const ENTRY_OVERHEAD_BYTES: usize = 6;

/// A message that the master sends.
pub(crate) trait Outward: Send + Sized + Unpin + 'static {
    /// The message on the wire.
    type Wire: Message;
    /// A frame of such messages.
    type Frame: Send + 'static;

    /// The message that says that something was refused.
    fn refusal(refusal: Refusal) -> Self;

    /// The message on the wire.
    fn wire(&self) -> Self::Wire;

    /// A frame of these messages.
    fn frame(messages: Vec<Self::Wire>) -> Self::Frame;

    /// Splits a message that is too large for a frame: keeps its first half and answers the second.
    /// `None` if there is nothing to split.
    fn split(&mut self) -> Option<Self>;
}

/// Takes the next frame out of a queue that is not empty.
pub(crate) fn next_frame<M: Outward>(queue: &mut VecDeque<M>) -> M::Frame {
    let mut messages = Vec::with_capacity(queue.len().min(1024));
    let mut bytes = 0;
    while let Some(mut message) = queue.pop_front() {
        let wire = message.wire();
        let size = wire.encoded_len() + ENTRY_OVERHEAD_BYTES;
        if size > MAX_FRAME_BYTES
            && let Some(rest) = message.split()
        {
            queue.push_front(rest);
            queue.push_front(message);
            continue;
        }
        if bytes + size > FRAME_TARGET_BYTES && !messages.is_empty() {
            queue.push_front(message);
            break;
        }
        bytes += size;
        messages.push(wire);
    }
    M::frame(messages)
}

/// Splits off the second half of a list, unless it has fewer than two elements.
pub(crate) fn split_half<T>(list: &mut Vec<T>) -> Option<Vec<T>> {
    (list.len() > 1).then(|| list.split_off(list.len() / 2))
}

#[cfg(test)]
mod tests;
