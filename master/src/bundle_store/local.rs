//! Blobs in a local directory: `sha256/<hex>` holds what is complete, `uploads/<name>` what is not.
//!
//! A file under `sha256` is complete and has its digest: it gets there by an atomic rename, after its
//! bytes were hashed and flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};

use super::{Blob, BundleStore, BundleStoreError, Upload, UploadName};

/// Uploads that nobody went on with for so long are dropped when the store is opened.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Names of uploads that somebody is writing to: where the threads of several clients meet.
type ActiveUploads = Arc<DashMap<UploadName, ()>>;

/// A directory of blobs.
#[derive(Debug)]
pub(crate) struct LocalBundleStore {
    blobs: PathBuf,
    uploads: PathBuf,
    flush: bool,
    active: ActiveUploads,
}

impl LocalBundleStore {
    /// Opens the store in a directory, which is created if need be. Without `flush` a crash of the
    /// host may cost blobs: for stores that do not outlive their process.
    pub(crate) fn open(directory: &Path, flush: bool) -> Result<Self, BundleStoreError> {
        let store = Self {
            blobs: directory.join("sha256"),
            uploads: directory.join("uploads"),
            flush,
            active: ActiveUploads::default(),
        };
        for directory in [&store.blobs, &store.uploads] {
            fs::create_dir_all(directory).map_err(|error| failed("create", directory, error))?;
        }
        store.drop_abandoned();
        Ok(store)
    }

    /// Best effort: an upload that cannot be dropped costs space and nothing else.
    fn drop_abandoned(&self) {
        let Ok(entries) = fs::read_dir(&self.uploads) else {
            return;
        };
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > ABANDONED_AFTER) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    fn upload_path(&self, name: &UploadName) -> PathBuf {
        self.uploads.join(name.as_str())
    }
}

impl BundleStore for LocalBundleStore {
    fn stat(&self, digest: Digest) -> Result<Option<u64>, BundleStoreError> {
        size_of(&self.blob_path(digest))
    }

    fn uploaded(&self, name: &UploadName) -> Result<u64, BundleStoreError> {
        size_of(&self.upload_path(name)).map(Option::unwrap_or_default)
    }

    fn resume(&self, name: &UploadName, offset: u64) -> Result<Box<dyn Upload>, BundleStoreError> {
        let claim = Claim::take(&self.active, name)?;
        let path = self.upload_path(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        let hasher = rewind(&mut file, &path, offset)?;
        Ok(Box::new(LocalUpload {
            file,
            path,
            hasher,
            received: offset,
            blobs: self.blobs.clone(),
            flush: self.flush,
            _claim: claim,
        }))
    }

    fn open(&self, digest: Digest) -> Result<Option<Box<dyn Blob>>, BundleStoreError> {
        let path = self.blob_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path, error)),
        };
        let size = file
            .metadata()
            .map_err(|error| failed("read", &path, error))?
            .len();
        Ok(Some(Box::new(LocalBlob { file, size, path })))
    }
}

/// The right to write to one upload, given back when it is dropped.
#[derive(Debug)]
struct Claim {
    active: ActiveUploads,
    name: UploadName,
}

impl Claim {
    fn take(active: &ActiveUploads, name: &UploadName) -> Result<Self, BundleStoreError> {
        match active.entry(name.clone()) {
            Entry::Occupied(_) => Err(BundleStoreError::Busy),
            Entry::Vacant(vacant) => {
                vacant.insert(());
                Ok(Self {
                    active: Arc::clone(active),
                    name: name.clone(),
                })
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.active.remove(&self.name);
    }
}

#[derive(Debug)]
struct LocalUpload {
    file: File,
    path: PathBuf,
    /// Of all bytes received so far.
    hasher: Sha256,
    received: u64,
    blobs: PathBuf,
    flush: bool,
    _claim: Claim,
}

impl LocalUpload {
    /// The rename is the moment at which the blob is there; everything before it must be flushed, and
    /// the directory after it, or a crash could leave a name without its bytes.
    fn publish(&self, digest: Digest) -> Result<(), BundleStoreError> {
        let target = self.blobs.join(digest.hex());
        if self.flush {
            self.file
                .sync_all()
                .map_err(|error| failed("flush", &self.path, error))?;
        }
        fs::rename(&self.path, &target).map_err(|error| failed("rename", &self.path, error))?;
        if self.flush {
            File::open(&self.blobs)
                .and_then(|directory| directory.sync_all())
                .map_err(|error| failed("flush", &self.blobs, error))?;
        }
        Ok(())
    }
}

impl Upload for LocalUpload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BundleStoreError> {
        self.file
            .write_all(bytes)
            .map_err(|error| failed("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn commit(self: Box<Self>, expected: Digest) -> Result<(), BundleStoreError> {
        let found = Digest(self.hasher.clone().finalize().into());
        if found != expected {
            self.discard()?;
            return Err(BundleStoreError::DigestMismatch { expected, found });
        }
        self.publish(expected)
    }

    fn discard(self: Box<Self>) -> Result<(), BundleStoreError> {
        fs::remove_file(&self.path).map_err(|error| failed("remove", &self.path, error))
    }
}

#[derive(Debug)]
struct LocalBlob {
    file: File,
    size: u64,
    path: PathBuf,
}

impl Blob for LocalBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, BundleStoreError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            match self.file.read_at(&mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, error)),
            }
        }
        Ok(filled)
    }
}

fn size_of(path: &Path) -> Result<Option<u64>, BundleStoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Cuts an upload at `offset` and hashes what stays.
fn rewind(file: &mut File, path: &Path, offset: u64) -> Result<Sha256, BundleStoreError> {
    let io_failed = |error| failed("resume", path, error);
    let received = file.metadata().map_err(io_failed)?.len();
    if offset > received {
        return Err(BundleStoreError::OffsetBeyond { offset, received });
    }
    file.set_len(offset).map_err(io_failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(io_failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    file.seek(SeekFrom::Start(offset)).map_err(io_failed)?;
    Ok(hasher)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BundleStoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            BundleStoreError::Full { path, source }
        }
        _ => BundleStoreError::Io {
            action,
            path,
            source,
        },
    }
}

#[cfg(test)]
mod tests;
