//! Pushing: the blobs that are not there yet, then the manifest, then its names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use nesos_types::bundle::Digest;
use reqwest::header::HeaderValue;

use super::{RegistryError, Remote};
use crate::artifact::{Blob, Packed};
use crate::media;

/// How much is sent at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// How far a push is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// How many bytes have been sent, or were there already.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Remote {
    /// Pushes an artifact under its digest and these tags. What is there already is not sent again.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub async fn push(
        &self,
        packed: &Packed,
        tags: &[&str],
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        self.client
            .store_auth_if_needed(&self.host, &self.auth)
            .await;
        for blob in &packed.blobs {
            self.push_blob(blob, progress).await?;
        }
        self.push_manifest(&packed.manifest, &packed.manifest.digest().to_string())
            .await?;
        for tag in tags {
            self.push_manifest(&packed.manifest, tag).await?;
        }
        Ok(())
    }

    async fn push_blob(&self, blob: &Blob, progress: &Progress) -> Result<(), RegistryError> {
        let digest = blob.digest().to_string();
        let failed = |error| RegistryError::of(&self.host, error);
        // A registry that does not say whether it has a blob is sent it.
        if self
            .client
            .blob_exists(&self.reference(), &digest)
            .await
            .unwrap_or(false)
        {
            progress.add(blob.bytes.len());
            return Ok(());
        }
        let (chunks, size) = (chunks(&blob.bytes, progress), blob.bytes.len() as u64);
        let reference = self.reference();
        let pushed = self
            .client
            .push_blob_stream(&reference, chunks, &digest, Some(size));
        pushed.await.map(drop).map_err(failed)
    }

    /// Stores a manifest under a name: a tag, or its digest.
    pub(super) async fn push_manifest(
        &self,
        manifest: &Blob,
        name: &str,
    ) -> Result<(), RegistryError> {
        let reference = match name.parse::<Digest>() {
            Ok(digest) => self.reference_at(digest),
            Err(_) => self.reference_to(name),
        };
        let kind = HeaderValue::from_static(media::IMAGE_MANIFEST);
        let pushed = self
            .client
            .push_manifest_raw(&reference, manifest.bytes.clone(), kind)
            .await;
        pushed
            .map(drop)
            .map_err(|error| RegistryError::of(&self.host, error))
    }
}

/// The bytes in pieces, each counted when it is taken.
fn chunks(
    bytes: &Bytes,
    progress: &Progress,
) -> impl futures::Stream<Item = oci_client::errors::Result<Bytes>> + use<> {
    let bytes = bytes.clone();
    let progress = progress.clone();
    let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
    futures::stream::iter(starts).map(move |start| {
        let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
        progress.add(chunk.len());
        Ok(chunk)
    })
}
