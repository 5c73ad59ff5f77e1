//! What a bundle's name comes to: who vouches for it, which blob is run, and which files come with it.
//!
//! Everything is asked for by digest, the manifest first; so whatever a tag names meanwhile, and whoever
//! sends it, it is the bundle that was submitted.

use nesos_agent_core::BundleKey;
use nesos_bundle::artifact::Layout;
use nesos_bundle::keys::VerifyingKey;
use nesos_bundle::manifest::{FILES_AT, Manifest};
use nesos_bundle::oci::ImageManifest;
use nesos_types::bundle::{Digest, Repository};
use nesos_types::task::TaskReason;

use super::PrepareError;
use crate::bundle_cache::{BundleCache, Place};

/// A bundle's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Artifact {
    /// The module or component.
    pub(super) wasm: Digest,
    /// Where its parts lie.
    pub(super) place: Place,
    /// Its read-only files.
    pub(super) files: Option<Files>,
}

/// Read-only files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// The layer that they are in.
    pub(super) layer: Digest,
    /// Where the guest finds them.
    pub(super) guest: String,
}

impl Artifact {
    /// Reads the manifest, where there is one.
    pub(super) async fn of(bundles: &BundleCache, key: &BundleKey) -> Result<Self, PrepareError> {
        let Some(repository) = &key.repository else {
            return Ok(Self {
                wasm: key.digest,
                place: Place::Bare,
                files: None,
            });
        };
        let refused = |error: &dyn std::error::Error| PrepareError::artifact(key.digest, error);
        let place = Place::Manifest(repository.clone());
        let bytes = read(bundles, &place, key.digest).await?;
        let manifest = ImageManifest::parse(&bytes).map_err(|error| refused(&error))?;
        let layout = Layout::of(&manifest).map_err(|error| refused(&error))?;
        let place = Place::Layer(repository.clone());
        let files = match &layout.files {
            None => None,
            Some(layer) => Some(Files {
                layer: layer.digest,
                guest: files_at(bundles, &place, &layout, key.digest).await?,
            }),
        };
        Ok(Self {
            wasm: layout.wasm.digest,
            place,
            files,
        })
    }
}

/// Where the guest finds the files: as `nesos.toml` says, if there is one.
async fn files_at(
    bundles: &BundleCache,
    place: &Place,
    layout: &Layout,
    bundle: Digest,
) -> Result<String, PrepareError> {
    let Some(layer) = &layout.manifest else {
        return Ok(FILES_AT.to_owned());
    };
    let bytes = read(bundles, place, layer.digest).await?;
    let manifest =
        Manifest::parse(&bytes).map_err(|error| PrepareError::artifact(bundle, &error))?;
    Ok(manifest.files_at().to_owned())
}

/// A small blob, in memory.
async fn read(
    bundles: &BundleCache,
    place: &Place,
    digest: Digest,
) -> Result<Vec<u8>, PrepareError> {
    let held = bundles.fetch(place, digest).await?;
    let read = tokio::fs::read(held.path()).await;
    read.map_err(PrepareError::system("read a bundle's manifest"))
}

/// Sees to it that somebody whom the role trusts has signed the bundle.
pub(super) async fn vouch(bundles: &BundleCache, key: &BundleKey) -> Result<(), PrepareError> {
    if key.signers.is_empty() {
        return Ok(());
    }
    let keys: Result<Vec<VerifyingKey>, _> = key.signers.iter().map(|pem| pem.parse()).collect();
    let keys = keys.map_err(|error| PrepareError::Refused {
        reason: TaskReason::SignatureInvalid,
        message: format!(
            "a signer of the role cannot be used: {error}; set it anew by `nesos roles set`"
        ),
    })?;
    let Some(repository) = &key.repository else {
        return Err(PrepareError::Refused {
            reason: TaskReason::Unsigned,
            message: format!(
                "the role wants signed bundles, and {} is a bare file; push it with `nesos push --sign KEY` and \
                 run it by its name",
                key.digest
            ),
        });
    };
    ask(bundles, repository, key.digest, &keys).await
}

async fn ask(
    bundles: &BundleCache,
    repository: &Repository,
    bundle: Digest,
    keys: &[VerifyingKey],
) -> Result<(), PrepareError> {
    use nesos_bundle::client::VouchError;
    let vouched = bundles.vouch(repository, bundle, keys).await;
    vouched.map_err(|error| PrepareError::Refused {
        reason: match &error {
            VouchError::Unsigned(_) => TaskReason::Unsigned,
            VouchError::Invalid { .. } => TaskReason::SignatureInvalid,
            VouchError::Registry(_) => TaskReason::FetchFailed,
        },
        message: error.to_string(),
    })
}
