//! Uploads of blobs: in one request, in one piece or in many, with as many connections as it takes.
//!
//! An upload is a session of one repository. What arrived stays, also when the client breaks off or the
//! master restarts; its status says where to go on.

use axum::body::Body;
use axum::http::{HeaderName, Response, StatusCode, header};
use nesos_types::bundle::Digest;
use rand::TryRngCore;

use super::blobs::parse;
use super::{Answer, Asked, CONTENT_DIGEST, Door, answers};
use crate::registry::blobs::Purpose;
use crate::registry::error::RegistryError;
use crate::registry::objects::blocking;
use crate::registry::staging::{Upload, UploadName};

mod receive;

use receive::receive;

/// The name of an upload, for clients that keep it.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Door {
    pub(super) async fn begin_upload(&self, asked: &Asked, body: Body) -> Answer {
        if let Some(mounted) = self.mount(asked).await? {
            return Ok(mounted);
        }
        let most = self.registry.config.max_uploads;
        if self.registry.blobs.staging.count() >= most {
            return Err(RegistryError::TooMany(format!(
                "{most} uploads are under way or were not finished (bundles.max_uploads); try again later"
            )));
        }
        let upload_name = UploadName::session(&asked.name, random()?);
        let Some(digest) = asked.query.get("digest") else {
            self.resume(&upload_name, 0).await?;
            return Ok(under_way(
                &asked.name,
                &upload_name,
                0,
                StatusCode::ACCEPTED,
            ));
        };
        let digest = parse(digest)?;
        let upload = self.resume(&upload_name, 0).await?;
        let completed = self.complete(upload, asked, body, digest).await;
        if completed.is_err() {
            // Nobody was told its name, so nobody will go on with it; it may be gone already.
            let staging = self.registry.blobs.staging.clone();
            let _ = blocking(move || staging.discard(&upload_name)).await;
        }
        completed
    }

    /// A blob that is here already needs no upload, wherever it came from.
    async fn mount(&self, asked: &Asked) -> Result<Option<Response<Body>>, RegistryError> {
        let Some(digest) = asked.query.get("mount") else {
            return Ok(None);
        };
        let digest = parse(digest)?;
        let there = self.registry.blobs.stat(digest).await?.is_some();
        Ok(there.then(|| stored(&asked.name, digest)))
    }

    pub(super) fn upload_status(&self, asked: &Asked, id: &str) -> Answer {
        let (name, received) = self.known(asked, id)?;
        Ok(under_way(
            &asked.name,
            &name,
            received,
            StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn upload_chunk(&self, asked: &Asked, body: Body, id: &str) -> Answer {
        let (name, received) = self.known(asked, id)?;
        check_start(asked, received)?;
        let upload = self.resume(&name, received).await?;
        let upload = self.take(upload, asked, body).await?;
        Ok(under_way(
            &asked.name,
            &name,
            upload.received(),
            StatusCode::ACCEPTED,
        ))
    }

    pub(super) async fn finish_upload(&self, asked: &Asked, body: Body, id: &str) -> Answer {
        let (name, received) = self.known(asked, id)?;
        let digest = asked.query.get("digest").ok_or_else(|| {
            RegistryError::Digest("an upload is finished with ?digest=sha256:…".to_owned())
        })?;
        let digest = parse(digest)?;
        check_start(asked, received)?;
        let upload = self.resume(&name, received).await?;
        self.complete(upload, asked, body, digest).await
    }

    pub(super) async fn cancel_upload(&self, asked: &Asked, id: &str) -> Answer {
        let (name, _) = self.known(asked, id)?;
        let staging = self.registry.blobs.staging.clone();
        blocking(move || staging.discard(&name)).await?;
        Ok(answers::empty(StatusCode::NO_CONTENT))
    }

    /// An upload of this repository, and how much of it has come.
    fn known(&self, asked: &Asked, id: &str) -> Result<(UploadName, u64), RegistryError> {
        let unknown = || RegistryError::NoUpload(id.chars().take(80).collect());
        let name: UploadName = id.parse().map_err(|_| unknown())?;
        if !name.belongs_to(&asked.name) {
            return Err(unknown());
        }
        let received = self.registry.blobs.staging.received(&name)?;
        Ok((name, received.ok_or_else(unknown)?))
    }

    async fn resume(&self, name: &UploadName, offset: u64) -> Result<Upload, RegistryError> {
        let (staging, name) = (self.registry.blobs.staging.clone(), name.clone());
        Ok(blocking(move || staging.resume(&name, offset)).await?)
    }

    /// Takes what the request carries.
    async fn take(
        &self,
        upload: Upload,
        asked: &Asked,
        body: Body,
    ) -> Result<Upload, RegistryError> {
        let most = self.registry.config.max_bytes;
        let promised = upload
            .received()
            .saturating_add(asked.length().unwrap_or_default());
        if promised > most {
            let (what, bytes) = ("the blob", promised);
            return Err(RegistryError::TooLarge { what, bytes, most });
        }
        let flush = self.registry.blobs.objects.flushes();
        receive(upload, body, most, &self.stop, flush).await
    }

    async fn complete(&self, upload: Upload, asked: &Asked, body: Body, digest: Digest) -> Answer {
        let upload = self.take(upload, asked, body).await?;
        self.registry
            .blobs
            .commit(upload, digest, Purpose::Layer)
            .await?;
        Ok(stored(&asked.name, digest))
    }
}

/// A chunk that says where it begins must begin where the upload stands, and be as long as it says.
fn check_start(asked: &Asked, received: u64) -> Result<(), RegistryError> {
    let Some(text) = asked.header(header::CONTENT_RANGE) else {
        return Ok(());
    };
    let refused = |why: String| RegistryError::Range {
        why,
        received: Some(received),
    };
    let range = text.strip_prefix("bytes ").unwrap_or(text);
    let range = range.split('/').next().unwrap_or_default();
    let ends = range.split_once('-');
    let ends = ends.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let Some((first, last)): Option<(u64, u64)> = ends else {
        let text: String = text.chars().take(80).collect();
        return Err(refused(format!(
            "{text:?} is no range of a chunk; write FIRST-LAST"
        )));
    };
    if first != received {
        return Err(refused(format!(
            "the chunk begins at byte {first}, and the upload stands at {received}; go on there"
        )));
    }
    let length = last
        .checked_sub(first)
        .and_then(|length| length.checked_add(1));
    match asked.length() {
        Some(sent) if length != Some(sent) => Err(refused(format!(
            "the chunk says {first}-{last} and has {sent} bytes"
        ))),
        _ => Ok(()),
    }
}

/// The answer about an upload that is not finished.
fn under_way(
    repository: &str,
    name: &UploadName,
    received: u64,
    status: StatusCode,
) -> Response<Body> {
    let mut response = answers::empty(status);
    let headers = response.headers_mut();
    let place = format!("/v2/{repository}/blobs/uploads/{}", name.as_str());
    headers.insert(header::LOCATION, answers::location(&place));
    headers.insert(header::RANGE, answers::received_range(received));
    headers.insert(UPLOAD_ID, answers::location(name.as_str()));
    response
}

/// The answer about a blob that is here now.
fn stored(repository: &str, digest: Digest) -> Response<Body> {
    let mut response = answers::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    let place = format!("/v2/{repository}/blobs/{digest}");
    headers.insert(header::LOCATION, answers::location(&place));
    headers.insert(CONTENT_DIGEST, answers::location(&digest.to_string()));
    response
}

/// A name that nobody guesses.
fn random() -> Result<u128, RegistryError> {
    let mut bytes = [0; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| {
            RegistryError::TooMany(format!("the system gives no randomness: {error}"))
        })?;
    Ok(u128::from_le_bytes(bytes))
}
