//! The checkpoint on the disk: one redb file, a record per key, a group of changes per commit.
//!
//! Values are `MessagePack` maps with the fields' names, so that versions can read one another. A
//! commit costs a flush of some milliseconds; it happens on a thread of its own, behind the events.

mod file;
mod writer;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub(crate) use self::file::CheckpointFile;
pub(crate) use self::writer::Writer;

/// The checkpoint cannot be used.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Another process has it open.
    #[error(
        "{path:?} is in use by another process; is another agent running on this state directory?"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error(
        "{path:?} is damaged ({what}); move it away to start as a new agent, its tasks will be reported as lost"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A newer version has written it.
    #[error(
        "{path:?} has format {found}, this version knows formats up to {known}; use a newer version"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The newest format that is known here.
        known: u32,
    },
    /// The disk failed.
    #[error("cannot {action} the checkpoint {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
