//! Speaking with registries by the OCI distribution specification: what a tag names, manifests, blobs,
//! signatures; and pushing.
//!
//! A registry is believed nothing. What it sends is measured while it comes and compared with the digest
//! that was asked for; where only a tag was, with the digest of the bytes themselves. Plain HTTP is spoken
//! with this machine and with hosts that were named, and credentials go to the host that they are for.

mod credentials;
mod error;
mod listing;
mod push;
mod signatures;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use nesos_types::bundle::{Digest, Repository};
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::artifact::Blob;
use crate::oci::MAX_MANIFEST_BYTES;
use crate::{digest_of, media};

pub use credentials::{Credentials, CredentialsError};
pub use error::RegistryError;
pub use push::Progress;
pub use signatures::VouchError;

/// How long a registry may take to answer at all.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may be silent in the midst of an answer.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// How registries are spoken with.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Hosts, as `HOST[:PORT]`, that are spoken with over plain HTTP, beside this machine.
    pub plain_http: BTreeSet<String>,
    /// Who we are to whom.
    pub credentials: Credentials,
}

impl RegistryConfig {
    fn is_plain(&self, host: &str) -> bool {
        self.plain_http.contains(host) || is_loopback(host)
    }
}

/// Whether the host, as `HOST[:PORT]`, is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !port.ends_with(']') => bare,
        _ => host,
    };
    let address = bare.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A repository of a registry that is spoken with. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    host: String,
    name: String,
    scheme: &'static str,
    client: Client,
    http: reqwest::Client,
    auth: RegistryAuth,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({self})")
    }
}
impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

/// A blob on its way.
pub struct Download {
    /// The size of the whole.
    pub total: u64,
    /// Its bytes from the offset on.
    pub chunks: BoxStream<'static, Result<Bytes, RegistryError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({} bytes)", self.total)
    }
}

impl Remote {
    /// The repository, to be spoken with; one without a registry is at `cluster`, as `HOST:PORT`.
    ///
    /// # Errors
    /// If the system's certificates cannot be used, or the credentials for the host cannot be read.
    pub fn new(
        repository: &Repository,
        cluster: &str,
        config: &RegistryConfig,
    ) -> Result<Self, RegistryError> {
        static PROVIDER: Once = Once::new();
        // A second one is refused, and the first does.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let host = repository.registry.as_deref().unwrap_or(cluster);
        let is_plain = config.is_plain(host);
        let client = Client::try_from(ClientConfig {
            protocol: if is_plain {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(CONNECT_PATIENCE),
            read_timeout: Some(READ_PATIENCE),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })?;
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_PATIENCE)
            .read_timeout(READ_PATIENCE)
            .https_only(!is_plain)
            .build()
            .map_err(|error| RegistryError::unreachable(host, &error))?;
        Ok(Self {
            host: host.to_owned(),
            name: repository.name.clone(),
            scheme: if is_plain { "http" } else { "https" },
            client,
            http,
            auth: config.credentials.of(host)?,
        })
    }

    fn reference(&self) -> oci_client::Reference {
        self.reference_to(crate::reference::DEFAULT_TAG)
    }

    fn reference_to(&self, tag: &str) -> oci_client::Reference {
        oci_client::Reference::with_tag(self.host.clone(), self.name.clone(), tag.to_owned())
    }

    fn reference_at(&self, digest: Digest) -> oci_client::Reference {
        let digest = digest.to_string();
        oci_client::Reference::with_digest(self.host.clone(), self.name.clone(), digest)
    }

    /// The manifest that a tag names now. Its digest is what everything from then on is asked for by.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    pub async fn tagged(&self, tag: &str) -> Result<Blob, RegistryError> {
        self.manifest_named(tag).await
    }

    /// The manifest with this digest.
    ///
    /// # Errors
    /// If there is none, it cannot be had, or other bytes came.
    pub async fn manifest(&self, digest: Digest) -> Result<Blob, RegistryError> {
        let manifest = self.manifest_named(&digest.to_string()).await?;
        match manifest.digest() {
            actual if actual == digest => Ok(manifest),
            actual => Err(RegistryError::Digest {
                expected: digest,
                actual,
            }),
        }
    }

    /// `oci-client` would read an answer of any length into memory.
    async fn manifest_named(&self, name: &str) -> Result<Blob, RegistryError> {
        let response = self
            .get(&format!("manifests/{name}"), RegistryOperation::Pull)
            .await?;
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let kind = kind
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or(media::IMAGE_MANIFEST);
        let kind = kind.to_owned();
        let chunks = response.bytes_stream();
        let chunks = chunks
            .map(|chunk| chunk.map_err(|error| RegistryError::unreachable(&self.host, &error)));
        let bytes = collect(chunks.boxed(), MAX_MANIFEST_BYTES).await?;
        Ok(Blob::new(&kind, bytes))
    }

    async fn get(
        &self,
        path: &str,
        operation: RegistryOperation,
    ) -> Result<reqwest::Response, RegistryError> {
        let path = format!("{}/{path}", self.name);
        self.send(Method::GET, &path, operation).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        operation: RegistryOperation,
    ) -> Result<reqwest::Response, RegistryError> {
        let url = format!("{}://{}/v2/{path}", self.scheme, self.host);
        let accepted = [media::IMAGE_MANIFEST, media::IMAGE_INDEX].join(", ");
        let mut request = self.http.request(method, &url).header(ACCEPT, accepted);
        let token = self
            .client
            .auth(&self.reference(), &self.auth, operation)
            .await;
        match (
            token.map_err(|error| RegistryError::of(&self.host, error))?,
            &self.auth,
        ) {
            (Some(token), _) => request = request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => {
                request = request.basic_auth(user, Some(password));
            }
            (None, _) => {}
        }
        let response = request.send().await;
        let response = response.map_err(|error| RegistryError::unreachable(&self.host, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let chunks = response.bytes_stream();
        let chunks = chunks
            .map(|chunk| chunk.map_err(|error| RegistryError::unreachable(&self.host, &error)));
        // Whether its reason could be read or not, it refused.
        let said = collect(chunks.boxed(), MAX_MANIFEST_BYTES).await;
        let why = error::reason(&String::from_utf8_lossy(&said.unwrap_or_default()));
        Err(RegistryError::of_status(&self.host, status, path, why))
    }

    /// Begins to read a blob at an offset.
    ///
    /// # Errors
    /// If there is none or it cannot be had.
    pub async fn blob(&self, digest: Digest, offset: u64) -> Result<Download, RegistryError> {
        let text = digest.to_string();
        self.client
            .store_auth_if_needed(&self.host, &self.auth)
            .await;
        let response = if offset == 0 {
            let whole = self
                .client
                .pull_blob_stream(&self.reference(), text.as_str())
                .await;
            whole.map(BlobResponse::Full)
        } else {
            let reference = self.reference();
            self.client
                .pull_blob_stream_partial(&reference, text.as_str(), offset, None)
                .await
        };
        let failed = |error| RegistryError::of(&self.host, error).about(digest, self);
        let (stream, from) = match response.map_err(failed)? {
            BlobResponse::Full(stream) => (stream, 0),
            BlobResponse::Partial(stream) => (stream, offset),
        };
        let Some(length) = stream.content_length else {
            return Err(RegistryError::Protocol {
                registry: self.host.clone(),
                why: format!("it does not say how long {digest} is"),
            });
        };
        let host = self.host.clone();
        let chunks = stream
            .stream
            .map(move |chunk| chunk.map_err(|error| RegistryError::unreachable(&host, &error)));
        Ok(Download {
            total: length.saturating_add(from),
            chunks: from_offset(chunks.boxed(), offset - from),
        })
    }

    /// All of a blob that has at most `most` bytes.
    ///
    /// # Errors
    /// If there is none, it cannot be had, it is longer, or other bytes came.
    pub async fn blob_bytes(&self, digest: Digest, most: usize) -> Result<Bytes, RegistryError> {
        let download = self.blob(digest, 0).await?;
        let bytes = collect(download.chunks, most).await?;
        match digest_of(&bytes) {
            actual if actual == digest => Ok(bytes),
            actual => Err(RegistryError::Digest {
                expected: digest,
                actual,
            }),
        }
    }
}

const USER_AGENT: &str = concat!("nesos/", env!("CARGO_PKG_VERSION"));

/// A registry that knows no ranges sends all: what is here already is left out.
fn from_offset(
    chunks: BoxStream<'static, Result<Bytes, RegistryError>>,
    skip: u64,
) -> BoxStream<'static, Result<Bytes, RegistryError>> {
    if skip == 0 {
        return chunks;
    }
    let rest = chunks.scan(skip, |skip, chunk| {
        let chunk = chunk.map(|mut chunk| {
            let cut = usize::try_from(*skip)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            *skip -= cut as u64;
            chunk.split_off(cut)
        });
        std::future::ready(Some(chunk))
    });
    rest.boxed()
}

async fn collect(
    mut chunks: BoxStream<'_, Result<Bytes, RegistryError>>,
    most: usize,
) -> Result<Bytes, RegistryError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > most {
            return Err(RegistryError::TooLong { most });
        }
    }
    Ok(bytes.freeze())
}
