//! The door of the OCI distribution specification: everything under `/v2/`. Which address means what is
//! decided here; names may hold slashes, so addresses are read from their end.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::routing::any;
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::error::RegistryError;
use super::manifests::check_name;

mod answers;
mod blobs;
mod listing;
mod manifests;
mod query;
mod uploads;

use answers::refusal;
use query::Query;

/// The digest of what is answered.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Serves the registry over HTTP.
#[derive(Clone, Debug)]
struct Door {
    registry: Registry,
    /// Cancelled when transfers may no longer go on.
    stop: CancellationToken,
}

/// A request that was read as far as its address.
struct Asked {
    method: Method,
    /// The repository.
    name: String,
    query: Query,
    headers: axum::http::HeaderMap,
}

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Catalog,
    Blob(String),
    Uploads,
    Upload(String),
    Manifest(String),
    Tags,
    Referrers(String),
}

type Answer = Result<Response<Body>, RegistryError>;

/// Everything under `/v2/`.
pub(crate) fn router(registry: Registry, stop: CancellationToken) -> Router {
    let door = Arc::new(Door { registry, stop });
    let answer = move |request: Request<Body>| {
        let door = Arc::clone(&door);
        async move { door.answer(request).await }
    };
    Router::new()
        .route("/v2", any(answer.clone()))
        .route("/v2/", any(answer.clone()))
        .route("/v2/{*rest}", any(answer))
}

impl Door {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answered = self.route(request).await;
        let mut response = answered.unwrap_or_else(|error| {
            tracing::debug!(%method, %uri, %error, "refused a request");
            refusal(&error)
        });
        let version = HeaderValue::from_static("registry/2.0");
        let key = HeaderName::from_static("docker-distribution-api-version");
        response.headers_mut().insert(key, version);
        if is_head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn route(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let (name, place) = place(&parts.uri)?;
        let asked = Asked {
            method: parts.method,
            name,
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
        };
        match (place, asked.method.as_str()) {
            (Place::Root, "GET" | "HEAD") => {
                Ok(answers::json(StatusCode::OK, &serde_json::json!({})))
            }
            (Place::Catalog, "GET") => self.catalog(&asked),
            (Place::Blob(digest), "GET" | "HEAD") => self.blob(&asked, &digest).await,
            (Place::Blob(digest), "DELETE") => self.delete_blob(&digest).await,
            (Place::Uploads, "POST") => self.begin_upload(&asked, body).await,
            (Place::Upload(id), "GET") => self.upload_status(&asked, &id),
            (Place::Upload(id), "PATCH") => self.upload_chunk(&asked, body, &id).await,
            (Place::Upload(id), "PUT") => self.finish_upload(&asked, body, &id).await,
            (Place::Upload(id), "DELETE") => self.cancel_upload(&asked, &id).await,
            (Place::Manifest(at), "GET" | "HEAD") => self.manifest(&asked, &at).await,
            (Place::Manifest(at), "PUT") => self.push_manifest(&asked, body, &at).await,
            (Place::Manifest(at), "DELETE") => self.delete_manifest(&asked, &at).await,
            (Place::Tags, "GET") => self.tags(&asked),
            (Place::Referrers(digest), "GET") => self.referrers(&asked, &digest),
            (_, method) => Err(RegistryError::Unsupported(format!(
                "{method} is not possible at this address"
            ))),
        }
    }
}

/// Reads an address from its end, and checks the repository's name.
fn place(uri: &Uri) -> Result<(String, Place), RegistryError> {
    let path = uri.path().strip_prefix("/v2").unwrap_or_default();
    let path = path.strip_prefix('/').unwrap_or(path);
    match path {
        "" => return Ok((String::new(), Place::Root)),
        "_catalog" => return Ok((String::new(), Place::Catalog)),
        _ => {}
    }
    let (name, place) = split(path)
        .ok_or_else(|| RegistryError::Unsupported("the registry has no such address".to_owned()))?;
    check_name(name)?;
    Ok((name.to_owned(), place))
}

fn split(path: &str) -> Option<(&str, Place)> {
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some((name, Place::Tags));
    }
    let uploads = path.strip_suffix("/blobs/uploads/");
    if let Some(name) = uploads.or_else(|| path.strip_suffix("/blobs/uploads")) {
        return Some((name, Place::Uploads));
    }
    let (front, last) = path.rsplit_once('/')?;
    let (name, kind) = front.rsplit_once('/')?;
    let last = last.to_owned();
    match kind {
        "manifests" => Some((name, Place::Manifest(last))),
        "referrers" => Some((name, Place::Referrers(last))),
        "blobs" => Some((name, Place::Blob(last))),
        "uploads" => Some((name.strip_suffix("/blobs")?, Place::Upload(last))),
        _ => None,
    }
}

impl Asked {
    /// A header as text.
    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the body says it is.
    fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }
}

#[cfg(test)]
mod tests;
