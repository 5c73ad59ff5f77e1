//! The bundles' door: blobs up and down, in chunks. It knows the rules of uploading; where blobs are
//! kept is the store's affair.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use nesos_api::v1;
use nesos_api::v1::bundle_service_server::BundleService;
use nesos_types::bundle::Digest;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::registry::Registry;
use crate::registry::error::BundleStoreError;
use crate::registry::staging::UploadName;

mod download;
mod upload;

/// Serves `BundleService`.
#[derive(Debug)]
pub(crate) struct BundleDoor {
    registry: Registry,
    /// Numbers uploads of a blob that somebody else is uploading as well.
    beside: AtomicU64,
    /// Cancelled when transfers may no longer go on.
    stop: CancellationToken,
}

impl BundleDoor {
    pub(crate) fn new(registry: Registry, stop: CancellationToken) -> Self {
        Self {
            registry,
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
        let blobs = &self.registry.blobs;
        let complete = blobs
            .stat(digest)
            .await
            .map_err(|error| status_of(&error))?;
        let bytes = match complete {
            Some(bytes) => Ok(Some(bytes)),
            None => blobs.staging.received(&UploadName::of_digest(digest)),
        };
        let bytes = bytes.map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::StatResponse {
            complete: complete.is_some(),
            bytes: bytes.unwrap_or_default(),
        }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadResponse>, Status> {
        let received = upload::receive(&self.registry, request.into_inner(), || {
            self.beside.fetch_add(1, Ordering::Relaxed)
        });
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
        let blob = self.registry.blobs.open(digest).await;
        let blob = blob
            .map_err(|error| status_of(&error))?
            .ok_or_else(|| Status::not_found(format!("there is no blob {digest}")))?;
        let chunks = download::chunks(blob, offset, self.stop.clone())?;
        Ok(Response::new(Box::pin(chunks)))
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("digest: {error}")))
}

fn status_of(error: &BundleStoreError) -> Status {
    let text = error.in_full();
    match error {
        BundleStoreError::DigestMismatch { .. } | BundleStoreError::Damaged { .. } => {
            Status::data_loss(text)
        }
        BundleStoreError::OffsetBeyond { .. } => Status::out_of_range(text),
        BundleStoreError::Busy => Status::aborted(text),
        BundleStoreError::Deposed => Status::unavailable(text),
        BundleStoreError::Full { .. } => Status::resource_exhausted(text),
        BundleStoreError::Io { .. }
        | BundleStoreError::Object { .. }
        | BundleStoreError::Config { .. } => Status::internal(text),
    }
}
