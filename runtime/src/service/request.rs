//! A request on its way: what is asked, by whom it is waited for, and how far it is.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::refusal::Refusal;
use crate::cpu::Job;

/// Bytes of a request's body that are taken.
pub(super) const MAX_BODY_BYTES: u64 = 64 << 20;

/// What waits for an instance.
pub(super) struct Ask {
    pub(super) errand: Errand,
    pub(super) ticket: Arc<Ticket>,
    /// When it has to be answered.
    pub(super) deadline: Option<Instant>,
}

/// What an instance is to do.
pub(super) enum Errand {
    /// Answer a request.
    Http {
        request: Box<Request<RequestBody>>,
        answer: oneshot::Sender<Result<Response<HyperOutgoingBody>, Refusal>>,
    },
    /// Say how it is.
    Health(oneshot::Sender<Result<(), String>>),
}

impl Ask {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_forsaken(&self) -> bool {
        match &self.errand {
            Errand::Http { answer, .. } => answer.is_closed(),
            Errand::Health(answer) => answer.is_closed(),
        }
    }

    /// Says that nobody will answer.
    pub(super) fn refuse(self, refusal: Refusal) {
        // Who has gone away does not mind.
        match self.errand {
            Errand::Http { answer, .. } => drop(answer.send(Err(refusal))),
            Errand::Health(answer) => drop(answer.send(Err(refusal.to_string()))),
        }
    }
}

/// How far a request is, known to those who wait for it and to the instance that answers it.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    stage: AtomicU8,
    job: OnceLock<Arc<Job>>,
}

/// Why the instance need not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Over {
    /// The client went away.
    Gone = 1,
    /// Its time has passed.
    Late = 2,
    /// The guest has failed: what there is of the answer is not all of it.
    Failed = 3,
}

impl Ticket {
    /// This job answers it.
    pub(super) fn taken_by(&self, job: &Arc<Job>) {
        if self.over().is_some() {
            self.job.get_or_init(|| job.clone()).hurry();
        } else {
            self.job.get_or_init(|| job.clone());
        }
    }

    /// The first end counts. Whoever answers it hears of that very soon.
    pub(super) fn end(&self, over: Over) {
        let set = self
            .stage
            .compare_exchange(0, over as u8, Ordering::AcqRel, Ordering::Acquire);
        if let (Ok(_), Some(job)) = (set, self.job.get()) {
            job.hurry();
        }
    }

    /// Why it is over, if it is.
    pub(super) fn over(&self) -> Option<Over> {
        match self.stage.load(Ordering::Acquire) {
            1 => Some(Over::Gone),
            2 => Some(Over::Late),
            3 => Some(Over::Failed),
            _ => None,
        }
    }
}

/// Held for as long as somebody waits for the answer.
#[derive(Debug)]
pub(super) struct Leave(Option<Arc<Ticket>>);

impl Leave {
    pub(super) fn new(ticket: Arc<Ticket>) -> Self {
        Self(Some(ticket))
    }

    /// The ticket, unless all of the answer was seen.
    pub(super) fn ticket(&self) -> Option<&Ticket> {
        self.0.as_deref()
    }

    /// All of the answer was seen; the instance may go on with whatever it does after it.
    pub(super) fn satisfied(&mut self) {
        self.0 = None;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(ticket) = &self.0 {
            ticket.end(Over::Gone);
        }
    }
}

/// A request's body, cut off where it is longer than is taken.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    left: u64,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming) -> Self {
        let left = MAX_BODY_BYTES;
        Self { inner, left }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled.map_err(Self::Error::Hyper);
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                let error = Self::Error::HttpRequestBodySize(Some(MAX_BODY_BYTES));
                return Poll::Ready(Some(Err(error)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
