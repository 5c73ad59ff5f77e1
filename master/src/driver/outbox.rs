//! The queue of messages to one peer: the driver fills it and never waits, the peer's door empties it
//! as fast as the peer reads.
//!
//! Both sides swap whole buffers under a lock that is held for some nanoseconds, so a message costs no
//! allocation and no wake-up of its own. A queue that grows beyond its bound is a peer that does not
//! read: it is dropped at once, and the peer is told so if it ever reads again.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// How a peer's stream ends, after what is still queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All is said.
    Closed,
    /// The peer did not read fast enough; what was queued is gone.
    TooSlow,
    /// The master is stopping.
    Stopping,
    /// Another master leads.
    Deposed,
}

/// The filling side. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Outbox<M>(Arc<Shared<M>>);

/// The emptying side. Dropping it means that the peer is gone.
#[derive(Debug)]
pub(crate) struct Outgoing<M>(Arc<Shared<M>>);

#[derive(Debug)]
struct Shared<M> {
    state: Mutex<State<M>>,
    waker: AtomicWaker,
    /// Cancelled as soon as nothing more will be said to the peer.
    ended: CancellationToken,
    most_queued: usize,
}

#[derive(Debug)]
struct State<M> {
    queue: VecDeque<M>,
    end: Option<End>,
}

/// A queue that holds at most `most_queued` messages.
pub(crate) fn outbox<M>(most_queued: usize) -> (Outbox<M>, Outgoing<M>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            queue: VecDeque::new(),
            end: None,
        }),
        waker: AtomicWaker::new(),
        ended: CancellationToken::new(),
        most_queued,
    });
    (Outbox(Arc::clone(&shared)), Outgoing(shared))
}

impl<M> Shared<M> {
    /// A panic while the lock is held is impossible, so poison is not a reason to give up.
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End, keep_queue: bool) {
        let dropped = {
            let mut state = self.lock();
            state.end.get_or_insert(end);
            if keep_queue {
                VecDeque::new()
            } else {
                mem::take(&mut state.queue)
            }
        };
        drop(dropped);
        self.ended.cancel();
        self.waker.wake();
    }
}

impl<M> Outbox<M> {
    /// Takes all messages of a batch. Answers false if the peer was cut because of them.
    #[must_use]
    pub(crate) fn send(&self, batch: &mut VecDeque<M>) -> bool {
        let fits = {
            let mut state = self.0.lock();
            if state.end.is_some() {
                batch.clear();
                return true;
            }
            if state.queue.is_empty() {
                mem::swap(&mut state.queue, batch);
            } else {
                state.queue.append(batch);
            }
            state.queue.len() <= self.0.most_queued
        };
        if fits {
            self.0.waker.wake();
        } else {
            self.0.end(End::TooSlow, false);
        }
        fits
    }

    /// Ends the stream after what is queued; a master that was deposed says nothing of that any more.
    pub(crate) fn close(&self, end: End) {
        self.0.end(end, end != End::Deposed);
    }

    /// Resolves as soon as nothing more will be said to the peer, so that nobody need listen to it.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.0.ended.clone()
    }
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Outgoing<M> {
    /// Waits until there is something to say, and puts it into `queue`, which must be empty. Answers
    /// how the stream ends once all was said.
    pub(crate) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        queue: &mut VecDeque<M>,
    ) -> Poll<Option<End>> {
        self.0.waker.register(cx.waker());
        let mut state = self.0.lock();
        if !state.queue.is_empty() {
            mem::swap(&mut state.queue, queue);
            return Poll::Ready(None);
        }
        match state.end {
            Some(end) => Poll::Ready(Some(end)),
            None => Poll::Pending,
        }
    }
}

impl<M> Drop for Outgoing<M> {
    fn drop(&mut self) {
        self.0.end(End::Closed, false);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn drained(outgoing: &Outgoing<u32>) -> Poll<Result<Vec<u32>, End>> {
        let mut queue = VecDeque::new();
        outgoing
            .poll_fill(&mut Context::from_waker(Waker::noop()), &mut queue)
            .map(|end| end.map_or_else(|| Ok(queue.into()), Err))
    }

    #[test]
    fn messages_come_out_in_order_and_then_the_end() {
        let (outbox, outgoing) = outbox(10);
        assert_eq!(drained(&outgoing), Poll::Pending);
        assert!(outbox.send(&mut [1, 2].into()));
        assert!(outbox.send(&mut [3].into()));
        outbox.close(End::Stopping);
        assert!(outbox.send(&mut [4].into()), "dropped, not queued");
        assert_eq!(drained(&outgoing), Poll::Ready(Ok(vec![1, 2, 3])));
        assert_eq!(drained(&outgoing), Poll::Ready(Err(End::Stopping)));
    }

    #[test]
    fn a_master_that_was_deposed_says_nothing_of_what_is_queued() {
        let (outbox, outgoing) = outbox(10);
        assert!(outbox.send(&mut [1].into()));
        outbox.close(End::Deposed);
        assert_eq!(drained(&outgoing), Poll::Ready(Err(End::Deposed)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut() {
        let (outbox, outgoing) = outbox(2);
        assert!(outbox.send(&mut [1, 2].into()));
        assert!(!outbox.send(&mut [3].into()));
        assert!(outbox.ended().is_cancelled());
        assert_eq!(drained(&outgoing), Poll::Ready(Err(End::TooSlow)));
    }

    #[test]
    fn nothing_is_kept_for_a_peer_that_is_gone() {
        let (outbox, outgoing) = outbox(2);
        drop(outgoing);
        assert!(outbox.ended().is_cancelled());
        for _ in 0..10 {
            assert!(outbox.send(&mut [1].into()));
        }
    }
}
