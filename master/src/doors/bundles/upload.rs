//! Receiving a blob: the rules of offsets and sizes.

use nesos_api::{MAX_CHUNK_BYTES, v1};
use nesos_types::bundle::Digest;
use tonic::{Status, Streaming};

use super::{digest, status_of};
use crate::registry::Registry;
use crate::registry::blobs::Purpose;
use crate::registry::error::BundleStoreError;
use crate::registry::objects::blocking;
use crate::registry::staging::{Upload, UploadName};

/// What the first chunk of an upload promises.
#[derive(Clone, Copy, Debug)]
struct Promise {
    digest: Digest,
    offset: u64,
    total: u64,
}

/// Receives a blob and answers its size. `beside` numbers an upload that runs beside another one.
pub(super) async fn receive(
    registry: &Registry,
    mut chunks: Streaming<v1::UploadChunk>,
    beside: impl FnOnce() -> u64,
) -> Result<u64, Status> {
    let first = chunks
        .message()
        .await?
        .ok_or_else(|| Status::invalid_argument("an upload has one chunk at least"))?;
    let promise = validate_promise(&first, registry.config.max_bytes)?;
    if let Some(bytes) = existing(registry, promise.digest).await? {
        return Ok(bytes);
    }
    let mut upload = begin(registry, promise, beside).await?;
    let mut chunk = Some(first);
    while let Some(received) = chunk {
        validate_chunk(&received, upload.received(), promise)?;
        upload = append(upload, received).await?;
        chunk = chunks.message().await?;
    }
    finish(registry, upload, promise).await
}

fn validate_promise(first: &v1::UploadChunk, max_bytes: u64) -> Result<Promise, Status> {
    let promise = Promise {
        digest: digest(&first.digest)?,
        offset: first.offset,
        total: first.total,
    };
    if promise.total > max_bytes {
        return Err(Status::resource_exhausted(format!(
            "the blob has {} bytes and this master takes {max_bytes} at most",
            promise.total
        )));
    }
    if promise.offset > promise.total {
        return Err(Status::out_of_range(format!(
            "the upload begins at byte {} of {}",
            promise.offset, promise.total
        )));
    }
    Ok(promise)
}

fn validate_chunk(chunk: &v1::UploadChunk, received: u64, promise: Promise) -> Result<(), Status> {
    if chunk.data.len() > MAX_CHUNK_BYTES {
        return Err(Status::invalid_argument(format!(
            "a chunk has {} bytes; {MAX_CHUNK_BYTES} are allowed",
            chunk.data.len()
        )));
    }
    if received + chunk.data.len() as u64 > promise.total {
        return Err(Status::out_of_range(format!(
            "more than the promised {} bytes were sent",
            promise.total
        )));
    }
    Ok(())
}

/// A blob that is here already is from now on kept as a bundle of its own, too.
async fn existing(registry: &Registry, digest: Digest) -> Result<Option<u64>, Status> {
    let blobs = &registry.blobs;
    let size = blobs
        .stat(digest)
        .await
        .map_err(|error| status_of(&error))?;
    if size.is_some() {
        let marked = blobs.mark(digest, Purpose::Bare).await;
        marked.map_err(|error| status_of(&error))?;
    }
    Ok(size)
}

/// Two clients that upload the same blob from its beginning do not have to know of one another: the
/// second one gets an upload of its own, and whoever is ready first makes the blob.
async fn begin(
    registry: &Registry,
    promise: Promise,
    beside: impl FnOnce() -> u64,
) -> Result<Upload, Status> {
    let store = registry.blobs.staging.clone();
    let name = UploadName::of_digest(promise.digest);
    let aside = name.beside(beside());
    blocking(move || match store.resume(&name, promise.offset) {
        Err(BundleStoreError::Busy) if promise.offset == 0 => store.resume(&aside, 0),
        begun => begun,
    })
    .await
    .map_err(|error| status_of(&error))
}

async fn append(mut upload: Upload, chunk: v1::UploadChunk) -> Result<Upload, Status> {
    blocking(move || {
        upload.append(&chunk.data)?;
        Ok(upload)
    })
    .await
    .map_err(|error| status_of(&error))
}

async fn finish(registry: &Registry, upload: Upload, promise: Promise) -> Result<u64, Status> {
    let received = upload.received();
    if received < promise.total {
        return Err(Status::invalid_argument(format!(
            "the upload ended after {received} of {} bytes; it can go on from there",
            promise.total
        )));
    }
    let committed = registry
        .blobs
        .commit(upload, promise.digest, Purpose::Bare)
        .await;
    committed.map_err(|error| status_of(&error))?;
    Ok(received)
}
