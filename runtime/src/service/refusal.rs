//! Answers that a service does not give itself.

use std::fmt;

use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::answer::Answer;

/// Why a request was not answered by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names no host, or one that no host can have.
    NoHost,
    /// Its body is longer than is taken.
    TooLarge,
    /// The guest trapped, or ended without an answer.
    Failed,
    /// All instances are busy and enough requests wait.
    Busy,
    /// The service ends.
    Closing,
    /// It was under way for too long.
    Late,
    /// It took too much CPU time.
    CpuTime,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late | Self::CpuTime => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What the client gets. Of the guest it says nothing: that is in the task's log.
    pub(super) fn response(self) -> Response<Answer> {
        let mut response = Response::new(Answer::text(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoHost => "the request names no valid host",
            Self::TooLarge => "the request's body is too large",
            Self::Failed => "the service failed while it answered this request",
            Self::Busy => "the service is busy",
            Self::Closing => "the service is ending",
            Self::Late => "the service did not answer in time",
            Self::CpuTime => "this request takes too much CPU time",
        })
    }
}
