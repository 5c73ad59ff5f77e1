//! Content-addressed blobs on a master: looking, uploading with resumption, downloading with
//! verification.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use nesos_api::MAX_CHUNK_BYTES;
use nesos_api::v1;
use nesos_api::v1::bundle_service_client::BundleServiceClient;
use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::describe;

/// Why a blob was not moved.
#[derive(Debug, Error)]
pub enum BlobError {
    /// The master did not do it.
    #[error("{action} {digest}: {}", describe(.status))]
    Call {
        /// "uploading", ...
        action: &'static str,
        /// Which blob.
        digest: Digest,
        /// What it answered; the message says it, so that it is no source beside it.
        status: Box<Status>,
    },
    /// What came is not what was asked for.
    #[error("the bytes that came as {expected} are {actual}")]
    Corrupt {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
}

/// What a master has of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStat {
    /// Whether all of it is there.
    pub complete: bool,
    /// Its size, or how much of an interrupted upload has come.
    pub bytes: u64,
}

/// The digest of these bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Blobs on a master.
#[derive(Clone, Debug)]
pub struct Blobs {
    client: BundleServiceClient<Channel>,
}

/// How often an upload that broke is resumed before it counts as failed.
const RESUMPTIONS: u32 = 5;

impl Blobs {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: BundleServiceClient::new(channel),
        }
    }

    /// Looks what the master has of a blob.
    ///
    /// # Errors
    /// If the master does not answer.
    pub async fn stat(&mut self, digest: Digest) -> Result<BlobStat, BlobError> {
        let request = v1::StatRequest {
            digest: digest.to_string(),
        };
        let answer = self
            .client
            .stat(request)
            .await
            .map_err(|status| failed("looking for", digest, status))?
            .into_inner();
        Ok(BlobStat {
            complete: answer.complete,
            bytes: answer.bytes,
        })
    }

    /// Sees to it that the master has the blob: uploads what is missing, and goes on where it stopped
    /// if the connection breaks. `progress` is told how many bytes are on their way, never if nothing
    /// was missing.
    ///
    /// # Errors
    /// If the master does not take it.
    pub async fn ensure(
        &mut self,
        digest: Digest,
        bytes: &Bytes,
        progress: impl Fn(u64) + Clone + Send + 'static,
    ) -> Result<(), BlobError> {
        for resumption in 0.. {
            let stat = self.stat(digest).await?;
            if stat.complete {
                return Ok(());
            }
            match self
                .upload(digest, bytes, stat.bytes, progress.clone())
                .await
            {
                Ok(()) => return Ok(()),
                Err(BlobError::Call { status, .. })
                    if is_passing(&status) && resumption < RESUMPTIONS =>
                {
                    tokio::time::sleep(Duration::from_millis(200) * (1 << resumption)).await;
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop has no end of its own")
    }

    async fn upload(
        &mut self,
        digest: Digest,
        bytes: &Bytes,
        offset: u64,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<(), BlobError> {
        let chunks = chunks(digest, bytes.clone(), offset, progress);
        self.client
            .upload(stream::iter(chunks))
            .await
            .map_err(|status| failed("uploading", digest, status))?;
        Ok(())
    }

    /// Downloads a blob and verifies it.
    ///
    /// # Errors
    /// If the master does not have it, or the bytes are not the promised ones.
    pub async fn download(&mut self, digest: Digest) -> Result<Bytes, BlobError> {
        let call_failed = |status| failed("downloading", digest, status);
        let request = v1::DownloadRequest {
            digest: digest.to_string(),
            offset: 0,
        };
        let mut chunks = self
            .client
            .download(request)
            .await
            .map_err(call_failed)?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.map_err(call_failed)? {
            bytes.extend_from_slice(&chunk.data);
        }
        let actual = digest_of(&bytes);
        if actual != digest {
            return Err(BlobError::Corrupt {
                expected: digest,
                actual,
            });
        }
        Ok(bytes.into())
    }
}

fn failed(action: &'static str, digest: Digest, status: Status) -> BlobError {
    BlobError::Call {
        action,
        digest,
        status: Box::new(status),
    }
}

/// Whether trying again can help.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::Unknown
    )
}

/// A blob as the messages of an upload, from an offset on. The bytes are shared, not copied.
fn chunks(
    digest: Digest,
    bytes: Bytes,
    offset: u64,
    progress: impl Fn(u64),
) -> impl Iterator<Item = v1::UploadChunk> {
    let total = bytes.len() as u64;
    let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
    let mut at = start;
    let mut begun = false;
    std::iter::from_fn(move || {
        let first = !std::mem::replace(&mut begun, true);
        if at >= bytes.len() && !first {
            return None;
        }
        let end = (at + MAX_CHUNK_BYTES).min(bytes.len());
        let data = bytes.slice(at..end);
        at = end;
        progress(end as u64);
        Some(v1::UploadChunk {
            digest: if first {
                digest.to_string()
            } else {
                String::new()
            },
            offset: if first { start as u64 } else { 0 },
            total: if first { total } else { 0 },
            data,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_names_the_blob_once_and_goes_on_from_the_offset() {
        let bytes = Bytes::from(vec![7; MAX_CHUNK_BYTES * 2 + 3]);
        let digest = digest_of(&bytes);
        let chunks: Vec<_> = chunks(digest, bytes, 3, |_| {}).collect();
        let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.data.len()).collect();
        assert_eq!(sizes, [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES]);
        assert_eq!((chunks[0].offset, chunks[0].total), (3, 2 * (1 << 20) + 3));
        assert_eq!(chunks[0].digest, digest.to_string());
        assert_eq!(chunks[1].digest, "");
    }

    #[test]
    fn an_empty_blob_is_still_announced() {
        let chunks: Vec<_> = chunks(digest_of(b""), Bytes::new(), 0, |_| {}).collect();
        assert_eq!(chunks.len(), 1);
        assert_eq!(
            chunks[0].digest,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
