//! The body of an answer on its way to the client, at the client's pace.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::request::{Leave, Over};

/// The body of an answer.
pub(super) enum Answer {
    /// From the host.
    Text(Option<Bytes>),
    /// From the guest.
    Guest(Streamed),
}

/// What a guest sends, piece by piece.
pub(super) struct Streamed {
    inner: HyperOutgoingBody,
    leave: Leave,
    deadline: Option<Instant>,
    /// Bytes that the client still expects, if the headers said how many there are.
    expected: Option<u64>,
    /// Set when there was something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why an answer breaks off: the client sees a connection that is closed too early.
#[derive(Debug, Error)]
pub(super) enum BrokenOff {
    #[error("the request's time has passed")]
    Late,
    #[error("the guest failed")]
    Failed,
}

impl Answer {
    pub(super) fn text(text: String) -> Self {
        Self::Text(Some(text.into()))
    }

    /// A guest's; `expected` is how many bytes of it the client will see, if that is known.
    pub(super) fn guest(
        inner: HyperOutgoingBody,
        leave: Leave,
        deadline: Option<Instant>,
        expected: Option<u64>,
    ) -> Self {
        let mut streamed = Streamed {
            inner,
            leave,
            deadline,
            expected,
            timer: None,
        };
        streamed.passed(0);
        Self::Guest(streamed)
    }
}

impl Streamed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.passed(frame.data_ref().map_or(0, |data| data.len() as u64));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BrokenOff::Failed))),
            Poll::Ready(None) => Poll::Ready(self.end()),
            Poll::Pending => self.poll_deadline(cx),
        }
    }

    /// So many bytes more are on their way. hyper looks no further than to the last that the client expects.
    fn passed(&mut self, bytes: u64) {
        let left = self.expected.map(|expected| expected.saturating_sub(bytes));
        self.expected = left;
        if left == Some(0) {
            self.leave.satisfied();
        }
    }

    /// The guest sends no more. If that is because it has failed, this is not the end of the answer.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, BrokenOff>> {
        let over = self.leave.ticket().and_then(|ticket| ticket.over());
        match over {
            Some(Over::Late) => return Some(Err(BrokenOff::Late)),
            Some(Over::Failed | Over::Gone) => return Some(Err(BrokenOff::Failed)),
            None => {}
        }
        self.leave.satisfied();
        None
    }

    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        std::task::ready!(timer.as_mut().poll(cx));
        if let Some(ticket) = self.leave.ticket() {
            ticket.end(Over::Late);
        }
        Poll::Ready(Some(Err(BrokenOff::Late)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Guest(streamed) => streamed.poll_next(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Guest(_) => SizeHint::default(),
        }
    }
}
