//! Uploads under way: files of a local directory, hashed as they come. What becomes of a complete one is
//! not known here.
//!
//! An upload has a name and one writer at a time. Whoever drops it keeps what was received, also over a
//! restart; the hash of what lies there is remembered as long as the process lives, so that an upload in
//! many pieces is not read anew for each of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::error::BundleStoreError;

/// Uploads that nobody went on with for so long are dropped.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What is known of uploads in this process: `None` while somebody writes.
type Known = Arc<DashMap<UploadName, Option<(u64, Sha256)>>>;

/// The directory of uploads.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    known: Known,
}

impl Staging {
    /// Opens the directory, which is created if need be.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, BundleStoreError> {
        fs::create_dir_all(&directory)
            .map_err(|error| BundleStoreError::io("create", &directory, error))?;
        let staging = Self {
            directory,
            known: Known::default(),
        };
        staging.drop_abandoned(SystemTime::now());
        Ok(staging)
    }

    /// Best effort: an upload that cannot be dropped costs space and nothing else.
    pub(crate) fn drop_abandoned(&self, now: SystemTime) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified
                .ok()
                .and_then(|modified| now.duration_since(modified).ok());
            let name = entry.file_name().to_string_lossy().parse::<UploadName>();
            let is_abandoned = age.is_some_and(|age| age > ABANDONED_AFTER);
            if let (Ok(name), true) = (name, is_abandoned)
                && self.known.get(&name).is_none_or(|known| known.is_some())
            {
                self.known.remove(&name);
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// How many uploads there are, those that nobody goes on with included.
    pub(crate) fn count(&self) -> usize {
        fs::read_dir(&self.directory).map_or(0, Iterator::count)
    }

    /// How much of an upload was received so far; `None` if there is none of this name.
    pub(crate) fn received(&self, name: &UploadName) -> Result<Option<u64>, BundleStoreError> {
        let path = self.path(name);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BundleStoreError::io("read", &path, error)),
        }
    }

    /// Begins an upload, or goes on with it from `offset`: what was received beyond is dropped.
    pub(crate) fn resume(
        &self,
        name: &UploadName,
        offset: u64,
    ) -> Result<Upload, BundleStoreError> {
        let (claim, hashed) = Claim::take(&self.known, name)?;
        let path = self.path(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| BundleStoreError::io("open", &path, error))?;
        let hasher = rewind(&mut file, &path, offset, hashed)?;
        Ok(Upload {
            file,
            path,
            hasher,
            received: offset,
            over: false,
            claim,
        })
    }

    /// Drops an upload that nobody writes to.
    pub(crate) fn discard(&self, name: &UploadName) -> Result<(), BundleStoreError> {
        let offset = self.received(name)?.unwrap_or_default();
        self.resume(name, offset)?.discard()
    }

    fn path(&self, name: &UploadName) -> PathBuf {
        self.directory.join(name.as_str())
    }
}

/// The right to write to one upload, given back when it is dropped.
#[derive(Debug)]
struct Claim {
    known: Known,
    name: UploadName,
    /// What to remember of the upload.
    left: Option<(u64, Sha256)>,
}

impl Claim {
    fn take(
        known: &Known,
        name: &UploadName,
    ) -> Result<(Self, Option<(u64, Sha256)>), BundleStoreError> {
        let hashed = match known.entry(name.clone()) {
            Entry::Occupied(mut entry) => {
                let hashed = entry.insert(None);
                Some(hashed.ok_or(BundleStoreError::Busy)?)
            }
            Entry::Vacant(vacant) => {
                vacant.insert(None);
                None
            }
        };
        let claim = Self {
            known: Arc::clone(known),
            name: name.clone(),
            left: None,
        };
        Ok((claim, hashed))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.left.take() {
            Some(left) => drop(self.known.insert(self.name.clone(), Some(left))),
            None => drop(self.known.remove(&self.name)),
        }
    }
}

/// An upload under way. Whoever has it is the only one who writes to it; dropping it keeps what was
/// received, for another attempt.
#[derive(Debug)]
pub(crate) struct Upload {
    file: File,
    path: PathBuf,
    /// Of all bytes received so far.
    hasher: Sha256,
    received: u64,
    /// Whether there is nothing to go on with any more.
    over: bool,
    claim: Claim,
}

impl Upload {
    /// Takes the next bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), BundleStoreError> {
        self.file
            .write_all(bytes)
            .map_err(|error| BundleStoreError::io("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// The file once more, if the system has one to give.
    pub(crate) fn file(&self) -> Option<File> {
        self.file.try_clone().ok()
    }

    /// What to say of the disk that failed.
    pub(crate) fn io_error(&self, action: &'static str, error: io::Error) -> BundleStoreError {
        BundleStoreError::io(action, &self.path, error)
    }

    /// How much was received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The digest of what was received so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }

    /// The complete file, to be moved away while the right to the name is still held.
    pub(crate) fn finish(&mut self) -> PathBuf {
        self.over = true;
        self.path.clone()
    }

    /// Drops what was received.
    pub(crate) fn discard(mut self) -> Result<(), BundleStoreError> {
        self.over = true;
        fs::remove_file(&self.path)
            .map_err(|error| BundleStoreError::io("remove", &self.path, error))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.over {
            self.claim.left = Some((self.received, self.hasher.clone()));
        }
    }
}

/// Cuts an upload at `offset` and hashes what stays, unless that was done before.
fn rewind(
    file: &mut File,
    path: &Path,
    offset: u64,
    hashed: Option<(u64, Sha256)>,
) -> Result<Sha256, BundleStoreError> {
    let io_failed = |error| BundleStoreError::io("resume", path, error);
    let received = file.metadata().map_err(io_failed)?.len();
    if offset > received {
        return Err(BundleStoreError::OffsetBeyond { offset, received });
    }
    if let Some((at, hasher)) = hashed
        && at == offset
        && at == received
    {
        file.seek(SeekFrom::Start(offset)).map_err(io_failed)?;
        return Ok(hasher);
    }
    file.set_len(offset).map_err(io_failed)?;
    hash(file).map_err(io_failed)
}

fn hash(file: &mut File) -> io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher);
        }
        hasher.update(&buffer[..read]);
    }
}

/// The name of an upload: 1 to 128 lower-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UploadName(String);

impl UploadName {
    /// The upload of a blob whose digest is known beforehand, so that anyone can go on with it.
    pub(crate) fn of_digest(digest: Digest) -> Self {
        Self(digest.hex())
    }

    /// The same upload once more, for a second client at the same time; nobody goes on with it.
    pub(crate) fn beside(&self, number: u64) -> Self {
        Self(format!("{}-{number}", self.0))
    }

    /// A session of a repository: nobody guesses it, and it is worth nothing in another one.
    pub(crate) fn session(repository: &str, random: u128) -> Self {
        Self(format!("{random:032x}-{}", mark(repository)))
    }

    /// Whether it is a session of this repository.
    pub(crate) fn belongs_to(&self, repository: &str) -> bool {
        self.0.len() == 49 && self.0.ends_with(&format!("-{}", mark(repository)))
    }

    /// The name as text; a good file name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A few digits by which a repository is told from others.
fn mark(repository: &str) -> String {
    let mut digits = nesos_bundle::digest_of(repository.as_bytes()).hex();
    digits.truncate(16);
    digits
}

impl FromStr for UploadName {
    type Err = UploadNameError;
    fn from_str(text: &str) -> Result<Self, UploadNameError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(UploadNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A text is not the name of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the name of an upload is 1 to 128 lower-case letters, digits and dashes")]
pub(crate) struct UploadNameError;

#[cfg(test)]
mod tests;
