//! Keys that sign bundles and keys that check signatures: ECDSA over P-256 and Ed25519, as PEM
//! (PKCS #8 and SPKI), which is what `openssl` and `cosign` read and write.
//!
//! Private keys are not encrypted here: who may read the file may sign.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use p256::ecdsa::DerSignature;
use p256::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use rand::TryRngCore;
use rand::rngs::OsRng;
use thiserror::Error;

/// The kinds of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over the curve P-256 with SHA-256: what `cosign generate-key-pair` makes.
    #[default]
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A private key that a passphrase protects.
    #[error(
        "the key is encrypted; nesos reads plain PKCS #8: openssl pkcs8 -in KEY -out PLAIN, or a new one by \
         `nesos keys generate`"
    )]
    Encrypted,
    /// A private key in another notation than PKCS #8.
    #[error("the key is not in PKCS #8: openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW")]
    Notation,
    /// Not a private key of a known kind.
    #[error("not a private key of ECDSA P-256 or Ed25519 in PEM (BEGIN PRIVATE KEY)")]
    NotPrivate,
    /// Not a public key of a known kind.
    #[error("not a public key of ECDSA P-256 or Ed25519 in PEM (BEGIN PUBLIC KEY)")]
    NotPublic,
    /// A private key where a public one belongs.
    #[error(
        "this is a private key; give the public one (BEGIN PUBLIC KEY), and keep the private one to yourself"
    )]
    Private,
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// A private key.
#[derive(Clone)]
pub enum SigningKey {
    /// ECDSA over P-256.
    EcdsaP256(p256::ecdsa::SigningKey),
    /// Ed25519.
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        loop {
            let mut bytes = [0; 32];
            OsRng
                .try_fill_bytes(&mut bytes)
                .map_err(|_| KeyError::NoRandomness)?;
            match algorithm {
                Algorithm::Ed25519 => {
                    let key = ed25519_dalek::SigningKey::from_bytes(&bytes);
                    return Ok(Self::Ed25519(Box::new(key)));
                }
                // Almost every 32 bytes are a key; those above the curve's order are not.
                Algorithm::EcdsaP256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&bytes) {
                        return Ok(Self::EcdsaP256(key));
                    }
                }
            }
        }
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If the text is not such a key; the error says what it is instead, where that can be seen.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("BEGIN ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        if pem.contains("BEGIN EC PRIVATE KEY") {
            return Err(KeyError::Notation);
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self::EcdsaP256(key));
        }
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem);
        key.map(|key| Self::Ed25519(Box::new(key)))
            .map_err(|_| KeyError::NotPrivate)
    }

    /// The key as PEM.
    ///
    /// # Panics
    /// Never: a key of fixed length is encoded into memory.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let pem = match self {
            Self::EcdsaP256(key) => key.to_pkcs8_pem(LineEnding::LF),
            // Without the public half, which `openssl` does not read in this place.
            Self::Ed25519(key) => ed25519_dalek::pkcs8::KeypairBytes {
                secret_key: key.to_bytes(),
                public_key: None,
            }
            .to_pkcs8_pem(LineEnding::LF),
        };
        pem.expect("a key of fixed length").to_string()
    }

    /// The key by which others check.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::EcdsaP256(key) => VerifyingKey::EcdsaP256(*key.verifying_key()),
            Self::Ed25519(key) => VerifyingKey::Ed25519(key.verifying_key()),
        }
    }

    /// Signs. The same key and message give the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::EcdsaP256(key) => {
                let signature: DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyingKey {
    /// ECDSA over P-256.
    EcdsaP256(p256::ecdsa::VerifyingKey),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl VerifyingKey {
    /// Whether this key's owner signed the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EcdsaP256(key) => DerSignature::try_from(signature).is_ok_and(|signature| {
                p256::ecdsa::signature::Verifier::verify(key, message, &signature).is_ok()
            }),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }

    /// The key as PEM.
    ///
    /// # Panics
    /// Never: a key of fixed length is encoded into memory.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let pem = match self {
            Self::EcdsaP256(key) => key.to_public_key_pem(LineEnding::LF),
            Self::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.expect("a key of fixed length")
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;
    fn from_str(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return Ok(Self::EcdsaP256(key));
        }
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
        key.map(Self::Ed25519).map_err(|_| KeyError::NotPublic)
    }
}

#[cfg(test)]
mod tests;
