//! Persistent volumes: directories that outlive tasks and this process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sandbox_dirs::Remover;

/// The directories of an agent's volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    directory: PathBuf,
    /// Where destroyed volumes lie until they are removed: a new one of the same name may be made at once.
    discarded: PathBuf,
}

impl Volumes {
    /// The volumes in this directory. What was being removed when an earlier process ended is removed.
    pub(crate) fn open(directory: PathBuf, remover: &Remover) -> io::Result<Self> {
        let discarded = directory.with_extension("discarded");
        fs::create_dir_all(&directory)?;
        fs::create_dir_all(&discarded)?;
        for entry in fs::read_dir(&discarded)? {
            remover.remove(entry?.path());
        }
        Ok(Self {
            directory,
            discarded,
        })
    }

    /// Makes those that are not there, and removes all that are not named, with everything in them.
    pub(crate) fn keep(&self, keep: &[PathBuf], remover: &Remover) {
        for path in keep {
            if let Err(error) = fs::create_dir_all(path) {
                // Tasks that mount it will be dropped, and say why.
                tracing::error!(path = %path.display(), %error, "cannot make a volume");
            }
        }
        let keep: BTreeSet<&Path> = keep.iter().map(PathBuf::as_path).collect();
        let there = match fs::read_dir(&self.directory) {
            Ok(there) => there,
            Err(error) => {
                tracing::error!(path = %self.directory.display(), %error, "cannot read the volumes");
                return;
            }
        };
        for path in there.flatten().map(|entry| entry.path()) {
            if !keep.contains(path.as_path()) {
                self.discard(&path, remover);
            }
        }
    }

    fn discard(&self, path: &Path, remover: &Remover) {
        let moment = SystemTime::now().duration_since(UNIX_EPOCH);
        let moment = moment.unwrap_or_default().as_nanos();
        let aside = self.discarded.join(moment.to_string());
        match fs::rename(path, &aside) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "a volume is destroyed");
                remover.remove(aside);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot destroy a volume");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_stay_until_they_are_no_longer_named() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("volumes");
        let remover = Remover::start().unwrap();
        let (a, b) = (directory.join("a"), directory.join("b"));
        let volumes = Volumes::open(directory.clone(), &remover).unwrap();
        volumes.keep(&[a.clone(), b.clone()], &remover);
        fs::write(a.join("x"), b"1").unwrap();
        fs::write(b.join("x"), b"2").unwrap();
        volumes.keep(std::slice::from_ref(&a), &remover);
        assert_eq!(fs::read(a.join("x")).unwrap(), b"1");
        assert!(!b.exists());
        // One of the same name is a new one, whether the old one is removed by now or not.
        volumes.keep(&[a.clone(), b.clone()], &remover);
        assert!(fs::read_dir(&b).unwrap().next().is_none());
        drop(volumes);
        Volumes::open(directory, &remover).unwrap();
        assert_eq!(fs::read(a.join("x")).unwrap(), b"1");
    }
}
