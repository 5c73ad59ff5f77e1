//! Why the registry cannot do what was asked: one type, of which each door makes its own words.

use std::io;
use std::path::PathBuf;

use nesos_types::bundle::Digest;
use thiserror::Error;

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
    /// The upload is to go on where it has not stopped.
    #[error("the upload cannot go on at byte {offset}: {received} were received")]
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
    /// The object store failed.
    #[error("the store of bundles cannot {action} {key:?}")]
    Object {
        /// What was tried.
        action: &'static str,
        /// The object.
        key: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// What is stored under a digest has another one.
    #[error("the stored blob {digest} is damaged: {found}; it was put aside, upload it once more")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// What is in its place.
        found: String,
    },
    /// Another master leads, and changes what there is.
    #[error("another master leads, or will; ask that one")]
    Deposed,
    /// The configuration of the store cannot be meant.
    #[error("bundles.{key}: {why}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
}

impl BundleStoreError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// The error with its cause.
    pub(crate) fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// Why the registry refuses.
#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    /// A text is not the name of a repository.
    #[error("{name:?} is not the name of a repository: {why}")]
    Name {
        /// The text, shortened.
        name: String,
        /// Which rule it breaks.
        why: String,
    },
    /// A text is neither a tag nor a digest.
    #[error("{0}")]
    Reference(String),
    /// A text is not a digest, or content has another one.
    #[error("{0}")]
    Digest(String),
    /// There is no such repository.
    #[error("there is no repository {0}")]
    NoRepository(String),
    /// There is no such manifest.
    #[error("there is no {reference} in the repository {name}")]
    NoManifest {
        /// The repository.
        name: String,
        /// Tag or digest.
        reference: String,
    },
    /// There is no such blob.
    #[error("there is no blob {0}")]
    NoBlob(Digest),
    /// A manifest names what is not there.
    #[error("the manifest names {0}, which is not here; push it first")]
    NamesNothing(Digest),
    /// There is no such upload.
    #[error("there is no upload {0} in this repository; begin a new one")]
    NoUpload(String),
    /// A manifest that nothing could be done with.
    #[error("{0}")]
    Manifest(String),
    /// More bytes than are taken.
    #[error("{what} has {bytes} bytes, and {most} are taken at most")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, or what of it had come.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// A chunk or a range that does not fit.
    #[error("{why}")]
    Range {
        /// What does not fit.
        why: String,
        /// Where the upload stands, if it is one.
        received: Option<u64>,
    },
    /// A role or a repository holds as much as it may.
    #[error(
        "the {whose} would have {would} {what}, and {most} are allowed ({key}); delete some, or ask an operator"
    )]
    Quota {
        /// Role or repository.
        whose: String,
        /// Of what.
        what: &'static str,
        /// What it would be.
        would: u64,
        /// What is allowed.
        most: u64,
        /// The key of the configuration.
        key: &'static str,
    },
    /// Too much is under way at once.
    #[error("{0}")]
    TooMany(String),
    /// It is in use.
    #[error("{0}")]
    InUse(String),
    /// The request makes no sense.
    #[error("{0}")]
    Unsupported(String),
    /// The client broke off.
    #[error("the upload broke off after {0} bytes; it can go on from there")]
    BrokenOff(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] BundleStoreError),
    /// A part of the registry was lost: a bug.
    #[error("the registry failed: {0}")]
    Lost(#[from] tokio::task::JoinError),
}
