//! A conversation: one bidirectional stream with a scheduler or an agent. The two differ in what they
//! say and in nothing else.
//!
//! One task listens and hands whole frames to the driver, waiting while the driver is behind, which
//! holds up the peer. What the driver says is polled by the connection itself: no task of our own
//! stands between the queue and the socket.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use nesos_api::WireError;
use nesos_master_core::ConnectionId;
use nesos_types::message::Refusal;
use tonic::{Status, Streaming};

use super::frames::{Outward, next_frame};
use crate::driver::input::{DriverHandle, Input, Stopping};
use crate::driver::outbox::{End, Outbox, Outgoing, outbox};
use crate::store::fence::Fence;

/// What a peer of one kind says, and how the driver hears it.
pub(crate) trait Inward: Sized + Send + 'static {
    /// What the master says to such a peer.
    type Reply: Outward;
    /// What a peer says, on the wire.
    type Wire: TryInto<Self, Error = WireError> + Send;
    /// A frame of it.
    type Frame: Send + 'static;

    /// What is kept of messages that are parts of a later one.
    type Parts: Default + Send;

    /// The messages of a frame.
    fn messages(frame: Self::Frame) -> Vec<Self::Wire>;
    /// Puts a message together that comes in parts: none until it is whole.
    fn assemble(parts: &mut Self::Parts, wire: Self::Wire)
    -> Result<Option<Self::Wire>, WireError>;
    /// The name of a message, for answers about it.
    fn name(wire: &Self::Wire) -> &'static str;
    /// Whether a conversation may begin with this message.
    fn opens(wire: &Self::Wire) -> bool;

    /// A peer has begun a conversation.
    fn connected(connection: ConnectionId, outbox: Outbox<Self::Reply>) -> Input;
    /// It said something.
    fn said(connection: ConnectionId, messages: Vec<Self>) -> Input;
    /// The conversation is over.
    fn disconnected(connection: ConnectionId) -> Input;
}

/// Begins a conversation: listens in the background, and answers what is to be sent.
pub(crate) fn converse<I: Inward>(
    frames: Streaming<I::Frame>,
    driver: DriverHandle,
    most_queued: usize,
) -> Speaker<I::Reply> {
    let (outbox, outgoing) = outbox(most_queued);
    let fence = driver.fence();
    let listener = Listener::<I> {
        connection: driver.next_connection(),
        driver,
        outbox,
        opened: false,
        parts: I::Parts::default(),
    };
    tokio::spawn(listener.listen(frames));
    Speaker {
        outgoing,
        fence,
        queue: VecDeque::new(),
        over: false,
    }
}

/// The listening half.
struct Listener<I: Inward> {
    connection: ConnectionId,
    driver: DriverHandle,
    outbox: Outbox<I::Reply>,
    /// Whether the driver knows of the connection.
    opened: bool,
    parts: I::Parts,
}

impl<I: Inward> Listener<I> {
    async fn listen(mut self, mut frames: Streaming<I::Frame>) {
        let (ended, driver) = (self.outbox.ended(), self.driver.clone());
        let heard = tokio::select! {
            heard = self.hear_all(&mut frames) => heard,
            () = ended.cancelled() => Ok(()),
            () = driver.ended() => Err(Stopping),
        };
        let end = match heard {
            Ok(()) => End::Closed,
            Err(Stopping) => End::Stopping,
        };
        if self.opened {
            // Fails if the driver has ended, and then there is nobody to tell.
            let _ = self.driver.send(I::disconnected(self.connection)).await;
        }
        self.outbox.close(end);
    }

    /// Listens until the peer has nothing more to say, says what it may not, or is gone.
    async fn hear_all(&mut self, frames: &mut Streaming<I::Frame>) -> Result<(), Stopping> {
        loop {
            match frames.message().await {
                Ok(Some(frame)) => {
                    if !self.hear(frame).await? {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::debug!(connection = self.connection.0, %status, "a stream broke");
                    return Ok(());
                }
            }
        }
    }

    /// Hands a frame to the driver. Answers whether the conversation goes on.
    async fn hear(&mut self, frame: I::Frame) -> Result<bool, Stopping> {
        let wires = I::messages(frame);
        let mut messages = Vec::with_capacity(wires.len());
        for wire in wires {
            let name = I::name(&wire);
            let wire = match I::assemble(&mut self.parts, wire) {
                Ok(Some(wire)) => wire,
                Ok(None) => continue,
                Err(error) => {
                    self.refuse(error.into_refusal(name));
                    return Ok(false);
                }
            };
            if !self.opened && messages.is_empty() && !I::opens(&wire) {
                self.refuse(Refusal::NotSubscribed);
                return Ok(false);
            }
            match wire.try_into() {
                Ok(message) => messages.push(message),
                Err(error) => self.refuse(error.into_refusal(name)),
            }
        }
        self.hand_over(messages).await?;
        Ok(true)
    }

    async fn hand_over(&mut self, messages: Vec<I>) -> Result<(), Stopping> {
        if messages.is_empty() {
            return Ok(());
        }
        if !self.opened {
            self.opened = true;
            let input = I::connected(self.connection, self.outbox.clone());
            self.driver.send(input).await?;
        }
        self.driver.send(I::said(self.connection, messages)).await
    }

    /// Answers a message without troubling the driver.
    fn refuse(&self, refusal: Refusal) {
        let mut batch = VecDeque::from([I::Reply::refusal(refusal)]);
        // A peer that is cut for this notices it as any other does: its stream ends.
        let _ = self.outbox.send(&mut batch);
    }
}

/// The speaking half: a stream of frames.
#[derive(Debug)]
pub(crate) struct Speaker<M> {
    outgoing: Outgoing<M>,
    fence: Fence,
    queue: VecDeque<M>,
    over: bool,
}

impl<M: Outward> Stream for Speaker<M> {
    type Item = Result<M::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if this.queue.is_empty()
            && let Some(end) = std::task::ready!(this.outgoing.poll_fill(cx, &mut this.queue))
        {
            this.over = true;
            return Poll::Ready(last_words::<M>(end));
        }
        // What was decided in time may have waited here while the whole process was paused.
        if !this.fence.holds() {
            this.over = true;
            return Poll::Ready(last_words::<M>(End::Deposed));
        }
        Poll::Ready(Some(Ok(next_frame(&mut this.queue))))
    }
}

/// What a stream ends with.
fn last_words<M: Outward>(end: End) -> Option<Result<M::Frame, Status>> {
    match end {
        End::Closed => None,
        End::TooSlow => Some(Ok(M::frame(vec![M::refusal(Refusal::TooSlow).wire()]))),
        End::Stopping => Some(Err(Status::unavailable("the master is stopping"))),
        End::Deposed => Some(Err(Status::unavailable("another master leads, or will"))),
    }
}
