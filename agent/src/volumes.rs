//! Persistent volumes: directories that outlive tasks and this process. Each is the incarnation of a name:
//! `volumes/NAME/INCARNATION`.

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
    /// Where destroyed volumes lie until they are removed.
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

    /// Puts volumes away that belong to an agent which this one is no more: nobody will ask for them, but
    /// they may be dear to somebody. Answers where they are, if there were any.
    pub(crate) fn put_away(&self) -> io::Result<Option<PathBuf>> {
        if fs::read_dir(&self.directory)?.next().is_none() {
            return Ok(None);
        }
        let lost = self.directory.with_extension(format!("lost-{}", moment()));
        fs::rename(&self.directory, &lost)?;
        fs::create_dir(&self.directory)?;
        Ok(Some(lost))
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
        for name in entries(&self.directory) {
            for incarnation in entries(&name) {
                if !keep.contains(incarnation.as_path()) {
                    self.discard(&incarnation, remover);
                }
            }
            // Stays where there is something in it.
            let _ = fs::remove_dir(&name);
        }
    }

    fn discard(&self, path: &Path, remover: &Remover) {
        let aside = self.discarded.join(moment());
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

fn moment() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos().to_string()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    match fs::read_dir(directory) {
        Ok(there) => there.flatten().map(|entry| entry.path()).collect(),
        Err(error) => {
            tracing::error!(path = %directory.display(), %error, "cannot read the volumes");
            Vec::new()
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
        let (a, b) = (directory.join("a/1"), directory.join("b/1"));
        let volumes = Volumes::open(directory.clone(), &remover).unwrap();
        volumes.keep(&[a.clone(), b.clone()], &remover);
        fs::write(a.join("x"), b"1").unwrap();
        fs::write(b.join("x"), b"2").unwrap();
        volumes.keep(std::slice::from_ref(&a), &remover);
        assert_eq!(fs::read(a.join("x")).unwrap(), b"1");
        assert!(!directory.join("b").exists());
        drop(volumes);
        Volumes::open(directory, &remover).unwrap();
        assert_eq!(fs::read(a.join("x")).unwrap(), b"1");
    }

    #[test]
    fn a_volume_of_the_same_name_holds_nothing_of_the_former() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("volumes");
        let remover = Remover::start().unwrap();
        let volumes = Volumes::open(directory.clone(), &remover).unwrap();
        let (former, later) = (directory.join("a/1"), directory.join("a/2"));
        volumes.keep(std::slice::from_ref(&former), &remover);
        fs::write(former.join("x"), b"1").unwrap();
        volumes.keep(std::slice::from_ref(&later), &remover);
        assert!(!former.exists());
        assert!(fs::read_dir(&later).unwrap().next().is_none());
    }

    #[test]
    fn volumes_of_an_agent_that_is_no_more_are_put_away_and_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("volumes");
        let remover = Remover::start().unwrap();
        let volumes = Volumes::open(directory.clone(), &remover).unwrap();
        assert_eq!(volumes.put_away().unwrap(), None);
        volumes.keep(&[directory.join("a/1")], &remover);
        fs::write(directory.join("a/1/x"), b"1").unwrap();
        let lost = volumes.put_away().unwrap().expect("there was one");
        assert_eq!(fs::read(lost.join("a/1/x")).unwrap(), b"1");
        assert!(fs::read_dir(&directory).unwrap().next().is_none());
    }
}
