//! What the cache holds, who uses it, and what goes first.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use nesos_types::bundle::Digest;

/// The index of the cache's directory.
#[derive(Debug)]
pub(super) struct Index {
    max_bytes: u64,
    bytes: u64,
    bundles: HashMap<Digest, Bundle>,
    /// Bundles that must stay, with how many want them to; a bundle may be wanted before it is here.
    pins: HashMap<Digest, usize>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Bundle {
    bytes: u64,
    used: u64,
}

impl Index {
    /// Reads the directory. Bundles that were written last count as used last; unfinished downloads
    /// of an earlier process are removed.
    pub(super) fn read(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut index = Self {
            max_bytes,
            bytes: 0,
            bundles: HashMap::new(),
            pins: HashMap::new(),
            clock: 0,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match digest_of(&entry) {
                Some(digest) => {
                    let metadata = entry.metadata()?;
                    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((written, digest, metadata.len()));
                }
                None => std::fs::remove_file(entry.path())?,
            }
        }
        found.sort_unstable();
        for (_, digest, bytes) in found {
            index.add(digest, bytes);
        }
        Ok(index)
    }

    /// How much the cache may hold.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Keeps a bundle from being evicted. Whether it is here.
    pub(super) fn pin(&mut self, digest: Digest) -> bool {
        *self.pins.entry(digest).or_default() += 1;
        self.clock += 1;
        let bundle = self.bundles.get_mut(&digest);
        bundle.map(|bundle| bundle.used = self.clock).is_some()
    }

    /// Takes one pin back.
    pub(super) fn unpin(&mut self, digest: Digest) {
        if let Some(count) = self.pins.get_mut(&digest) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&digest);
            }
        }
    }

    /// Takes a bundle in. Answers the bundles that had to go, whose files are to be removed.
    pub(super) fn insert(&mut self, digest: Digest, bytes: u64) -> Vec<Digest> {
        self.add(digest, bytes);
        let mut evicted = Vec::new();
        while self.bytes > self.max_bytes
            && let Some(victim) = self.least_recently_used()
        {
            self.remove(victim);
            evicted.push(victim);
        }
        evicted
    }

    fn add(&mut self, digest: Digest, bytes: u64) {
        self.remove(digest);
        self.clock += 1;
        self.bytes += bytes;
        let used = self.clock;
        self.bundles.insert(digest, Bundle { bytes, used });
    }

    fn remove(&mut self, digest: Digest) {
        if let Some(bundle) = self.bundles.remove(&digest) {
            self.bytes -= bundle.bytes;
        }
    }

    fn least_recently_used(&self) -> Option<Digest> {
        self.bundles
            .iter()
            .filter(|(digest, _)| !self.pins.contains_key(digest))
            .min_by_key(|(_, bundle)| bundle.used)
            .map(|(digest, _)| *digest)
    }
}

fn digest_of(entry: &std::fs::DirEntry) -> Option<Digest> {
    let name = entry.file_name();
    format!("sha256:{}", name.to_str()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn index(max_bytes: u64) -> Index {
        let directory = tempfile::tempdir().expect("a directory");
        Index::read(directory.path(), max_bytes).expect("readable")
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut index = index(100);
        assert_eq!(index.insert(digest(1), 40), []);
        assert_eq!(index.insert(digest(2), 40), []);
        assert!(index.pin(digest(1)));
        index.unpin(digest(1));
        assert_eq!(index.insert(digest(3), 40), [digest(2)]);
        assert_eq!(index.insert(digest(4), 100), [digest(1), digest(3)]);
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut index = index(100);
        index.insert(digest(1), 60);
        index.pin(digest(1));
        index.pin(digest(2));
        assert_eq!(index.insert(digest(2), 60), []);
        index.unpin(digest(1));
        index.pin(digest(3));
        assert_eq!(index.insert(digest(3), 10), [digest(1)]);
    }

    #[test]
    fn the_directory_is_read_back_and_tidied() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str| std::fs::write(directory.path().join(name), b"xyz");
        write(&digest(7).hex()).expect("written");
        write(&format!("{}.part", digest(8).hex())).expect("written");
        let mut index = Index::read(directory.path(), 100).expect("readable");
        assert!(index.pin(digest(7)) && !index.pin(digest(8)));
        assert_eq!(index.bytes, 3);
        let left = std::fs::read_dir(directory.path())
            .expect("readable")
            .count();
        assert_eq!(left, 1);
    }
}
