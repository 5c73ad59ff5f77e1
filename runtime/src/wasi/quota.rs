//! The disk quota of one sandbox: bytes and names under its writable root.
//!
//! It counts from the operations that pass by and never asks the file system what is used. A file weighs
//! its length, holes included: what a sparse file would occupy once filled is what is charged. It knows
//! neither paths nor descriptors; [`super::volume`] and [`super::file`] tell it what happens.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;

/// Bytes and names that a sandbox may have on disk at once, and what it has.
#[derive(Debug)]
pub struct DiskQuota {
    max_bytes: u64,
    max_files: u64,
    bytes: AtomicU64,
    files: AtomicU64,
    peak_bytes: AtomicU64,
    exceeded: AtomicBool,
    open: Mutex<OpenInodes>,
}

/// Files that somebody has open, by inode number. Holding it makes a change of names atomic.
#[derive(Debug, Default)]
pub(crate) struct OpenInodes(HashMap<u64, Weak<Inode>>);

/// An open file under the quota: its length, and whether it has lost its last name.
#[derive(Debug)]
pub(crate) struct Inode {
    len: Mutex<u64>,
    unlinked: AtomicBool,
    quota: Arc<DiskQuota>,
}

/// What a name stood for before it was taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    pub(crate) inode: u64,
    pub(crate) links: u64,
    /// Zero for whatever is not a regular file.
    pub(crate) len: u64,
}

impl DiskQuota {
    /// A quota of `max_bytes` and `max_files` with nothing used.
    #[must_use]
    pub fn new(max_bytes: u64, max_files: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            max_files,
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            open: Mutex::default(),
        })
    }

    /// Bytes in use now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes that may be in use.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Bytes that could still be taken.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.max_bytes.saturating_sub(self.bytes())
    }

    /// Sets `bytes` apart if they are all there: they are used elsewhere until they are given back.
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        let lent = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let after = used.checked_add(bytes)?;
                (after <= self.max_bytes).then_some(after)
            });
        self.note_peak();
        lent.is_ok()
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&self, bytes: u64) {
        saturating_sub(&self.bytes, bytes);
    }

    /// Names in use now: files, directories and symbolic links.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// The most bytes that were in use at any one moment.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Whether an operation was ever refused because of this quota.
    #[must_use]
    pub fn was_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Counts what already lies under `root`, where the sandbox did not start with an empty one.
    pub(crate) fn adopt(&self, root: &Path) -> io::Result<()> {
        let mut seen = std::collections::HashSet::new();
        let mut pending = vec![root.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                self.files.fetch_add(1, Ordering::Relaxed);
                if metadata.is_dir() {
                    pending.push(entry.path());
                } else if metadata.is_file() && seen.insert(metadata.ino()) {
                    self.bytes.fetch_add(metadata.len(), Ordering::Relaxed);
                }
            }
        }
        self.note_peak();
        Ok(())
    }

    /// Takes one name, or refuses with `ENOSPC`.
    pub(crate) fn charge_file(&self) -> io::Result<()> {
        let taken = self
            .files
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |files| {
                (files < self.max_files).then_some(files + 1)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(self.refuse()),
        }
    }

    /// Gives one name back.
    pub(crate) fn release_file(&self) {
        saturating_sub(&self.files, 1);
    }

    /// Names may only be changed, and files opened, by whoever holds this.
    pub(crate) fn names(&self) -> MutexGuard<'_, OpenInodes> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name was taken away. Its bytes are free once it was the last one and nobody has the file open.
    pub(crate) fn on_removed(&self, names: &OpenInodes, removed: Removed) {
        self.release_file();
        if removed.links > 1 {
            return;
        }
        match names.0.get(&removed.inode).and_then(Weak::upgrade) {
            Some(inode) => inode.unlinked.store(true, Ordering::Release),
            None => saturating_sub(&self.bytes, removed.len),
        }
    }

    /// Takes up to `want` bytes and says how many there were.
    fn charge_bytes(&self, want: u64) -> u64 {
        let mut granted = 0;
        let charged = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                granted = want.min(self.max_bytes.saturating_sub(used));
                Some(used + granted)
            });
        debug_assert!(charged.is_ok(), "the update above never declines");
        if granted < want {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        self.note_peak();
        granted
    }

    fn note_peak(&self) {
        self.peak_bytes.fetch_max(self.bytes(), Ordering::Relaxed);
    }

    fn refuse(&self) -> io::Error {
        self.exceeded.store(true, Ordering::Relaxed);
        Errno::NOSPC.into()
    }
}

impl OpenInodes {
    /// The shared record of an open file, which has this inode number and length.
    pub(crate) fn open(&mut self, quota: &Arc<DiskQuota>, number: u64, len: u64) -> Arc<Inode> {
        if let Some(inode) = self.0.get(&number).and_then(Weak::upgrade) {
            return inode;
        }
        if self.0.len() >= 1024 {
            self.0.retain(|_, inode| inode.strong_count() > 0);
        }
        let inode = Arc::new(Inode {
            len: Mutex::new(len),
            unlinked: AtomicBool::new(false),
            quota: Arc::clone(quota),
        });
        self.0.insert(number, Arc::downgrade(&inode));
        inode
    }
}

impl Inode {
    /// Exclusive right to change the file's length.
    pub(crate) fn lock(&self) -> Length<'_> {
        Length {
            len: self.len.lock().unwrap_or_else(PoisonError::into_inner),
            quota: &self.quota,
        }
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        if self.unlinked.load(Ordering::Acquire) {
            let len = self.len.get_mut().unwrap_or_else(PoisonError::into_inner);
            saturating_sub(&self.quota.bytes, *len);
        }
    }
}

/// A file's length while it may change: the bytes charged for it follow.
#[derive(Debug)]
pub(crate) struct Length<'a> {
    len: MutexGuard<'a, u64>,
    quota: &'a DiskQuota,
}

impl Length<'_> {
    pub(crate) fn get(&self) -> u64 {
        *self.len
    }

    /// How many of `count` bytes at `offset` may be written; `ENOSPC` if none.
    /// What is granted is charged: [`Self::settle`] gives back what was not used.
    pub(crate) fn reserve(&mut self, offset: u64, count: u64) -> io::Result<u64> {
        let end = offset.checked_add(count).ok_or(Errno::FBIG)?;
        if end <= *self.len {
            return Ok(count);
        }
        let granted_to = *self.len + self.quota.charge_bytes(end - *self.len);
        if granted_to <= offset && count > 0 {
            saturating_sub(&self.quota.bytes, granted_to - *self.len);
            return Err(self.quota.refuse());
        }
        *self.len = granted_to;
        Ok(granted_to - offset)
    }

    /// The file turned out to be this long.
    pub(crate) fn settle(&mut self, len: u64) {
        saturating_sub(&self.quota.bytes, self.len.saturating_sub(len));
        *self.len = len;
    }

    /// Charges for a change of length to `len`, or refuses with `ENOSPC`.
    pub(crate) fn extend(&mut self, len: u64) -> io::Result<()> {
        let want = len.saturating_sub(*self.len);
        let granted = self.quota.charge_bytes(want);
        if granted < want {
            saturating_sub(&self.quota.bytes, granted);
            return Err(self.quota.refuse());
        }
        *self.len += want;
        Ok(())
    }
}

fn saturating_sub(counter: &AtomicU64, amount: u64) {
    let updated = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
        Some(now.saturating_sub(amount))
    });
    debug_assert!(updated.is_ok(), "the update above never declines");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_gets_what_is_left_and_then_nothing() {
        let quota = DiskQuota::new(10, 10);
        let inode = quota.names().open(&quota, 1, 0);
        let mut len = inode.lock();
        assert_eq!(len.reserve(0, 6).unwrap(), 6);
        assert_eq!(len.reserve(6, 6).unwrap(), 4);
        assert_eq!(
            len.reserve(10, 1).unwrap_err().raw_os_error(),
            Some(Errno::NOSPC.raw_os_error())
        );
        assert_eq!(quota.bytes(), 10);
        assert!(quota.was_exceeded());
    }

    #[test]
    fn a_hole_is_charged_and_a_refusal_charges_nothing() {
        let quota = DiskQuota::new(1 << 20, 10);
        let inode = quota.names().open(&quota, 1, 0);
        let mut len = inode.lock();
        assert!(len.reserve(1 << 40, 1).is_err());
        assert!(len.extend(4 << 40).is_err());
        assert_eq!(quota.bytes(), 0);
        len.extend(1 << 20).unwrap();
        assert_eq!(quota.bytes(), 1 << 20);
        len.settle(0);
        assert_eq!((quota.bytes(), quota.peak_bytes()), (0, 1 << 20));
    }

    #[test]
    fn an_unlinked_file_weighs_until_it_is_closed() {
        let quota = DiskQuota::new(100, 10);
        let inode = quota.names().open(&quota, 7, 0);
        quota.charge_file().unwrap();
        inode.lock().extend(60).unwrap();
        let removed = Removed {
            inode: 7,
            links: 1,
            len: 60,
        };
        quota.on_removed(&quota.names(), removed);
        assert_eq!((quota.bytes(), quota.files()), (60, 0));
        drop(inode);
        assert_eq!(quota.bytes(), 0);
    }

    #[test]
    fn a_file_with_another_name_keeps_its_bytes() {
        let quota = DiskQuota::new(100, 1);
        quota.charge_file().unwrap();
        assert!(quota.charge_file().is_err());
        assert_eq!(quota.charge_bytes(40), 40);
        let removed = Removed {
            inode: 7,
            links: 2,
            len: 40,
        };
        quota.on_removed(&quota.names(), removed);
        assert_eq!((quota.bytes(), quota.files()), (40, 0));
    }
}
