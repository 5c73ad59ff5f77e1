//! The registry on the disk or in an etcd: where records go before their effects are performed.
//!
//! A store keeps the newest record of each subject and knows nothing of what records mean; that is
//! the core's `Registry`, which is rebuilt from them. So a store does not grow with time, only with
//! the number of subjects, and the core bounds that by forgetting.

use std::io;
use std::path::PathBuf;

use nesos_master_core::Record;
use thiserror::Error;

use batch::Batch;
use fence::Fence;

pub(crate) mod batch;
pub(crate) mod etcd;
pub(crate) mod fence;
pub(crate) mod memory;
pub(crate) mod redb;
#[cfg(test)]
mod suite;

/// Keeps records. Calls block, so they are made where blocking is allowed.
pub(crate) trait Store: Send + 'static {
    /// Everything that was committed: the newest record of each subject, in any order.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;

    /// Makes records durable, those of one event all or none and in the events' order. After an error
    /// nothing more can be committed.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// What to ask before anything is done that others see.
    fn fence(&self) -> Fence;
}

/// Why the registry cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another master has the registry open.
    #[error(
        "{path} is in use by another master; stop it, or give this one a state directory of its own"
    )]
    InUse {
        /// The registry's file.
        path: PathBuf,
    },
    /// The file is not a registry, or it is damaged.
    #[error(
        "the registry {path} is damaged ({what}); restore it from a backup, or move it away to start \
         with an empty one: agents and frameworks will then have to join anew"
    )]
    Corrupt {
        /// The registry's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The registry was written by a newer version.
    #[error("the registry {path} has format {found}, this version knows {known}; upgrade nesos")]
    NewerFormat {
        /// The registry's file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is understood.
        known: u32,
    },
    /// There is no space left.
    #[error("no space left to write the registry {path}; free some and start the master again")]
    Full {
        /// The registry's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reading or writing failed for another cause.
    #[error("cannot {action} the registry {path}")]
    Io {
        /// What was tried: "open", "read", "write".
        action: &'static str,
        /// The registry's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another master leads. Nothing was written that it does not know of.
    #[error("another master leads, or will: this one's lease is lost")]
    Deposed,
    /// No member of the etcd answers.
    #[error("{etcd} cannot be reached: {why}")]
    Unreachable {
        /// The etcd.
        etcd: String,
        /// What the last attempt came to.
        why: String,
    },
    /// The etcd answers, and will not do what it was asked to.
    #[error("{etcd} refuses: {why}")]
    Refused {
        /// The etcd.
        etcd: String,
        /// What it says.
        why: String,
    },
}
