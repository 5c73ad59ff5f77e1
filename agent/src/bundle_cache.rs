//! Bundles on the agent's disk, by digest: fetched once, verified, and evicted when others need the
//! room.
//!
//! What is in the directory under a digest's name has been verified. Where a bundle comes from is
//! behind [`BlobSource`]; what becomes of it the cache does not know.

mod download;
mod index;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use nesos_api::v1;
use nesos_api::v1::bundle_service_client::BundleServiceClient;
use nesos_types::bundle::Digest;
use nesos_types::task::TaskReason;
use thiserror::Error;
use tonic::transport::Channel;

use self::index::Index;
use crate::single_flight::SingleFlight;

/// A bundle could not be brought here.
#[derive(Clone, Debug, Error)]
pub enum FetchError {
    /// Nobody has it.
    #[error("the bundle {0} is not known to the master; push it first")]
    Unknown(Digest),
    /// The source did not answer, or broke off too often.
    #[error("the bundle {digest} could not be fetched: {why}")]
    Source {
        /// Which bundle.
        digest: Digest,
        /// What the last attempt failed of.
        why: String,
    },
    /// The bytes are not those that the digest promises.
    #[error("the bytes of the bundle {expected} have the digest {actual}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// It is larger than the whole cache.
    #[error(
        "the bundle {digest} has {bytes} bytes; the agent keeps at most {limit} bytes of bundles"
    )]
    TooLarge {
        /// Which bundle.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The cache's.
        limit: u64,
    },
    /// The disk failed.
    #[error("the bundle {digest} cannot be kept on the agent's disk")]
    Disk {
        /// Which bundle.
        digest: Digest,
        /// What failed.
        source: Arc<io::Error>,
    },
}

impl FetchError {
    /// What a task that waits for the bundle is told.
    #[must_use]
    pub fn reason(&self) -> TaskReason {
        match self {
            Self::DigestMismatch { .. } => TaskReason::DigestMismatch,
            _ => TaskReason::FetchFailed,
        }
    }
}

/// Where bundles come from.
#[tonic::async_trait]
pub trait BlobSource: Send + Sync + 'static {
    /// Begins to read a blob at an offset.
    async fn open(&self, digest: Digest, offset: u64) -> Result<Blob, SourceError>;
}

/// A blob on its way.
pub struct Blob {
    /// The size of the whole.
    pub total: u64,
    /// Its bytes from the offset on.
    pub chunks: BoxStream<'static, Result<Bytes, SourceError>>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.total;
        f.debug_struct("Blob")
            .field("total", &total)
            .finish_non_exhaustive()
    }
}

/// Why a source gave nothing, or not all.
#[derive(Clone, Debug, Error)]
pub enum SourceError {
    /// It has no such blob: trying again is useless.
    #[error("no such blob")]
    Unknown,
    /// It may work the next time.
    #[error("{0}")]
    Broken(String),
}

/// The cache.
#[derive(Debug)]
pub struct BundleCache {
    shared: Arc<Shared>,
    flights: SingleFlight<Digest, Result<PathBuf, FetchError>>,
}

struct Shared {
    directory: PathBuf,
    source: Arc<dyn BlobSource>,
    index: Mutex<Index>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory = &self.directory;
        f.debug_struct("Shared")
            .field("directory", directory)
            .finish_non_exhaustive()
    }
}

/// A bundle that stays on the disk as long as this lives.
#[derive(Debug)]
pub struct HeldBundle {
    path: PathBuf,
    _pin: Pin,
}

impl HeldBundle {
    /// Where its bytes are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct Pin {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shared.index().unpin(self.digest);
    }
}

impl BundleCache {
    /// A cache in `directory`, which is made if it is missing, of at most `max_bytes` (what is in use
    /// may exceed them). Bundles of an earlier process are found again.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn open(
        directory: PathBuf,
        max_bytes: u64,
        source: Arc<dyn BlobSource>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let index = Mutex::new(Index::read(&directory, max_bytes)?);
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                source,
                index,
            }),
            flights: SingleFlight::new(),
        })
    }

    /// The bundle with this digest, from the disk or from the source.
    ///
    /// # Errors
    /// If it is not on the disk and cannot be brought there.
    pub async fn fetch(&self, digest: Digest) -> Result<HeldBundle, FetchError> {
        let known = self.shared.index().pin(digest);
        let pin = Pin {
            shared: self.shared.clone(),
            digest,
        };
        let path = self.shared.path(digest);
        if !known {
            let shared = self.shared.clone();
            let work = async move { shared.bring(digest).await };
            self.flights.join(digest, work).await?;
        }
        Ok(HeldBundle { path, _pin: pin })
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    async fn bring(&self, digest: Digest) -> Result<PathBuf, FetchError> {
        let path = self.path(digest);
        let limit = self.index().max_bytes();
        let bytes = download::download(&*self.source, digest, &path, limit).await?;
        let evicted = self.index().insert(digest, bytes);
        for digest in evicted {
            let path = self.path(digest);
            if let Err(error) = tokio::fs::remove_file(&path).await {
                tracing::warn!(?path, %error, "cannot remove an evicted bundle");
            }
        }
        Ok(path)
    }
}

/// The master's blobs.
#[derive(Clone, Debug)]
pub struct MasterBlobs {
    client: BundleServiceClient<Channel>,
}

impl MasterBlobs {
    /// Blobs of the master behind this channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        let client =
            BundleServiceClient::new(channel).max_decoding_message_size(nesos_api::MAX_FRAME_BYTES);
        Self { client }
    }
}

#[tonic::async_trait]
impl BlobSource for MasterBlobs {
    async fn open(&self, digest: Digest, offset: u64) -> Result<Blob, SourceError> {
        let request = v1::DownloadRequest {
            digest: digest.to_string(),
            offset,
        };
        let mut chunks = self.client.clone().download(request).await?.into_inner();
        let Some(first) = chunks.message().await? else {
            return Err(SourceError::Broken("the master sent nothing".to_owned()));
        };
        let total = first.total;
        let rest = futures::stream::try_unfold(chunks, async |mut chunks| {
            let chunk = chunks.message().await?;
            Ok(chunk.map(|chunk| (chunk.data, chunks)))
        });
        let first = futures::stream::once(async { Ok(first.data) });
        Ok(Blob {
            total,
            chunks: Box::pin(futures::StreamExt::chain(first, rest)),
        })
    }
}

impl From<tonic::Status> for SourceError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::NotFound => Self::Unknown,
            _ => Self::Broken(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}
