//! The documents of the OCI image specification as far as a bundle needs them: descriptors, the image
//! manifest, the index, and the CNCF's configuration of a Wasm artifact.
//!
//! They are read tolerantly (a field that is not known is left out) and written in one order, so that
//! what is packed twice has one digest. The bytes as they came are what is stored, never a copy that was
//! written anew. Structures of our own rather than `oci-spec`'s: digests are those of `nesos-types`, and
//! a document with another algorithm is refused where it is read.

use std::collections::BTreeMap;

use nesos_types::bundle::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{digest_of, media};

/// The largest manifest that is read, in bytes; what registries commonly allow.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Names content: what it is, how long it is, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// How long the content is, in bytes.
    pub size: u64,
    /// What the content of an artifact is, where an index names a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Notes for people and programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Names these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// An OCI image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is; some writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the artifact is, where the configuration does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The content.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about, for example the one that it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Notes for people and programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl ImageManifest {
    /// A manifest of this configuration and these layers.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::IMAGE_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// If the bytes are too many, are not such a document, or are an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(DocumentError::TooLong(bytes.len()));
        }
        let header: Header = serde_json::from_slice(bytes).map_err(DocumentError::Malformed)?;
        match header.media_type.as_deref() {
            None | Some(media::IMAGE_MANIFEST) => {}
            Some(media::IMAGE_INDEX) => return Err(DocumentError::Index),
            Some(other) => return Err(DocumentError::Unknown(other.to_owned())),
        }
        if header.schema_version != 2 {
            return Err(DocumentError::Version(header.schema_version));
        }
        serde_json::from_slice(bytes).map_err(DocumentError::Malformed)
    }

    /// The manifest as it is stored. Equal manifests are equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// An OCI index: the answer to the question which manifests are about another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

impl ImageIndex {
    /// An index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::IMAGE_INDEX.to_owned()),
            manifests,
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// If the bytes are too many or are not such a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(DocumentError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(DocumentError::Malformed)
    }

    /// The index as it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The configuration of a Wasm artifact (CNCF TAG Runtime, Wasm OCI artifact layout).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmConfig {
    /// When it was made, in the notation of RFC 3339.
    pub created: String,
    /// Always `wasm`.
    pub architecture: String,
    /// `wasip1` for a module, `wasip2` for a component.
    pub os: String,
    /// The digests of the layers.
    pub layer_digests: Vec<Digest>,
    /// What a component exports and imports; a module has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Interface>,
}

impl WasmConfig {
    /// The configuration as it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The outside of a component: interfaces by name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What it offers.
    #[serde(default)]
    pub exports: Vec<String>,
    /// What it needs.
    #[serde(default)]
    pub imports: Vec<String>,
    /// The world that it was made for, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Why bytes are not the document that they should be.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// More bytes than a document may have.
    #[error("the manifest has {0} bytes; at most {MAX_MANIFEST_BYTES} are read")]
    TooLong(usize),
    /// Not JSON, or JSON of another shape.
    #[error("not an OCI image manifest: {0}")]
    Malformed(#[source] serde_json::Error),
    /// An index: several artifacts, of which none is named.
    #[error("this is an index of several artifacts; name one of its manifests by digest")]
    Index,
    /// Another kind of document.
    #[error("{0:?} is not a bundle; expected the media type {expected}", expected = media::IMAGE_MANIFEST)]
    Unknown(String),
    /// A version of the specification that is not known.
    #[error("schemaVersion {0} is not known; expected 2")]
    Version(u32),
}

/// What is looked at before the whole, so that another document is called by its name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
}

fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("plain structures with text as keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_its_bytes() {
        let config = Descriptor::of(media::WASM_CONFIG, b"{}");
        let layer = Descriptor::of(media::WASM, b"\0asm");
        let manifest = ImageManifest::new(config, vec![layer]);
        let read = ImageManifest::parse(&manifest.to_bytes()).expect("just written");
        assert_eq!(read, manifest);
        assert_eq!(read.to_bytes(), manifest.to_bytes());
    }

    #[test]
    fn other_documents_are_called_by_their_names() {
        let index = ImageIndex::new(Vec::new()).to_bytes();
        for (bytes, words) in [
            (&index[..], "index"),
            (b"{\"schemaVersion\":1}", "schemaVersion 1"),
            (b"{\"schemaVersion\":2,\"mediaType\":\"text/x\"}", "text/x"),
            (b"{\"schemaVersion\":2}", "config"),
            (b"hello", "not an OCI image manifest"),
            (&vec![b' '; MAX_MANIFEST_BYTES + 1], "at most"),
        ] {
            let error = ImageManifest::parse(bytes).expect_err("no manifest");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn another_algorithm_is_refused() {
        let config = Descriptor::of(media::WASM_CONFIG, b"{}");
        let text = String::from_utf8(ImageManifest::new(config, vec![]).to_bytes()).expect("JSON");
        let error = ImageManifest::parse(text.replace("sha256:", "sha512:").as_bytes());
        assert!(
            error
                .expect_err("no digest of ours")
                .to_string()
                .contains("sha512:")
        );
    }
}
