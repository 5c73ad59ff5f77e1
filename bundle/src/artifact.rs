//! A bundle as an OCI artifact: from its parts to blobs and a manifest, and from a manifest back to which
//! blob is which part.
//!
//! Packing the same parts gives the same bytes, always. A manifest of another tool (`wkg`, `oras`) without
//! layers of ours is a bundle, too. Two Wasm layers are none: which of them would run?

use bytes::Bytes;
use nesos_types::bundle::Digest;
use thiserror::Error;

use crate::manifest::{self, Manifest, ManifestError};
use crate::oci::{Descriptor, ImageManifest, Interface, WasmConfig};
use crate::{files, media};

/// The largest module or component, in bytes.
pub const MAX_WASM_BYTES: u64 = 1 << 30;

/// The parts of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The module or component.
    pub wasm: Bytes,
    /// What a component exports and imports, where the packer knows it.
    pub interface: Option<Interface>,
    /// `nesos.toml`, as it is.
    pub manifest: Option<Bytes>,
    /// The read-only files: see [`files::pack`].
    pub files: Option<Bytes>,
}

/// Content under its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub descriptor: Descriptor,
    /// The content.
    pub bytes: Bytes,
}

impl Blob {
    /// These bytes, which are of this kind.
    #[must_use]
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            descriptor: Descriptor::of(media_type, &bytes),
            bytes,
        }
    }

    /// The digest of the content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }
}

/// A bundle that is ready to be stored: the blobs first, the manifest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The configuration and the layers.
    pub blobs: Vec<Blob>,
    /// The manifest. Its digest is the bundle's.
    pub manifest: Blob,
}

/// Why parts make no bundle.
#[derive(Debug, Error)]
pub enum PackError {
    /// The module or component is not WebAssembly in binary form.
    #[error(transparent)]
    Wasm(#[from] PreambleError),
    /// The manifest is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Makes an artifact of the parts.
///
/// # Errors
/// If the Wasm is not Wasm or `nesos.toml` is not a manifest.
pub fn pack(parts: Parts) -> Result<Packed, PackError> {
    let encoding = Encoding::of(&parts.wasm)?;
    let mut layers = vec![Blob::new(media::WASM, parts.wasm)];
    if let Some(manifest) = parts.manifest {
        Manifest::parse(&manifest)?;
        layers.push(Blob::new(media::NESOS_MANIFEST, manifest));
    }
    layers.extend(
        parts
            .files
            .map(|files| Blob::new(media::NESOS_FILES, files)),
    );
    let config = WasmConfig {
        created: CREATED.to_owned(),
        architecture: "wasm".to_owned(),
        os: encoding.os().to_owned(),
        layer_digests: layers.iter().map(Blob::digest).collect(),
        component: (encoding == Encoding::Component).then(|| parts.interface.unwrap_or_default()),
    };
    Ok(seal(
        Blob::new(media::WASM_CONFIG, config.to_bytes()),
        layers,
    ))
}

/// Always the same moment: when it was packed says nothing about what it is.
const CREATED: &str = "1970-01-01T00:00:00Z";

fn seal(config: Blob, layers: Vec<Blob>) -> Packed {
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone());
    let manifest = ImageManifest::new(config.descriptor.clone(), descriptors.collect());
    let mut blobs = vec![config];
    blobs.extend(layers);
    Packed {
        blobs,
        manifest: Blob::new(media::IMAGE_MANIFEST, manifest.to_bytes()),
    }
}

/// The two binary forms of WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// The bytes do not begin as WebAssembly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not WebAssembly in binary form: it does not begin with \"\\0asm\" and a version that is known; text \
     becomes binary by `wasm-tools parse`"
)]
pub struct PreambleError;

impl Encoding {
    /// What the first eight bytes say.
    ///
    /// # Errors
    /// If they say neither.
    pub fn of(wasm: &[u8]) -> Result<Self, PreambleError> {
        match wasm.get(..8) {
            Some(b"\0asm\x01\0\0\0") => Ok(Self::Module),
            Some(b"\0asm\x0d\0\x01\0") => Ok(Self::Component),
            _ => Err(PreambleError),
        }
    }

    fn os(self) -> &'static str {
        match self {
            Self::Module => "wasip1",
            Self::Component => "wasip2",
        }
    }
}

/// Which blob of an artifact is which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The module or component.
    pub wasm: Descriptor,
    /// `nesos.toml`.
    pub manifest: Option<Descriptor>,
    /// The read-only files.
    pub files: Option<Descriptor>,
}

/// Why an artifact is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Nothing to run.
    #[error("no layer is of the type {wasm}; the layers are: {}", if .0.is_empty() { "none".to_owned() } else { .0.join(", ") }, wasm = media::WASM)]
    NoWasm(Vec<String>),
    /// Two of what there can be one of.
    #[error("two layers are of the type {0}; a bundle has one")]
    Twice(String),
    /// A layer of ours that is not known here: made by a newer release.
    #[error("a layer is of the type {0}, which this release does not know; a newer one made it")]
    Newer(String),
    /// A part that is longer than it may be.
    #[error("the layer of the type {media_type} has {size} bytes; at most {most} are taken")]
    TooLong {
        /// Which part.
        media_type: String,
        /// How long it is.
        size: u64,
        /// How long it may be.
        most: u64,
    },
    /// A module without a byte.
    #[error("the layer of the type {0} is empty")]
    Empty(String),
}

impl Layout {
    /// Finds the parts.
    ///
    /// # Errors
    /// If there is nothing to run, more than one thing to run, or a layer that is too long.
    pub fn of(manifest: &ImageManifest) -> Result<Self, LayoutError> {
        let layers = &manifest.layers;
        let known = [media::WASM, media::NESOS_MANIFEST, media::NESOS_FILES];
        let newer = layers.iter().find(|layer| {
            let kind = layer.media_type.as_str();
            kind.starts_with(media::NESOS_PREFIX) && !known.contains(&kind)
        });
        if let Some(layer) = newer {
            return Err(LayoutError::Newer(layer.media_type.clone()));
        }
        let missing = || {
            let kinds = layers.iter().map(|layer| layer.media_type.clone());
            LayoutError::NoWasm(kinds.collect())
        };
        let wasm = single(layers, media::WASM, MAX_WASM_BYTES)?.ok_or_else(missing)?;
        if wasm.size == 0 {
            return Err(LayoutError::Empty(wasm.media_type));
        }
        Ok(Self {
            wasm,
            manifest: single(layers, media::NESOS_MANIFEST, manifest::MAX_BYTES as u64)?,
            files: single(layers, media::NESOS_FILES, files::MAX_PACKED_BYTES)?,
        })
    }

    /// The parts, the smallest use first: what decides about the others comes before them.
    pub fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.iter().chain([&self.wasm]).chain(&self.files)
    }
}

fn single(
    layers: &[Descriptor],
    media_type: &str,
    most: u64,
) -> Result<Option<Descriptor>, LayoutError> {
    let mut of_this = layers.iter().filter(|layer| layer.media_type == media_type);
    let first = of_this.next();
    if of_this.next().is_some() {
        return Err(LayoutError::Twice(media_type.to_owned()));
    }
    match first {
        Some(layer) if layer.size > most => Err(LayoutError::TooLong {
            media_type: media_type.to_owned(),
            size: layer.size,
            most,
        }),
        found => Ok(found.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn parts(wasm: &'static [u8]) -> Parts {
        Parts {
            wasm: Bytes::from_static(wasm),
            ..Parts::default()
        }
    }

    fn manifest_of(kinds: &[(&str, u64)]) -> ImageManifest {
        let layer = |(kind, size): &(&str, u64)| Descriptor {
            size: *size,
            ..Descriptor::of(kind, b"x")
        };
        let config = Descriptor::of(media::EMPTY, b"{}");
        ImageManifest::new(config, kinds.iter().map(layer).collect())
    }

    #[test]
    fn a_module_is_packed_to_the_same_bytes_always() {
        let packed = pack(parts(MODULE)).expect("packs");
        expect_test::expect![
            "sha256:aeb0651bfcce2e2a7ff35ed1b2d82fbdc7288e6822c6daf81b812860d463c242"
        ]
        .assert_eq(&packed.manifest.digest().to_string());
        let config = String::from_utf8(packed.blobs[0].bytes.to_vec()).expect("JSON");
        assert!(
            config.contains("\"os\":\"wasip1\"") && !config.contains("component"),
            "{config}"
        );
    }

    #[test]
    fn a_component_says_its_interface() {
        let interface = Interface {
            imports: vec!["wasi:cli/environment@0.2.0".into()],
            exports: vec!["wasi:cli/run@0.2.0".into()],
            target: None,
        };
        let packed = pack(Parts {
            interface: Some(interface.clone()),
            ..parts(COMPONENT)
        });
        let packed = packed.expect("packs");
        let config: WasmConfig = serde_json::from_slice(&packed.blobs[0].bytes).expect("written");
        assert_eq!(
            (config.os.as_str(), config.component),
            ("wasip2", Some(interface))
        );
        assert_eq!(config.layer_digests, [packed.blobs[1].digest()]);
    }

    #[test]
    fn what_is_packed_is_found_again() {
        let packed = pack(Parts {
            manifest: Some("name = \"hello\"".into()),
            files: Some("a tar".into()),
            ..parts(MODULE)
        });
        let packed = packed.expect("packs");
        let manifest = ImageManifest::parse(&packed.manifest.bytes).expect("written");
        let layout = Layout::of(&manifest).expect("a bundle");
        let digests: Vec<_> = layout.parts().map(|part| part.digest).collect();
        let [_, wasm, toml, files] = &packed.blobs[..] else {
            panic!("{packed:?}");
        };
        assert_eq!(digests, [toml.digest(), wasm.digest(), files.digest()]);
    }

    #[test]
    fn what_is_no_bundle_is_not_packed() {
        assert!(matches!(pack(parts(b"(module)")), Err(PackError::Wasm(_))));
        let broken = Parts {
            manifest: Some("nam = \"hello\"".into()),
            ..parts(MODULE)
        };
        assert!(matches!(pack(broken), Err(PackError::Manifest(_))));
    }

    #[test]
    fn artifacts_of_other_tools_are_bundles() {
        let manifest = manifest_of(&[(media::WASM, 8), ("text/plain", 3)]);
        let layout = Layout::of(&manifest).expect("a bundle");
        assert_eq!((layout.manifest, layout.files), (None, None));
    }

    #[test]
    fn what_is_no_bundle_is_refused_by_name() {
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let long = MAX_WASM_BYTES + 1;
        let newer = "application/vnd.nesos.models.v1+tar";
        for (layers, words) in [
            (&[][..], "the layers are: none"),
            (&[(tar, 8)], tar),
            (&[(media::WASM, 8), (media::WASM, 9)], "two layers"),
            (
                &[
                    (media::WASM, 8),
                    (media::NESOS_FILES, 1),
                    (media::NESOS_FILES, 1),
                ],
                "two layers",
            ),
            (&[(media::WASM, long)], "at most"),
            (&[(media::WASM, 0)], "empty"),
            (
                &[(media::WASM, 8), (media::NESOS_MANIFEST, 1 << 20)],
                "at most",
            ),
            (&[(media::WASM, 8), (newer, 1)], "newer"),
        ] {
            let error = Layout::of(&manifest_of(layers)).expect_err("no bundle");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
