//! The directory of compiled images: bounded in bytes, the least recently used goes first.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nesos_types::bundle::Digest;
use nesos_types::limits::Metering;
use thiserror::Error;

use crate::engine::{Flavour, compatibility};

/// What images are called.
const EXTENSION: &str = "cwasm";

/// Compiled images, keyed by the bundle's digest, by how it is metered, and by
/// [`compatibility`]. An image that is missing is compiled again and is never an error, so everything
/// here may be deleted at any time; a guest that runs keeps its mapping.
#[derive(Clone, Debug)]
pub struct ModuleCache {
    directory: PathBuf,
    max_bytes: u64,
}

/// The cache's directory cannot be used.
#[derive(Debug, Error)]
#[error("cannot use {} for compiled bundles", .directory.display())]
pub struct ModuleCacheError {
    directory: PathBuf,
    #[source]
    source: io::Error,
}

impl ModuleCache {
    /// A cache in a directory, which is made if need be, of at most `max_bytes`.
    pub fn open(directory: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, ModuleCacheError> {
        let directory = directory.into();
        match fs::create_dir_all(&directory) {
            Ok(()) => Ok(Self {
                directory,
                max_bytes,
            }),
            Err(source) => Err(ModuleCacheError { directory, source }),
        }
    }

    /// Where the image is, if there is one; marks it as used.
    #[must_use]
    pub fn lookup(&self, digest: &Digest, metering: Metering) -> Option<PathBuf> {
        let path = self.path_for_new(digest, metering);
        let file = fs::File::open(&path).ok()?;
        // Its time of change is its time of use: a copy of the directory keeps it, an access time may not.
        // If it cannot be set the image merely looks older than it is.
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// Where the image belongs: compile to this path, then call [`ModuleCache::trim`].
    #[must_use]
    pub fn path_for_new(&self, digest: &Digest, metering: Metering) -> PathBuf {
        let name = format!(
            "{}-{}-{}.{EXTENSION}",
            digest.hex(),
            Flavour::of(metering),
            compatibility()
        );
        self.directory.join(name)
    }

    /// The bundles of which there is an image that this version can use, however it is metered.
    pub fn digests(&self) -> io::Result<BTreeSet<Digest>> {
        let ours = format!("-{}.{EXTENSION}", compatibility());
        let images = self.images()?.into_iter();
        let names = images.filter_map(|image| Some(image.path.file_name()?.to_str()?.to_owned()));
        let names = names.filter(|name| name.ends_with(&ours));
        Ok(names
            .filter_map(|name| format!("sha256:{}", name.split('-').next()?).parse().ok())
            .collect())
    }

    /// Deletes images until the rest fit, the least recently used first, but never `keep`. Images of
    /// other versions are never looked up, so they grow old and go.
    pub fn trim(&self, keep: &Path) -> io::Result<()> {
        let mut images = self.images()?;
        images.sort_by_key(|image| image.used);
        let mut bytes: u64 = images.iter().map(|image| image.bytes).sum();
        for image in images.iter().filter(|image| image.path != keep) {
            if bytes <= self.max_bytes {
                break;
            }
            fs::remove_file(&image.path)?;
            bytes -= image.bytes;
        }
        Ok(())
    }

    fn images(&self) -> io::Result<Vec<Image>> {
        let mut images = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != EXTENSION)
            {
                continue;
            }
            // It may just have been deleted by somebody else.
            if let Ok(metadata) = fs::metadata(&path) {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                images.push(Image {
                    path,
                    bytes: metadata.len(),
                    used,
                });
            }
        }
        Ok(images)
    }
}

struct Image {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_least_recently_used_image_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = ModuleCache::open(directory.path(), 250).unwrap();
        let digests = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let paths = digests.map(|digest| cache.path_for_new(&digest, Metering::Clock));
        for (age, path) in [300, 200, 100].into_iter().zip(&paths) {
            fs::write(path, [0; 100]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(age);
            fs::File::open(path).unwrap().set_modified(used).unwrap();
        }
        assert_eq!(
            cache.lookup(&digests[0], Metering::Fuel),
            Some(paths[0].clone())
        );
        cache.trim(&paths[2]).unwrap();
        assert!(paths[0].exists() && !paths[1].exists() && paths[2].exists());
    }

    #[test]
    fn time_metering_has_images_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let cache = ModuleCache::open(directory.path(), 250).unwrap();
        let digest = Digest([7; 32]);
        let clock = cache.path_for_new(&digest, Metering::Clock);
        assert_eq!(clock, cache.path_for_new(&digest, Metering::Fuel));
        assert_ne!(clock, cache.path_for_new(&digest, Metering::Time));
    }
}
