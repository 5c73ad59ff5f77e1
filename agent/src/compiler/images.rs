//! Compiled images in use: each has a second name, a hard link, so that the cache may evict the first.
//!
//! Several agents may share one cache, as those of short-lived clusters do: each has a directory of
//! second names of its own, locked while it lives.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

/// The directory of second names, and how often each is held.
#[derive(Debug)]
pub(super) struct Images {
    directory: PathBuf,
    held: Mutex<HashMap<PathBuf, usize>>,
    _lock: File,
}

impl Images {
    /// Makes a directory below `parent`, and removes those of agents that are gone: what they held is
    /// mapped where it is used.
    pub(super) fn open(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // One at a time: nobody takes a directory that is not locked yet for one that is left over.
        let guard = File::open(parent)?;
        flock(&guard, FlockOperation::LockExclusive)?;
        for entry in fs::read_dir(parent)? {
            discard_if_left(&entry?.path());
        }
        let directory = make_directory(parent)?;
        let lock = File::open(&directory)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            directory,
            held: Mutex::new(HashMap::new()),
            _lock: lock,
        })
    }

    /// Holds an image of the cache; answers where it stays. `None` if it is no longer there.
    pub(super) fn hold(&self, cached: &Path) -> Option<PathBuf> {
        let path = self.path(cached)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(path.clone()).or_default();
        if *count == 0
            && let Err(error) = fs::hard_link(cached, &path)
        {
            tracing::info!(?cached, %error, "a compiled bundle is not in the cache any more");
            held.remove(&path);
            return None;
        }
        *count += 1;
        Some(path)
    }

    /// Lets one hold of an image go.
    pub(super) fn release(&self, cached: &Path) {
        let Some(path) = self.path(cached) else {
            return;
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = held.get_mut(&path) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            held.remove(&path);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(?path, %error, "cannot let a compiled bundle go");
            }
        }
    }

    fn path(&self, cached: &Path) -> Option<PathBuf> {
        Some(self.directory.join(cached.file_name()?))
    }
}

impl Drop for Images {
    /// Leaves nothing where nothing is held; the rest is for the next agent to remove.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// A directory that nobody else has, named after this process for whoever looks.
fn make_directory(parent: &Path) -> io::Result<PathBuf> {
    let process = std::process::id();
    for number in 0_u32.. {
        let directory = parent.join(format!("{process}-{number}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes a directory whose agent is gone. What cannot be removed now can be by the next agent.
fn discard_if_left(directory: &Path) {
    let is_left = File::open(directory)
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok());
    if is_left
        && directory.is_dir()
        && let Err(error) = fs::remove_dir_all(directory)
    {
        tracing::warn!(?directory, %error, "cannot remove what an earlier agent has left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_stays_until_it_is_released_as_often_as_it_was_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let cached = directory.path().join("image.cwasm");
        fs::write(&cached, b"code").expect("written");
        let images = Images::open(&directory.path().join("in-use")).expect("opens");
        let held = images.hold(&cached).expect("is there");
        assert_eq!(images.hold(&cached), Some(held.clone()));
        fs::remove_file(&cached).expect("evicted");
        images.release(&cached);
        assert_eq!(fs::read(&held).expect("is still there"), b"code");
        images.release(&cached);
        assert!(!held.exists());
        assert_eq!(images.hold(&cached), None);
    }

    #[test]
    fn agents_on_one_cache_leave_each_other_alone_and_clear_up_after_the_dead() {
        let directory = tempfile::tempdir().expect("a directory");
        let cached = directory.path().join("image.cwasm");
        fs::write(&cached, b"code").expect("written");
        let parent = directory.path().join("in-use");
        let dead = parent.join("0-0");
        fs::create_dir_all(dead.join("files")).expect("made");
        let first = Images::open(&parent).expect("opens");
        let held = first.hold(&cached).expect("is there");
        let second = Images::open(&parent).expect("opens");
        assert!(held.exists() && !dead.exists());
        assert_ne!(second.hold(&cached), Some(held));
    }
}
