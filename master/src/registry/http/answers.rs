//! Answers, and refusals in the words of the specification.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::query::encode;
use crate::registry::error::{BundleStoreError, RegistryError};

/// How a refusal is said.
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: Value,
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Where something is.
pub(super) fn location(path: &str) -> HeaderValue {
    HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/v2/"))
}

/// Where a list goes on.
pub(super) fn next_page(path: &str, n: usize, last: &str) -> HeaderValue {
    location(&format!(
        "<{path}?n={n}&last={}>; rel=\"next\"",
        encode(last)
    ))
}

/// The refusal of a request.
pub(super) fn refusal(error: &RegistryError) -> Response<Body> {
    let Refusal {
        status,
        code,
        detail,
    } = said(error);
    let message = match error {
        RegistryError::Store(error) => error.in_full(),
        other => other.to_string(),
    };
    let one = json!({"code": code, "message": message, "detail": detail});
    let mut response = json(status, &json!({"errors": [one]}));
    if let RegistryError::Range {
        received: Some(received),
        ..
    } = error
    {
        response
            .headers_mut()
            .insert(header::RANGE, received_range(*received));
    }
    response
}

/// What of an upload has come: `0-<last byte>`. Of nothing it is `0-0`, as the specification has it.
pub(super) fn received_range(received: u64) -> HeaderValue {
    location(&format!("0-{}", received.saturating_sub(1)))
}

fn said(error: &RegistryError) -> Refusal {
    use StatusCode as S;
    let say = |status, code, detail| Refusal {
        status,
        code,
        detail,
    };
    match error {
        RegistryError::Name { name, .. } => {
            say(S::BAD_REQUEST, "NAME_INVALID", json!({"name": name}))
        }
        RegistryError::Reference(_) => say(S::BAD_REQUEST, "TAG_INVALID", json!({})),
        RegistryError::Digest(_) => say(S::BAD_REQUEST, "DIGEST_INVALID", json!({})),
        RegistryError::NoRepository(name) => {
            say(S::NOT_FOUND, "NAME_UNKNOWN", json!({"name": name}))
        }
        RegistryError::NoManifest { name, reference } => {
            let detail = json!({"name": name, "reference": reference});
            say(S::NOT_FOUND, "MANIFEST_UNKNOWN", detail)
        }
        RegistryError::NoBlob(digest) => say(
            S::NOT_FOUND,
            "BLOB_UNKNOWN",
            json!({"digest": digest.to_string()}),
        ),
        RegistryError::NamesNothing(digest) => {
            let detail = json!({"digest": digest.to_string()});
            say(S::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", detail)
        }
        RegistryError::NoUpload(id) => {
            say(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", json!({"upload": id}))
        }
        RegistryError::Manifest(_) => say(S::BAD_REQUEST, "MANIFEST_INVALID", json!({})),
        RegistryError::TooLarge { bytes, most, .. } => {
            let detail = json!({"bytes": bytes, "most": most});
            say(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID", detail)
        }
        RegistryError::Range { received, .. } => {
            let detail = json!({"received": received});
            say(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", detail)
        }
        RegistryError::Quota {
            whose,
            would,
            most,
            key,
            ..
        } => {
            let detail = json!({"whose": whose, "would": would, "most": most, "key": key});
            say(S::FORBIDDEN, "DENIED", detail)
        }
        RegistryError::TooMany(_) => say(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", json!({})),
        RegistryError::InUse(_) => say(S::FORBIDDEN, "DENIED", json!({})),
        RegistryError::Unsupported(_) => say(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", json!({})),
        RegistryError::BrokenOff(received) => {
            let detail = json!({"received": received});
            say(S::BAD_REQUEST, "BLOB_UPLOAD_INVALID", detail)
        }
        RegistryError::Store(error) => said_by_store(error),
        RegistryError::Lost(_) => say(S::INTERNAL_SERVER_ERROR, "UNKNOWN", json!({})),
    }
}

fn said_by_store(error: &BundleStoreError) -> Refusal {
    let (status, code) = match error {
        BundleStoreError::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        BundleStoreError::OffsetBeyond { .. } => {
            (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID")
        }
        BundleStoreError::Busy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
        BundleStoreError::Deposed => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        BundleStoreError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "DENIED"),
        BundleStoreError::Damaged { .. } => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        BundleStoreError::Io { .. }
        | BundleStoreError::Object { .. }
        | BundleStoreError::Config { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    };
    Refusal {
        status,
        code,
        detail: json!({}),
    }
}
