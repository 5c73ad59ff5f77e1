//! Signatures in a registry: found as referrers or under a tag, stored as both.

use std::collections::BTreeSet;

use nesos_types::bundle::Digest;
use oci_client::RegistryOperation;
use thiserror::Error;

use super::push::Progress;
use super::{RegistryError, Remote, collect};
use crate::artifact::{Blob, Packed};
use crate::keys::VerifyingKey;
use crate::media;
use crate::oci::{ImageIndex, ImageManifest, MAX_MANIFEST_BYTES};
use crate::signature::{self, Found, SignatureError};
use futures::StreamExt;

/// How many signatures of one bundle are looked at.
const MOST_SIGNATURES: usize = 64;

/// Nobody who is trusted vouches for a bundle, or it could not be found out.
#[derive(Debug, Error)]
pub enum VouchError {
    /// No signature at all.
    #[error("{0} is not signed; the role wants a signature: `nesos push --sign KEY`")]
    Unsigned(Digest),
    /// Signatures, and none that counts.
    #[error("no signature of {bundle} counts: {why}")]
    Invalid {
        /// Which bundle.
        bundle: Digest,
        /// What is wrong with the last one that was looked at.
        #[source]
        why: SignatureError,
    },
    /// The registry did not say.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Remote {
    /// Sees to it that one of the keys signed this bundle.
    ///
    /// # Errors
    /// If none did, or the registry does not say.
    pub async fn vouched_for(
        &self,
        bundle: Digest,
        keys: &[VerifyingKey],
    ) -> Result<(), VouchError> {
        let mut last = None;
        for found in self.signatures(bundle).await? {
            let most = usize::try_from(signature::MAX_PAYLOAD_BYTES).unwrap_or(usize::MAX);
            let payload = self.blob_bytes(found.payload.digest, most).await?;
            match signature::verify(bundle, &payload, &found.signature, keys) {
                Ok(()) => return Ok(()),
                Err(why) => last = Some(why),
            }
        }
        Err(match last {
            Some(why) => VouchError::Invalid { bundle, why },
            None => VouchError::Unsigned(bundle),
        })
    }

    /// The signatures of this bundle, unverified.
    ///
    /// # Errors
    /// If the registry does not say.
    pub async fn signatures(&self, bundle: Digest) -> Result<Vec<Found>, RegistryError> {
        let mut manifests = Vec::new();
        manifests.extend(optional(self.tagged(&signature::tag(bundle)).await)?);
        for digest in self.referrers(bundle).await? {
            manifests.extend(optional(self.manifest(digest).await)?);
        }
        let mut found = Vec::new();
        for manifest in manifests {
            // Whatever else lies there is not a signature.
            let Ok(manifest) = ImageManifest::parse(&manifest.bytes) else {
                continue;
            };
            for one in signature::found_in(&manifest) {
                if !found.contains(&one) && found.len() < MOST_SIGNATURES {
                    found.push(one);
                }
            }
        }
        Ok(found)
    }

    /// Stores a signature that [`signature::sign`] made, as a referrer and under the tag.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub async fn push_signature(
        &self,
        bundle: Digest,
        signed: &Packed,
    ) -> Result<(), RegistryError> {
        self.push(signed, &[], &Progress::default()).await?;
        let tag = signature::tag(bundle);
        let before = optional(self.tagged(&tag).await)?;
        let before = before.and_then(|blob| ImageManifest::parse(&blob.bytes).ok());
        let new = ImageManifest::parse(&signed.manifest.bytes);
        let merged = match (before, new) {
            (Some(before), Ok(new)) => Blob::new(
                media::IMAGE_MANIFEST,
                signature::merge(&before, &new).to_bytes(),
            ),
            _ => signed.manifest.clone(),
        };
        self.push_manifest(&merged, &tag).await
    }

    /// Manifests that say that they are signatures of this one. A registry that knows no referrers has none.
    async fn referrers(&self, bundle: Digest) -> Result<BTreeSet<Digest>, RegistryError> {
        let path = format!("referrers/{bundle}");
        let Some(response) = optional(self.get(&path, RegistryOperation::Pull).await)? else {
            return Ok(BTreeSet::new());
        };
        let chunks = response.bytes_stream();
        let chunks = chunks
            .map(|chunk| chunk.map_err(|error| RegistryError::unreachable(&self.host, &error)));
        let bytes = collect(chunks.boxed(), MAX_MANIFEST_BYTES).await?;
        let index = ImageIndex::parse(&bytes).map_err(|error| RegistryError::Protocol {
            registry: self.host.clone(),
            why: error.to_string(),
        })?;
        let signed = index.manifests.into_iter().filter(|manifest| {
            let kind = manifest.artifact_type.as_deref();
            kind.is_none_or(|kind| kind == media::COSIGN_SIGNATURE)
        });
        Ok(signed
            .map(|manifest| manifest.digest)
            .take(MOST_SIGNATURES)
            .collect())
    }
}

/// What is not there is nothing wrong.
fn optional<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(RegistryError::Unknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
