//! Compiled images in use: each has a second name, a hard link, so that the cache may evict the first.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The directory of second names, and how often each is held.
#[derive(Debug)]
pub(super) struct Images {
    directory: PathBuf,
    held: Mutex<HashMap<PathBuf, usize>>,
}

impl Images {
    /// Makes the directory, empty: what an earlier process held is mapped where it is used.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&directory)?,
        }
        Ok(Self {
            directory,
            held: Mutex::new(HashMap::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_stays_until_it_is_released_as_often_as_it_was_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let cached = directory.path().join("image.cwasm");
        fs::write(&cached, b"code").expect("written");
        let images = Images::open(directory.path().join("in-use")).expect("opens");
        let held = images.hold(&cached).expect("is there");
        assert_eq!(images.hold(&cached), Some(held.clone()));
        fs::remove_file(&cached).expect("evicted");
        images.release(&cached);
        assert_eq!(fs::read(&held).expect("is still there"), b"code");
        images.release(&cached);
        assert!(!held.exists());
        assert_eq!(images.hold(&cached), None);
    }
}
