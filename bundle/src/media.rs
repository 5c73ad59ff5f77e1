//! The media types by which the parts of an artifact are told apart.

/// An OCI image manifest: what a bundle's digest is the digest of.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index: several manifests under one digest. No bundle is one; the referrers of a manifest are.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of a Wasm artifact in the layout of the CNCF.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The layer that holds the module or component.
pub const WASM: &str = "application/wasm";
/// The layer that holds `nesos.toml`, as it is.
pub const NESOS_MANIFEST: &str = "application/vnd.nesos.manifest.v1+toml";
/// The layer that holds the read-only files.
pub const NESOS_FILES: &str = "application/vnd.nesos.files.v1.tar+gzip";
/// What the media types of our own begin with.
pub const NESOS_PREFIX: &str = "application/vnd.nesos.";
/// A configuration without content, `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The layer of a signature: what was signed, in the words of "simple signing".
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What an artifact that holds signatures says it is.
pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The annotation of a signature's layer that holds the signature in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
