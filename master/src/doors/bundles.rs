//! The bundles' door: blobs up and down, in chunks. It knows the rules of uploading; where blobs are
//! kept is the store's affair.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use nesos_api::v1;
use nesos_api::v1::bundle_service_server::BundleService;
use nesos_types::bundle::Digest;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::bundle_store::{BundleStore, BundleStoreError, UploadName};

mod download;
mod upload;

/// Serves `BundleService`.
#[derive(Debug)]
pub(crate) struct BundleDoor {
    store: Arc<dyn BundleStore>,
    /// The largest blob that is taken, in bytes.
    max_bytes: u64,
    /// Numbers uploads of a blob that somebody else is uploading as well.
    beside: AtomicU64,
    /// Cancelled when transfers may no longer go on.
    stop: CancellationToken,
}

impl BundleDoor {
    pub(crate) fn new(
        store: Arc<dyn BundleStore>,
        max_bytes: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            max_bytes,
            beside: AtomicU64::new(1),
            stop,
        }
    }
}

#[tonic::async_trait]
impl BundleService for BundleDoor {
    async fn stat(
        &self,
        request: Request<v1::StatRequest>,
    ) -> Result<Response<v1::StatResponse>, Status> {
        let digest = digest(&request.get_ref().digest)?;
        let store = Arc::clone(&self.store);
        let response = blocking(move || {
            Ok(match store.stat(digest)? {
                Some(bytes) => v1::StatResponse {
                    complete: true,
                    bytes,
                },
                None => v1::StatResponse {
                    complete: false,
                    bytes: store.uploaded(&UploadName::of_digest(digest))?,
                },
            })
        });
        response.await.map(Response::new)
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadResponse>, Status> {
        let received = upload::receive(
            Arc::clone(&self.store),
            request.into_inner(),
            self.max_bytes,
            || self.beside.fetch_add(1, Ordering::Relaxed),
        );
        match self.stop.run_until_cancelled(received).await {
            Some(result) => result.map(|bytes| Response::new(v1::UploadResponse { bytes })),
            None => Err(Status::unavailable("the master is stopping")),
        }
    }

    type DownloadStream = Pin<Box<dyn Stream<Item = Result<v1::DownloadChunk, Status>> + Send>>;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let v1::DownloadRequest {
            digest: text,
            offset,
        } = request.into_inner();
        let digest = digest(&text)?;
        let store = Arc::clone(&self.store);
        let blob = blocking(move || store.open(digest))
            .await?
            .ok_or_else(|| Status::not_found(format!("there is no blob {digest}")))?;
        let chunks = download::chunks(blob.into(), offset, self.stop.clone())?;
        Ok(Response::new(Box::pin(chunks)))
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("digest: {error}")))
}

/// Does something that may wait for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleStoreError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| status_of(&error)),
        Err(lost) => Err(Status::internal(format!("the bundle store failed: {lost}"))),
    }
}

fn status_of(error: &BundleStoreError) -> Status {
    let text = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error {
        BundleStoreError::DigestMismatch { .. } => Status::data_loss(text),
        BundleStoreError::OffsetBeyond { .. } => Status::out_of_range(text),
        BundleStoreError::Busy => Status::aborted(text),
        BundleStoreError::Full { .. } => Status::resource_exhausted(text),
        BundleStoreError::Io { .. } => Status::internal(text),
    }
}
