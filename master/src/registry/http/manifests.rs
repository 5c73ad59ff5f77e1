//! Manifests by tag or digest.

use axum::body::Body;
use axum::http::{HeaderName, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use nesos_bundle::oci::MAX_MANIFEST_BYTES;

use super::{Answer, Asked, CONTENT_DIGEST, Door, answers};
use crate::registry::error::RegistryError;
use crate::registry::manifests::Reference;

/// Says that the manifest's subject was understood.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Door {
    pub(super) async fn manifest(&self, asked: &Asked, at: &str) -> Answer {
        let (digest, entry) = self.registry.find(&asked.name, &Reference::parse(at)?)?;
        check_accepted(asked, &entry.media_type)?;
        let body = match asked.method {
            Method::HEAD => Body::empty(),
            _ => Body::from(self.registry.manifest_bytes(digest).await?),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, answers::location(&entry.media_type));
        headers.insert(header::CONTENT_LENGTH, entry.size.into());
        let digest = answers::location(&digest.to_string());
        headers.insert(header::ETAG, digest.clone());
        headers.insert(CONTENT_DIGEST, digest);
        Ok(response)
    }

    pub(super) async fn push_manifest(&self, asked: &Asked, body: Body, at: &str) -> Answer {
        let reference = Reference::parse(at)?;
        let sent_as = asked.header(header::CONTENT_TYPE).map(str::to_owned);
        let promised = asked.length();
        let name = &asked.name;
        let limited = Limited::new(body, MAX_MANIFEST_BYTES);
        let bytes = limited.collect().await.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => RegistryError::TooLarge {
                    what: "the manifest",
                    bytes: promised.unwrap_or(MAX_MANIFEST_BYTES as u64 + 1),
                    most: MAX_MANIFEST_BYTES as u64,
                },
                None => RegistryError::BrokenOff(0),
            }
        })?;
        let bytes = bytes.to_bytes();
        let pushed = self
            .registry
            .push(name, &reference, sent_as.as_deref(), bytes)
            .await?;
        let mut response = answers::empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        let place = format!("/v2/{name}/manifests/{}", pushed.digest);
        headers.insert(header::LOCATION, answers::location(&place));
        headers.insert(
            CONTENT_DIGEST,
            answers::location(&pushed.digest.to_string()),
        );
        if let Some(subject) = pushed.subject {
            headers.insert(OCI_SUBJECT, answers::location(&subject.to_string()));
        }
        Ok(response)
    }

    pub(super) async fn delete_manifest(&self, asked: &Asked, at: &str) -> Answer {
        let reference = Reference::parse(at)?;
        self.registry.delete(&asked.name, &reference).await?;
        Ok(answers::empty(StatusCode::ACCEPTED))
    }
}

/// A client that says what it takes is not given anything else.
fn check_accepted(asked: &Asked, media_type: &str) -> Result<(), RegistryError> {
    let mut said = asked.headers.get_all(header::ACCEPT).iter().peekable();
    if said.peek().is_none() {
        return Ok(());
    }
    let said: Vec<_> = said.filter_map(|value| value.to_str().ok()).collect();
    let mut kinds = said.iter().flat_map(|value| value.split(','));
    let accepted = kinds.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == media_type || ["*/*", "application/*"].contains(&kind)
    });
    if accepted {
        return Ok(());
    }
    Err(RegistryError::NoManifest {
        name: asked.name.clone(),
        reference: format!(
            "manifest of the types {}; it is of the type {media_type}",
            said.join(", ")
        ),
    })
}
