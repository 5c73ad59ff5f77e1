//! Signatures of bundles, as `cosign` makes and checks them with keys: a document that names the bundle's
//! digest ("simple signing"), its signature in an annotation, both in an artifact of their own that has the
//! bundle as its subject.
//!
//! A signature vouches for a digest, so for every byte that is pulled by it, wherever from. It vouches for no
//! name: the same bytes under another name are the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nesos_types::bundle::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::artifact::{Blob, Packed};
use crate::keys::{SigningKey, VerifyingKey};
use crate::media;
use crate::oci::{Descriptor, ImageManifest};

/// The longest document that is looked at, in bytes.
pub const MAX_PAYLOAD_BYTES: u64 = 64 << 10;

const PAYLOAD_TYPE: &str = "cosign container image signature";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// One signature, as it is found in an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The document, to be fetched.
    pub payload: Descriptor,
    /// The signature in base64.
    pub signature: String,
}

/// Why nobody who is trusted vouches for a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The document is not one.
    #[error("the signed document cannot be read: {0}")]
    Malformed(String),
    /// The document is about something else.
    #[error("the signature is of {signed}, not of {wanted}")]
    AnotherBundle {
        /// What was signed.
        signed: Digest,
        /// What was to be run.
        wanted: Digest,
    },
    /// No key that is trusted made it.
    #[error("the signature is of none of the {0} trusted keys")]
    AnotherKey(usize),
}

/// The tag under which the signatures of a bundle are found where a registry knows no referrers.
#[must_use]
pub fn tag(bundle: Digest) -> String {
    format!("sha256-{}.sig", bundle.hex())
}

/// Signs the bundle whose manifest this is, and makes the artifact that says so. `name` is what whoever
/// reads the signature sees as the bundle's name.
///
/// # Panics
/// Never: plain structures are written.
#[must_use]
pub fn sign(key: &SigningKey, name: &str, bundle: &Descriptor) -> Packed {
    let payload = Payload {
        critical: Critical {
            identity: Identity {
                reference: name.to_owned(),
            },
            image: Image {
                digest: bundle.digest,
            },
            kind: PAYLOAD_TYPE.to_owned(),
        },
        optional: None,
    };
    let bytes = serde_json::to_vec(&payload).expect("plain structures with text as keys");
    let signature = STANDARD.encode(key.sign(&bytes));
    let mut payload = Blob::new(media::SIMPLE_SIGNING, bytes);
    let annotations = &mut payload.descriptor.annotations;
    annotations.insert(media::SIGNATURE_ANNOTATION.to_owned(), signature);
    wrap(payload, bundle)
}

/// The artifact around a signature. Its configuration is that of an image of one layer: so `cosign` writes it,
/// and tools that show images are content.
fn wrap(payload: Blob, bundle: &Descriptor) -> Packed {
    let config = serde_json::json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [payload.digest()]},
        "config": {},
    });
    let config = Blob::new(IMAGE_CONFIG, config.to_string());
    let layers = vec![payload.descriptor.clone()];
    let subject = Descriptor {
        annotations: Default::default(),
        artifact_type: None,
        ..bundle.clone()
    };
    let manifest = ImageManifest {
        artifact_type: Some(media::COSIGN_SIGNATURE.to_owned()),
        subject: Some(subject),
        ..ImageManifest::new(config.descriptor.clone(), layers)
    };
    Packed {
        blobs: vec![config, payload],
        manifest: Blob::new(media::IMAGE_MANIFEST, manifest.to_bytes()),
    }
}

/// Adds the signatures of `more` to those of `all`, for a tag under which all are found. A signature that is
/// there already is not added again.
#[must_use]
pub fn merge(all: &ImageManifest, more: &ImageManifest) -> ImageManifest {
    let mut merged = all.clone();
    let new = more
        .layers
        .iter()
        .filter(|layer| !all.layers.contains(layer));
    merged.layers.extend(new.cloned());
    merged
}

/// The signatures in an artifact.
#[must_use]
pub fn found_in(manifest: &ImageManifest) -> Vec<Found> {
    let layers = manifest.layers.iter();
    let signed = layers.filter_map(|layer| {
        let signature = layer.annotations.get(media::SIGNATURE_ANNOTATION)?;
        let fine = layer.media_type == media::SIMPLE_SIGNING && layer.size <= MAX_PAYLOAD_BYTES;
        fine.then(|| Found {
            payload: layer.clone(),
            signature: signature.clone(),
        })
    });
    signed.collect()
}

/// Whether one of the keys signed a document that names this bundle. `payload` is the document, byte for byte.
///
/// # Errors
/// If none did, or if they signed something else.
pub fn verify(
    bundle: Digest,
    payload: &[u8],
    signature: &str,
    keys: &[VerifyingKey],
) -> Result<(), SignatureError> {
    let malformed = |error: &dyn std::fmt::Display| SignatureError::Malformed(error.to_string());
    let signature = STANDARD
        .decode(signature.trim())
        .map_err(|error| malformed(&error))?;
    // Before a word of it is believed.
    if !keys.iter().any(|key| key.verifies(payload, &signature)) {
        return Err(SignatureError::AnotherKey(keys.len()));
    }
    let read: Payload = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
    if read.critical.kind != PAYLOAD_TYPE {
        return Err(malformed(&format_args!(
            "it is of the type {:?}",
            read.critical.kind
        )));
    }
    let signed = read.critical.image.digest;
    if signed != bundle {
        return Err(SignatureError::AnotherBundle {
            signed,
            wanted: bundle,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Algorithm;

    const PAYLOAD: &[u8] = include_bytes!("../tests/vectors/payload.json");
    const SIGNED: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn bundle() -> Descriptor {
        Descriptor {
            digest: SIGNED.parse().expect("a digest"),
            ..Descriptor::of(media::IMAGE_MANIFEST, b"{}")
        }
    }

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::EcdsaP256).expect("randomness")
    }

    /// The only signature in an artifact, and the document that it is of.
    fn taken_from(packed: &Packed) -> (String, Vec<u8>) {
        let manifest = ImageManifest::parse(&packed.manifest.bytes).expect("written");
        let found = found_in(&manifest);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        let mut blobs = packed.blobs.iter();
        let payload = blobs.find(|blob| blob.digest() == one.payload.digest);
        (
            one.signature.clone(),
            payload.expect("beside it").bytes.to_vec(),
        )
    }

    #[test]
    fn signatures_of_others_are_verified() {
        for (public, signature) in [
            (
                include_str!("../tests/vectors/p256.pub"),
                &include_bytes!("../tests/vectors/p256.sig")[..],
            ),
            (
                include_str!("../tests/vectors/ed.pub"),
                include_bytes!("../tests/vectors/ed.sig"),
            ),
        ] {
            let keys = [key().verifying_key(), public.parse().expect("a key")];
            let signature = STANDARD.encode(signature);
            assert_eq!(verify(bundle().digest, PAYLOAD, &signature, &keys), Ok(()));
        }
    }

    #[test]
    fn what_is_signed_is_what_cosign_signs() {
        let (_, payload) = taken_from(&sign(&key(), "ads/web/hello", &bundle()));
        assert_eq!(
            String::from_utf8_lossy(&payload),
            String::from_utf8_lossy(PAYLOAD)
        );
    }

    #[test]
    fn a_signature_is_about_its_bundle() {
        let key = key();
        let packed = sign(&key, "hello", &bundle());
        let manifest = ImageManifest::parse(&packed.manifest.bytes).expect("written");
        assert_eq!(manifest.subject.expect("said").digest, bundle().digest);
        assert_eq!(
            manifest.artifact_type.as_deref(),
            Some(media::COSIGN_SIGNATURE)
        );
        let (signature, payload) = taken_from(&packed);
        let keys = [key.verifying_key()];
        assert_eq!(verify(bundle().digest, &payload, &signature, &keys), Ok(()));
        let other = Digest([7; 32]);
        let error = verify(other, &payload, &signature, &keys).expect_err("another bundle");
        assert!(
            matches!(error, SignatureError::AnotherBundle { .. }),
            "{error}"
        );
    }

    #[test]
    fn other_keys_and_other_documents_are_refused() {
        let key = key();
        let (signature, payload) = taken_from(&sign(&key, "hello", &bundle()));
        let digest = bundle().digest;
        let stranger = [self::key().verifying_key()];
        let error = verify(digest, &payload, &signature, &stranger).expect_err("a stranger");
        assert_eq!(error, SignatureError::AnotherKey(1));
        assert_eq!(
            verify(digest, &payload, &signature, &[]),
            Err(SignatureError::AnotherKey(0))
        );
        let keys = [key.verifying_key()];
        let mut bent = payload.clone();
        bent[10] ^= 1;
        assert!(verify(digest, &bent, &signature, &keys).is_err());
        assert!(verify(digest, &payload, "%", &keys).is_err());
        let nonsense = STANDARD.encode(key.sign(b"nonsense"));
        let error = verify(digest, b"nonsense", &nonsense, &keys).expect_err("no document");
        assert!(matches!(error, SignatureError::Malformed(_)), "{error}");
    }

    #[test]
    fn signatures_of_two_keys_are_found_under_one_tag() {
        let of = |key: &SigningKey| {
            ImageManifest::parse(&sign(key, "hello", &bundle()).manifest.bytes).expect("written")
        };
        let (one, two) = (of(&key()), of(&key()));
        let merged = merge(&one, &two);
        assert_eq!(found_in(&merged).len(), 2);
        assert_eq!(merge(&merged, &two), merged);
        assert_eq!(
            tag(Digest([0xab; 32])),
            format!("sha256-{}.sig", "ab".repeat(32))
        );
    }
}
