//! What a master says that does not lead: to gRPC clients `UNAVAILABLE`, which they take for a reason to try
//! again, to others a redirection, and to all of them who leads, if that is known.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use nesos_api::masters::{LEADER_KEY, STANDBY_KEY};
use tonic::Status;

/// Why a master does not lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Another one does, at this address.
    Standby(String),
    /// Nobody does as far as is known, for this cause.
    Waiting(String),
    /// It will, once it knows what there is.
    Recovering,
}

impl Standing {
    fn leader(&self) -> Option<&str> {
        match self {
            Self::Standby(leader) => Some(leader),
            Self::Waiting(_) | Self::Recovering => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Standby(leader) => format!("this master stands by; {leader} leads"),
            Self::Waiting(why) => format!("this master stands by and nobody leads: {why}"),
            Self::Recovering => "this master is recovering; try again in a moment".to_owned(),
        }
    }

    /// The answer to a request, of whatever kind.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            return Status::unavailable(self.message()).into_http();
        }
        let mut response = Response::new(Body::from(self.message() + "\n"));
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let location = self.leader().map(|leader| format!("{leader}{target}"));
        let (status, name, value) = match location.and_then(|at| HeaderValue::try_from(at).ok()) {
            Some(location) => (StatusCode::TEMPORARY_REDIRECT, LOCATION, location),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_AFTER,
                HeaderValue::from_static("1"),
            ),
        };
        *response.status_mut() = status;
        response.headers_mut().insert(name, value);
        response
    }

    /// Names the leader, or says what is waited for.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let (key, value) = match self {
            Self::Standby(leader) => (LEADER_KEY, leader.clone()),
            other => (STANDBY_KEY, other.message()),
        };
        // What no header can carry is left out; it is only there to be read.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(key), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(standing: &Standing, kind: &'static str) -> Response {
        let request = Request::builder()
            .uri("/v2/a/tags/list?n=1")
            .header(CONTENT_TYPE, kind)
            .body(Body::empty())
            .unwrap();
        let mut response = standing.answer(&request);
        standing.mark(response.headers_mut());
        response
    }

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers().get(name)?.to_str().ok()
    }

    #[test]
    fn grpc_clients_are_told_to_try_elsewhere() {
        let standby = Standing::Standby("http://b:5050".to_owned());
        let response = asked(&standby, "application/grpc+proto");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "grpc-status"), Some("14"));
        assert_eq!(header(&response, LEADER_KEY), Some("http://b:5050"));
        let recovering = asked(&Standing::Recovering, "application/grpc");
        assert_eq!(header(&recovering, "grpc-status"), Some("14"));
        assert_eq!(header(&recovering, LEADER_KEY), None);
        assert!(
            header(&recovering, STANDBY_KEY)
                .unwrap()
                .contains("recovering")
        );
    }

    #[test]
    fn other_clients_are_redirected_or_asked_to_come_back() {
        let standby = Standing::Standby("http://b:5050".to_owned());
        let response = asked(&standby, "text/html");
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        let location = header(&response, "location");
        assert_eq!(location, Some("http://b:5050/v2/a/tags/list?n=1"));
        let waiting = asked(&Standing::Waiting("no etcd".to_owned()), "text/html");
        assert_eq!(waiting.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&waiting, "retry-after"), Some("1"));
    }
}
