//! Bundles on the agent's disk, by digest: fetched once, verified, and evicted when others need the
//! room.
//!
//! What is in the directory under a digest's name has been verified, wherever it came from: whoever knows a
//! digest knows what it stands for. Where a blob comes from is behind [`BlobSource`]; what becomes of it
//! the cache does not know.

mod download;
mod index;
mod sources;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use nesos_bundle::artifact::MAX_WASM_BYTES;
use nesos_bundle::client::VouchError;
use nesos_bundle::files::MAX_PACKED_BYTES;
use nesos_bundle::keys::VerifyingKey;
use nesos_bundle::oci::MAX_MANIFEST_BYTES;
use nesos_types::bundle::{Digest, Repository};
use nesos_types::task::TaskReason;
use thiserror::Error;

use self::index::Index;
pub use self::sources::{Cluster, Sources};
use crate::single_flight::SingleFlight;

/// A bundle could not be brought here.
#[derive(Clone, Debug, Error)]
pub enum FetchError {
    /// Nobody has it.
    #[error("the bundle {digest} is not known to {place}; push it first")]
    Unknown {
        /// Which bundle, or which part of one.
        digest: Digest,
        /// Where it was looked for.
        place: Place,
    },
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
    #[error("the bundle {digest} has {bytes} bytes; the agent takes at most {limit}")]
    TooLarge {
        /// Which bundle.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The cache's, or that of what it is.
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

/// Where a blob lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the bare blobs of the master.
    Bare,
    /// It is a manifest of this repository.
    Manifest(Repository),
    /// It is a layer of an artifact in this repository.
    Layer(Repository),
}

impl Place {
    /// The longest blob that is taken from there, in bytes.
    fn most_bytes(&self) -> u64 {
        match self {
            Self::Manifest(_) => MAX_MANIFEST_BYTES as u64,
            Self::Bare | Self::Layer(_) => MAX_WASM_BYTES.max(MAX_PACKED_BYTES),
        }
    }
}
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bare => f.write_str("the master"),
            Self::Manifest(repository) | Self::Layer(repository) => {
                write!(f, "the repository {repository}")
            }
        }
    }
}

/// Where bundles come from.
#[tonic::async_trait]
pub trait BlobSource: Send + Sync + 'static {
    /// Begins to read a blob at an offset.
    async fn open(&self, place: &Place, digest: Digest, offset: u64) -> Result<Blob, SourceError>;

    /// Sees to it that one of these keys has signed a bundle. A source that knows no signatures vouches for
    /// nothing.
    async fn vouch(
        &self,
        _repository: &Repository,
        bundle: Digest,
        _keys: &[VerifyingKey],
    ) -> Result<(), VouchError> {
        Err(VouchError::Unsigned(bundle))
    }
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
    /// It will not give it: trying again is useless.
    #[error("{0}")]
    Refused(String),
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

    /// The blob with this digest, from the disk or from where it lies.
    ///
    /// # Errors
    /// If it is not on the disk and cannot be brought there.
    pub async fn fetch(&self, place: &Place, digest: Digest) -> Result<HeldBundle, FetchError> {
        let known = self.shared.index().pin(digest);
        let pin = Pin {
            shared: self.shared.clone(),
            digest,
        };
        let path = self.shared.path(digest);
        if !known {
            let shared = self.shared.clone();
            let place = place.clone();
            let work = async move { shared.bring(&place, digest).await };
            self.flights.join(digest, work).await?;
        }
        Ok(HeldBundle { path, _pin: pin })
    }
}

impl BundleCache {
    /// Sees to it that one of these keys has signed a bundle. The source is asked each time: whom a role trusts
    /// changes, and signatures come and go beside a bundle that stays as it is.
    ///
    /// # Errors
    /// If none did, or it could not be found out.
    pub async fn vouch(
        &self,
        repository: &Repository,
        bundle: Digest,
        keys: &[VerifyingKey],
    ) -> Result<(), VouchError> {
        self.shared.source.vouch(repository, bundle, keys).await
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    async fn bring(&self, place: &Place, digest: Digest) -> Result<PathBuf, FetchError> {
        let path = self.path(digest);
        let limit = self.index().max_bytes().min(place.most_bytes());
        let bytes = download::download(&*self.source, place, digest, &path, limit).await?;
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
