//! Receiving a blob: the rules of offsets and sizes.

use std::sync::Arc;

use nesos_api::{MAX_CHUNK_BYTES, v1};
use nesos_types::bundle::Digest;
use tonic::{Status, Streaming};

use super::{blocking, digest};
use crate::bundle_store::{BundleStore, BundleStoreError, Upload, UploadName};

/// What the first chunk of an upload promises.
#[derive(Clone, Copy, Debug)]
struct Promise {
    digest: Digest,
    offset: u64,
    total: u64,
}

/// Receives a blob and answers its size. `beside` numbers an upload that runs beside another one.
pub(super) async fn receive(
    store: Arc<dyn BundleStore>,
    mut chunks: Streaming<v1::UploadChunk>,
    max_bytes: u64,
    beside: impl FnOnce() -> u64,
) -> Result<u64, Status> {
    let first = chunks
        .message()
        .await?
        .ok_or_else(|| Status::invalid_argument("an upload has one chunk at least"))?;
    let promise = validate_promise(&first, max_bytes)?;
    if let Some(bytes) = existing(&store, promise.digest).await? {
        return Ok(bytes);
    }
    let mut upload = begin(store, promise, beside).await?;
    let mut chunk = Some(first);
    while let Some(received) = chunk {
        validate_chunk(&received, upload.received(), promise)?;
        upload = append(upload, received).await?;
        chunk = chunks.message().await?;
    }
    finish(upload, promise).await
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

async fn existing(store: &Arc<dyn BundleStore>, digest: Digest) -> Result<Option<u64>, Status> {
    let store = Arc::clone(store);
    blocking(move || store.stat(digest)).await
}

/// Two clients that upload the same blob from its beginning do not have to know of one another: the
/// second one gets an upload of its own, and whoever is ready first makes the blob.
async fn begin(
    store: Arc<dyn BundleStore>,
    promise: Promise,
    beside: impl FnOnce() -> u64,
) -> Result<Box<dyn Upload>, Status> {
    let name = UploadName::of_digest(promise.digest);
    let aside = name.beside(beside());
    blocking(move || match store.resume(&name, promise.offset) {
        Err(BundleStoreError::Busy) if promise.offset == 0 => store.resume(&aside, 0),
        begun => begun,
    })
    .await
}

async fn append(
    mut upload: Box<dyn Upload>,
    chunk: v1::UploadChunk,
) -> Result<Box<dyn Upload>, Status> {
    blocking(move || {
        upload.append(&chunk.data)?;
        Ok(upload)
    })
    .await
}

async fn finish(upload: Box<dyn Upload>, promise: Promise) -> Result<u64, Status> {
    let received = upload.received();
    if received < promise.total {
        return Err(Status::invalid_argument(format!(
            "the upload ended after {received} of {} bytes; it can go on from there",
            promise.total
        )));
    }
    blocking(move || upload.commit(promise.digest)).await?;
    tracing::debug!(digest = %promise.digest, bytes = received, "stored a blob");
    Ok(received)
}
