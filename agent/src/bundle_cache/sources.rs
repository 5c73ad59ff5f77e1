//! Where blobs come from: the master's bare blobs by gRPC, and repositories of registries, the cluster's own
//! among them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use nesos_api::v1;
use nesos_api::v1::bundle_service_client::BundleServiceClient;
use nesos_bundle::client::{Download, RegistryConfig, RegistryError, Remote, VouchError};
use nesos_bundle::keys::VerifyingKey;
use nesos_types::bundle::{Digest, Repository};
use tonic::transport::Channel;

use super::{Blob, BlobSource, Place, SourceError};

/// How many repositories are remembered.
const MOST_REMEMBERED: usize = 256;

/// The cluster's own registry, which is wherever its master is now.
pub trait Cluster: std::fmt::Debug + Send + Sync {
    /// The master, as `HOST:PORT`.
    fn host(&self) -> String;
    /// Whether it is spoken with without TLS.
    fn is_plain(&self) -> bool;
    /// A channel to it.
    fn channel(&self) -> Channel;
}

/// All places.
#[derive(Debug)]
pub struct Sources {
    cluster: Arc<dyn Cluster>,
    config: RegistryConfig,
    remotes: Mutex<Remotes>,
}

/// Repositories that were spoken with while the cluster's registry was at one place.
#[derive(Debug, Default)]
struct Remotes {
    cluster: String,
    known: HashMap<Repository, Remote>,
}

impl Sources {
    /// The places that this cluster knows.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, config: RegistryConfig) -> Self {
        Self {
            cluster,
            config,
            remotes: Mutex::default(),
        }
    }

    /// A repository, to be spoken with.
    ///
    /// # Errors
    /// If the credentials for its registry cannot be read.
    pub fn remote(&self, repository: &Repository) -> Result<Remote, RegistryError> {
        let cluster = self.cluster.host();
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        // Strangers choose the names: there are never many of them in memory.
        if remotes.cluster != cluster || remotes.known.len() >= MOST_REMEMBERED {
            remotes.known.clear();
            remotes.cluster.clone_from(&cluster);
        }
        if let Some(remote) = remotes.known.get(repository) {
            return Ok(remote.clone());
        }
        let mut config = self.config.clone();
        if self.cluster.is_plain() {
            config.plain_http.insert(cluster.clone());
        }
        let remote = Remote::new(repository, &cluster, &config)?;
        remotes.known.insert(repository.clone(), remote.clone());
        Ok(remote)
    }
}

#[tonic::async_trait]
impl BlobSource for Sources {
    async fn open(&self, place: &Place, digest: Digest, offset: u64) -> Result<Blob, SourceError> {
        match place {
            Place::Bare => bare(self.cluster.channel(), digest, offset).await,
            Place::Manifest(repository) => {
                let manifest = self.remote(repository)?.manifest(digest).await?;
                Ok(whole(&manifest.bytes, offset))
            }
            Place::Layer(repository) => {
                let Download { total, chunks } =
                    self.remote(repository)?.blob(digest, offset).await?;
                let chunks = chunks.map(|chunk| chunk.map_err(SourceError::from)).boxed();
                Ok(Blob { total, chunks })
            }
        }
    }

    async fn vouch(
        &self,
        repository: &Repository,
        bundle: Digest,
        keys: &[VerifyingKey],
    ) -> Result<(), VouchError> {
        self.remote(repository)?.vouched_for(bundle, keys).await
    }
}

/// A blob that has come already.
fn whole(bytes: &bytes::Bytes, offset: u64) -> Blob {
    let from = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let rest = Ok(bytes.slice(from..));
    Blob {
        total: bytes.len() as u64,
        chunks: futures::stream::iter([rest]).boxed(),
    }
}

impl From<RegistryError> for SourceError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unknown { .. } => Self::Unknown,
            error if error.is_passing() => Self::Broken(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// One of the master's bare blobs.
async fn bare(channel: Channel, digest: Digest, offset: u64) -> Result<Blob, SourceError> {
    let request = v1::DownloadRequest {
        digest: digest.to_string(),
        offset,
    };
    let mut client =
        BundleServiceClient::new(channel).max_decoding_message_size(nesos_api::MAX_FRAME_BYTES);
    let mut chunks = client.download(request).await?.into_inner();
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

impl From<tonic::Status> for SourceError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::NotFound => Self::Unknown,
            _ => Self::Broken(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}
