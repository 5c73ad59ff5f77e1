//! A manifest as it was pushed: an image manifest or an index, of OCI or of Docker. Only what the registry
//! needs to know of it is read; the bytes stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use nesos_bundle::media;
use nesos_bundle::oci::Descriptor;
use nesos_types::bundle::Digest;
use serde::Deserialize;

use super::catalog::Entry;
use super::error::RegistryError;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a manifest that was sent as this media type.
    pub(crate) fn parse(bytes: &[u8], sent_as: Option<&str>) -> Result<Self, RegistryError> {
        let mut document: Self = serde_json::from_slice(bytes)
            .map_err(|error| refused(format!("the manifest cannot be read: {error}")))?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            return Err(refused(format!(
                "schemaVersion {version} is not known; expected 2"
            )));
        }
        document.settle_type(sent_as)?;
        document.check_shape()?;
        Ok(document)
    }

    /// The type that it was sent as and the type that it says have to be one.
    fn settle_type(&mut self, sent_as: Option<&str>) -> Result<(), RegistryError> {
        let sent = sent_as.map(|sent| sent.split(';').next().unwrap_or_default().trim());
        let said = self.media_type.take();
        self.media_type = match (said, sent) {
            (Some(said), Some(sent)) if said != sent => {
                return Err(refused(format!(
                    "mediaType is {said:?} and the Content-Type is {sent:?}; send it as what it is"
                )));
            }
            (Some(said), _) => Some(said),
            (None, Some(sent)) => Some(sent.to_owned()),
            (None, None) => Some(media::IMAGE_MANIFEST.to_owned()),
        };
        let known = [
            media::IMAGE_MANIFEST,
            media::IMAGE_INDEX,
            DOCKER_MANIFEST,
            DOCKER_LIST,
        ];
        if known.contains(&self.media_type()) {
            return Ok(());
        }
        Err(refused(format!(
            "{:?} is no type of a manifest; expected {} or {}",
            self.media_type(),
            known[0],
            known[1]
        )))
    }

    fn check_shape(&self) -> Result<(), RegistryError> {
        match (self.is_index(), &self.config) {
            (true, None) if self.layers.is_empty() => Ok(()),
            (true, _) => Err(refused(
                "an index has manifests, and neither config nor layers".into(),
            )),
            (false, Some(_)) if self.manifests.is_empty() => Ok(()),
            (false, Some(_)) => Err(refused("an image manifest names no manifests".into())),
            (false, None) => Err(refused(
                "config is missing; every image manifest has one".into(),
            )),
        }
    }

    fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or_default()
    }

    fn is_index(&self) -> bool {
        [media::IMAGE_INDEX, DOCKER_LIST].contains(&self.media_type())
    }

    /// Whether it is something to be run here.
    pub(crate) fn is_bundle(&self) -> bool {
        let kinds = self
            .layers
            .iter()
            .chain(&self.config)
            .map(|part| part.media_type.as_str());
        let mut kinds = kinds.filter(|kind| {
            [media::WASM, media::WASM_CONFIG].contains(kind)
                || kind.starts_with(media::NESOS_PREFIX)
        });
        self.subject.is_none() && kinds.next().is_some()
    }

    /// Configuration and layers.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// What the catalog keeps of it.
    pub(crate) fn entry(&self, size: u64, pushed_ms: u64) -> Entry {
        let config_type = self.config.as_ref().map(|config| config.media_type.clone());
        Entry {
            media_type: self.media_type().to_owned(),
            size,
            pushed_ms,
            artifact_type: self.artifact_type.clone().or(config_type),
            subject: self.subject.as_ref().map(|subject| subject.digest),
            blobs: self.parts().map(|part| (part.digest, part.size)).collect(),
            manifests: self
                .manifests
                .iter()
                .map(|one| one.digest)
                .collect::<BTreeSet<Digest>>(),
            annotations: self.annotations.clone(),
        }
    }
}

fn refused(why: String) -> RegistryError {
    RegistryError::Manifest(why)
}
