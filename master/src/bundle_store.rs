//! Where bundles are kept: blobs, addressed by the SHA-256 digest of what they contain.
//!
//! A store knows nothing of gRPC, of WebAssembly or of who may read what. Uploads go under a name of
//! their own, in pieces and over as many connections as it takes, and become a blob only when their
//! bytes have the digest that was promised. Calls block, so they are made where blocking is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use nesos_types::bundle::Digest;
use thiserror::Error;

mod local;

pub(crate) use local::LocalBundleStore;

/// A content-addressed store of blobs.
pub(crate) trait BundleStore: fmt::Debug + Send + Sync + 'static {
    /// The size of a blob, if it is there.
    fn stat(&self, digest: Digest) -> Result<Option<u64>, BundleStoreError>;

    /// How much of an upload was received so far; zero if there is none of this name.
    fn uploaded(&self, name: &UploadName) -> Result<u64, BundleStoreError>;

    /// Begins an upload, or goes on with it from `offset`: what was received beyond is dropped.
    fn resume(&self, name: &UploadName, offset: u64) -> Result<Box<dyn Upload>, BundleStoreError>;

    /// Opens a blob for reading, if it is there.
    fn open(&self, digest: Digest) -> Result<Option<Box<dyn Blob>>, BundleStoreError>;
}

/// An upload under way. Whoever has it is the only one who writes to it; dropping it keeps what was
/// received, for another attempt.
pub(crate) trait Upload: fmt::Debug + Send {
    /// Takes the next bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), BundleStoreError>;

    /// How much was received so far.
    fn received(&self) -> u64;

    /// Makes the upload a blob if it has this digest; otherwise drops what was received.
    fn commit(self: Box<Self>, expected: Digest) -> Result<(), BundleStoreError>;

    /// Drops what was received.
    fn discard(self: Box<Self>) -> Result<(), BundleStoreError>;
}

/// A blob that is open for reading. It stays readable even if it is removed meanwhile.
pub(crate) trait Blob: fmt::Debug + Send + Sync {
    /// Its size.
    fn size(&self) -> u64;

    /// Reads from `offset` until the buffer is full or the blob ends; says how much was read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, BundleStoreError>;
}

/// The name of an upload: 1 to 128 lower-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UploadName(String);

impl UploadName {
    /// The upload of a blob whose digest is known beforehand, so that anyone can go on with it.
    pub(crate) fn of_digest(digest: Digest) -> Self {
        Self(digest.hex())
    }

    /// The same upload once more, for a second client at the same time; nobody goes on with it.
    pub(crate) fn beside(&self, number: u64) -> Self {
        Self(format!("{}-{number}", self.0))
    }

    /// The name as text; a good file name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadName {
    type Err = UploadNameError;
    fn from_str(text: &str) -> Result<Self, UploadNameError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(UploadNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A text is not the name of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the name of an upload is 1 to 128 lower-case letters, digits and dashes")]
pub(crate) struct UploadNameError;

/// Why a blob cannot be read or stored.
#[derive(Debug, Error)]
pub enum BundleStoreError {
    /// The bytes do not have the promised digest.
    #[error(
        "what was uploaded as {expected} is in fact {found}; it was dropped, upload it once more"
    )]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The upload is to go on beyond what was received.
    #[error("the upload cannot go on at byte {offset}: only {received} were received")]
    OffsetBeyond {
        /// Where it was to go on.
        offset: u64,
        /// What was received.
        received: u64,
    },
    /// Somebody else is writing to the same upload.
    #[error("another upload of the same blob is under way; wait for it, or begin anew at byte 0")]
    Busy,
    /// There is no space left.
    #[error("no space left to store bundles under {path}")]
    Full {
        /// The store's directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reading or writing failed for another cause.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
