//! The read-only files of bundles, unpacked once for all tasks that find them: bounded in bytes, the least
//! recently used go first, those in use stay.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nesos_bundle::files::{FilesError, Limits, unpack};
use nesos_types::bundle::Digest;

/// Tasks outlive the agent: for so long after it starts nothing goes, until it has found what they use.
const AMNESTY: Duration = Duration::from_secs(60);

/// Folders of files, by the digest of their layer.
#[derive(Debug)]
pub(super) struct Unpacked {
    directory: PathBuf,
    max_bytes: u64,
    opened: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    folders: HashMap<Digest, Folder>,
    clock: u64,
}

#[derive(Debug)]
struct Folder {
    bytes: u64,
    users: usize,
    used: u64,
}

impl Unpacked {
    /// The folders in a directory, which is made if need be; what was half unpacked is removed.
    pub(super) fn open(directory: PathBuf, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut state = State::default();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            match digest_of(&path) {
                Some(digest) => state.add(digest, bytes_in(&path)?),
                None => fs::remove_dir_all(&path)?,
            }
        }
        Ok(Self {
            directory,
            max_bytes,
            opened: Instant::now(),
            state: Mutex::new(state),
        })
    }

    /// Holds the files of a layer, if they are here.
    pub(super) fn hold(&self, layer: Digest) -> Option<PathBuf> {
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        let folder = state.folders.get_mut(&layer)?;
        folder.users += 1;
        folder.used = clock;
        Some(self.path(layer))
    }

    /// Lets one hold go.
    pub(super) fn release(&self, layer: Digest) {
        if let Some(folder) = self.state().folders.get_mut(&layer) {
            folder.users = folder.users.saturating_sub(1);
        }
    }

    /// Unpacks a layer that lies in `from`. Blocks.
    pub(super) fn add(&self, layer: Digest, from: &Path) -> Result<(), FilesError> {
        let part = self.directory.join(format!("{}.part", layer.hex()));
        let unpacked = self.unpack(from, &part);
        let bytes = match unpacked {
            Ok(bytes) => bytes,
            Err(error) => {
                // What cannot be removed now is when the agent next starts.
                let _ = fs::remove_dir_all(&part);
                return Err(error);
            }
        };
        fs::rename(&part, self.path(layer))?;
        let evicted = self.state().insert(layer, bytes, self.room());
        for digest in evicted {
            if let Err(error) = fs::remove_dir_all(self.path(digest)) {
                tracing::warn!(%digest, %error, "cannot remove files that nobody uses");
            }
        }
        Ok(())
    }

    fn unpack(&self, from: &Path, part: &Path) -> Result<u64, FilesError> {
        if part.exists() {
            fs::remove_dir_all(part)?;
        }
        fs::create_dir(part)?;
        let limits = Limits {
            bytes: self.max_bytes,
            ..Limits::default()
        };
        unpack(File::open(from)?, part, limits)?;
        Ok(bytes_in(part)?)
    }

    fn room(&self) -> u64 {
        if self.opened.elapsed() < AMNESTY {
            u64::MAX
        } else {
            self.max_bytes
        }
    }

    fn path(&self, layer: Digest) -> PathBuf {
        self.directory.join(layer.hex())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, layer: Digest, bytes: u64) {
        self.clock += 1;
        let used = self.clock;
        let users = 0;
        self.folders.insert(layer, Folder { bytes, users, used });
    }

    /// Takes a folder in. Answers those that have to go.
    fn insert(&mut self, layer: Digest, bytes: u64, max_bytes: u64) -> Vec<Digest> {
        self.add(layer, bytes);
        let mut evicted = Vec::new();
        while self
            .folders
            .values()
            .map(|folder| folder.bytes)
            .sum::<u64>()
            > max_bytes
        {
            let idle = self.folders.iter();
            let idle = idle.filter(|(digest, folder)| folder.users == 0 && **digest != layer);
            let Some(oldest) = idle
                .min_by_key(|(_, folder)| folder.used)
                .map(|(digest, _)| *digest)
            else {
                break;
            };
            self.folders.remove(&oldest);
            evicted.push(oldest);
        }
        evicted
    }
}

fn digest_of(path: &Path) -> Option<Digest> {
    format!("sha256:{}", path.file_name()?.to_str()?)
        .parse()
        .ok()
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_in(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn layer(folder: &Path, name: &str) -> (Digest, PathBuf) {
        let files = BTreeMap::from([(
            format!("{name}.txt"),
            bytes::Bytes::from_static(b"0123456789"),
        )]);
        let packed = nesos_bundle::files::pack(&files).expect("packs");
        let path = folder.join(name);
        fs::write(&path, &packed).expect("written");
        (nesos_bundle::digest_of(&packed), path)
    }

    #[test]
    fn files_are_unpacked_once_and_found_by_a_later_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let (digest, path) = layer(folder.path(), "a");
        let files = Unpacked::open(folder.path().join("files"), 100).expect("opens");
        assert_eq!(files.hold(digest), None);
        files.add(digest, &path).expect("unpacks");
        let held = files.hold(digest).expect("is here");
        assert_eq!(
            fs::read(held.join("a.txt")).expect("is there"),
            b"0123456789"
        );
        let later = Unpacked::open(folder.path().join("files"), 100).expect("opens");
        assert!(later.hold(digest).is_some());
    }

    #[test]
    fn what_is_in_use_stays_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = Unpacked::open(folder.path().join("files"), 25).expect("opens");
        files.opened -= AMNESTY;
        let layers = ["a", "b", "c"].map(|name| layer(folder.path(), name));
        for (digest, path) in &layers[..2] {
            files.add(*digest, path).expect("unpacks");
        }
        let held = files.hold(layers[0].0).expect("is here");
        files.add(layers[2].0, &layers[2].1).expect("unpacks");
        assert!(held.exists(), "it is in use");
        assert_eq!(files.hold(layers[1].0), None, "it was the oldest");
    }

    #[test]
    fn what_cannot_be_unpacked_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Unpacked::open(folder.path().join("files"), 5).expect("opens");
        let (digest, path) = layer(folder.path(), "a");
        let error = files.add(digest, &path).expect_err("too much");
        assert!(error.to_string().contains("5 bytes"), "{error}");
        let left = fs::read_dir(folder.path().join("files")).expect("readable");
        assert_eq!(left.count(), 0);
    }
}
