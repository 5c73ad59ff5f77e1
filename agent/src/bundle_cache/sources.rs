//! Where blobs come from: the master's bare blobs by gRPC, and repositories of registries, the cluster's own
//! among them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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

/// All places.
#[derive(Debug)]
pub struct Sources {
    bare: MasterBlobs,
    /// The cluster's own registry, as `HOST:PORT`.
    cluster: String,
    config: RegistryConfig,
    remotes: Mutex<HashMap<Repository, Remote>>,
}

impl Sources {
    /// The places that a cluster knows whose master listens at `cluster`, as `HOST:PORT`.
    #[must_use]
    pub fn new(bare: MasterBlobs, cluster: String, config: RegistryConfig) -> Self {
        Self {
            bare,
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
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remote) = remotes.get(repository) {
            return Ok(remote.clone());
        }
        // Strangers choose the names: there are never many of them in memory.
        if remotes.len() >= MOST_REMEMBERED {
            remotes.clear();
        }
        let remote = Remote::new(repository, &self.cluster, &self.config)?;
        remotes.insert(repository.clone(), remote.clone());
        Ok(remote)
    }
}

#[tonic::async_trait]
impl BlobSource for Sources {
    async fn open(&self, place: &Place, digest: Digest, offset: u64) -> Result<Blob, SourceError> {
        match place {
            Place::Bare => self.bare.open(place, digest, offset).await,
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
    async fn open(&self, _place: &Place, digest: Digest, offset: u64) -> Result<Blob, SourceError> {
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
