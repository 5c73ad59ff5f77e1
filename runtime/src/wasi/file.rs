//! An open regular file: its position, its flags, and the quota that its length is charged to.
//!
//! All reading and writing is positioned, so the host's file offset and `O_APPEND` are never used: a
//! positioned write lands where it was asked to land, also in append mode, as POSIX has it. Each call is
//! short: whoever has much to move calls again for the next [`CHUNK`].

use std::fs::File;
use std::io::{self, IoSlice, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::quota::{Inode, Length};

/// What one call moves at most: a fraction of a millisecond of copying.
pub(crate) const CHUNK: usize = 1 << 20;

/// A file that a guest has open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: Arc<File>,
    /// `None` for files of a mount, which nobody counts.
    inode: Option<Arc<Inode>>,
    position: Mutex<u64>,
    append: AtomicBool,
}

impl OpenFile {
    pub(crate) fn new(file: impl Into<Arc<File>>, inode: Option<Arc<Inode>>) -> Self {
        Self {
            file: file.into(),
            inode,
            position: Mutex::new(0),
            append: AtomicBool::new(false),
        }
    }

    /// The host's file and the account of it, while nobody else has them.
    pub(crate) fn into_parts(self) -> io::Result<(File, Option<Arc<Inode>>)> {
        let file = Arc::into_inner(self.file).ok_or(Errno::BUSY)?;
        Ok((file, self.inode))
    }

    pub(crate) fn host(&self) -> &Arc<File> {
        &self.file
    }

    pub(crate) fn is_append(&self) -> bool {
        self.append.load(Ordering::Relaxed)
    }

    pub(crate) fn set_append(&self, append: bool) {
        self.append.store(append, Ordering::Relaxed);
    }

    /// Reads from the position and moves it.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut position = self.position();
        let read = self.read_at(buffer, *position)?;
        *position += read as u64;
        Ok(read)
    }

    /// Reads at most [`CHUNK`] bytes.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        check_offset(offset)?;
        let end = buffer.len().min(CHUNK);
        self.file.read_at(&mut buffer[..end], offset)
    }

    /// Writes at the position, or at the end in append mode, and moves the position behind it.
    pub(crate) fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut position = self.position();
        let (offset, written) = if self.is_append() {
            self.append(buffers)?
        } else {
            (*position, self.write_at(buffers, *position)?)
        };
        *position = offset + written as u64;
        Ok(written)
    }

    /// Writes at most [`CHUNK`] bytes, fewer if the quota has less left; `ENOSPC` if it has nothing left.
    pub(crate) fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match &self.inode {
            Some(inode) => self.write_counted(&mut inode.lock(), buffers, offset),
            None => self.write_clipped(buffers, offset, CHUNK),
        }
    }

    /// Writes at the end of the file; says where that was.
    pub(crate) fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<(u64, usize)> {
        if let Some(inode) = &self.inode {
            let mut len = inode.lock();
            let end = len.get();
            Ok((end, self.write_counted(&mut len, buffers, end)?))
        } else {
            let end = self.file.metadata()?.len();
            Ok((end, self.write_clipped(buffers, end, CHUNK)?))
        }
    }

    fn write_counted(
        &self,
        len: &mut Length<'_>,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        check_offset(offset)?;
        let want = buffers.iter().map(|b| b.len()).sum::<usize>().min(CHUNK);
        if want == 0 {
            return Ok(0);
        }
        let before = len.get();
        let granted = len.reserve(offset, want as u64)?;
        let granted = usize::try_from(granted).unwrap_or(CHUNK);
        let written = self.write_clipped(buffers, offset, granted);
        let end = match &written {
            Ok(0) | Err(_) => before,
            Ok(written) => before.max(offset + *written as u64),
        };
        len.settle(end);
        written
    }

    fn write_clipped(
        &self,
        buffers: &[IoSlice<'_>],
        offset: u64,
        limit: usize,
    ) -> io::Result<usize> {
        check_offset(offset)?;
        let clipped = clip(buffers, limit);
        Ok(match clipped.as_slice() {
            [] => 0,
            [buffer] => self.file.write_at(buffer, offset)?,
            buffers => rustix::io::pwritev(&self.file, buffers, offset)?,
        })
    }

    /// Cuts the file off or lengthens it with a hole, which is charged as if it were filled.
    pub(crate) fn set_len(&self, new: u64) -> io::Result<()> {
        check_offset(new)?;
        let Some(inode) = &self.inode else {
            return self.file.set_len(new);
        };
        let mut len = inode.lock();
        let before = len.get();
        len.extend(new)?;
        let changed = self.file.set_len(new);
        len.settle(if changed.is_ok() { new } else { before });
        changed
    }

    pub(crate) fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        let mut position = self.position();
        let (base, delta) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(delta) => (*position, delta),
            SeekFrom::End(delta) => (self.file.metadata()?.len(), delta),
        };
        let target = base.checked_add_signed(delta).ok_or(Errno::INVAL)?;
        check_offset(target)?;
        *position = target;
        Ok(target)
    }

    fn position(&self) -> MutexGuard<'_, u64> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offsets are signed to the kernel.
fn check_offset(offset: u64) -> io::Result<()> {
    if i64::try_from(offset).is_ok() {
        Ok(())
    } else {
        Err(Errno::INVAL.into())
    }
}

/// The non-empty buffers, cut off after `limit` bytes and after as many as the kernel takes.
pub(crate) fn clip<'a>(buffers: &'a [IoSlice<'a>], limit: usize) -> Vec<IoSlice<'a>> {
    let mut left = limit;
    let mut clipped = Vec::with_capacity(buffers.len().min(1024));
    for buffer in buffers.iter().filter(|buffer| !buffer.is_empty()) {
        if left == 0 || clipped.len() == 1024 {
            break;
        }
        let part = &buffer[..buffer.len().min(left)];
        left -= part.len();
        clipped.push(IoSlice::new(part));
    }
    clipped
}
