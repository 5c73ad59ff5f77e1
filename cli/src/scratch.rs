//! Directories that are gone when the process is, even when it had no time to say good-bye: whoever
//! makes the next one removes those whose owner has died.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::failure::Failure;

/// What the directories' names begin with. Short: sockets lie below, and their paths are bounded.
const PREFIX: &str = "nesos-scratch-";

/// The file that the owner of a directory holds locked.
const LOCK: &str = "nesos.lock";

/// A directory of this process, removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a directory that only this user can look into.
    pub(crate) fn new() -> Result<Self, Failure> {
        let base = std::env::temp_dir();
        sweep(&base);
        Self::new_in(&base).map_err(|error| {
            let what = format!("cannot make a directory in {}", base.display());
            Failure::new(&what, error)
        })
    }

    fn new_in(base: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
        let lock = File::create(directory.path().join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories of dead owners. What cannot be looked at is somebody else's.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            // The next one may succeed where this one fails.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the directory's owner has let go of its lock. One without a lock is being made, or is not
/// ours at all.
fn is_abandoned(directory: &Path) -> bool {
    File::open(directory.join(LOCK))
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_swept_and_the_living_are_not() {
        let base = tempfile::tempdir().expect("a directory");
        let living = Scratch::new_in(base.path()).expect("made");
        let dead = Scratch::new_in(base.path()).expect("made");
        let dead_path = dead.path().to_owned();
        // As if the process had been killed: the directory stays, the lock goes.
        let Scratch { directory, _lock } = dead;
        let _ = directory.keep();
        drop(_lock);
        fs::create_dir(base.path().join("nesos-scratch-new")).expect("made");
        fs::create_dir(base.path().join("other")).expect("made");

        sweep(base.path());

        assert!(living.path().exists());
        assert!(!dead_path.exists());
        assert!(base.path().join("nesos-scratch-new").exists(), "being made");
        assert!(base.path().join("other").exists(), "not ours");
    }
}
