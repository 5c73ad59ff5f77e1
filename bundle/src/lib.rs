//! What a bundle is: `nesos.toml`, the OCI artifact that it is stored and moved as, the references by
//! which people name it, and the signatures that vouch for it.
//!
//! Bytes in, bytes out. It knows no network, no cluster and no engine: who pulls, who compiles and who
//! is allowed to is decided by those who use it.

pub mod artifact;
#[cfg(feature = "client")]
pub mod client;
pub mod difference;
pub mod files;
pub mod keys;
pub mod manifest;
pub mod media;
pub mod oci;
pub mod reference;
pub mod signature;

use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of these bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
