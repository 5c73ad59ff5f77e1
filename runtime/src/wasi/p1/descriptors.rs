//! The descriptors of a WASI 0.1 guest: which are open, what they stand for, what may be done with them.
//!
//! `wasi-common` keeps a table of its own, through which its functions reach files. This one stands before
//! it: it hands out numbers, lowest first as POSIX has it, bounds how many there are, and remembers rights
//! and flags, which the other does not. Both change together, under this one's lock.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use wasi_common::file::FileAccessMode;
use wasi_common::snapshots::preview_1::error::Errno;
use wasi_common::snapshots::preview_1::types::Rights;
use wasi_common::{Error, WasiCtx};

use super::nodes::Node;

/// One open descriptor.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    pub(super) node: Node,
    pub(super) base: Rights,
    pub(super) inheriting: Rights,
    /// Rights that the node would allow but that were given up.
    pub(super) revoked: Rights,
    /// Which of the preopened directories this is.
    pub(super) preopen: Option<usize>,
}

impl Descriptor {
    /// A descriptor of `node`, with every right that it can have under `mode` and its parent allows.
    pub(super) fn new(node: Node, mode: FileAccessMode, allowed: Rights) -> Self {
        let (full, inheriting) = match &node {
            Node::Dir(dir) if dir.read_only() => {
                (directory_reading(), directory_reading() | file_reading())
            }
            Node::Dir(_) => (directory(), directory() | file()),
            Node::File(_) => (by_mode(file(), mode), Rights::empty()),
            Node::Stdin(_) | Node::Stdout(_) => (by_mode(stream(), mode), Rights::empty()),
        };
        Self {
            node,
            base: full & allowed,
            inheriting: inheriting & allowed,
            revoked: full & !allowed,
            preopen: None,
        }
    }

    /// Gives rights up; to take any is refused.
    fn restrict(&mut self, base: Rights, inheriting: Rights) -> Result<(), Error> {
        if !self.base.contains(base) || !self.inheriting.contains(inheriting) {
            return Err(Errno::Notcapable.into());
        }
        self.revoked |= self.base & !base;
        self.base = base;
        self.inheriting = inheriting;
        Ok(())
    }
}

/// All open descriptors of a guest.
#[derive(Debug)]
pub(super) struct Descriptors {
    slots: RwLock<Vec<Option<Descriptor>>>,
    max: usize,
}

impl Descriptors {
    pub(super) fn new(max: usize) -> Self {
        Self {
            slots: RwLock::new(Vec::with_capacity(8)),
            max,
        }
    }

    /// The descriptor `fd`.
    pub(super) fn get(&self, fd: impl Into<u32>) -> Result<Descriptor, Error> {
        Ok(slot(&self.read(), fd.into())?.clone())
    }

    /// Refuses what is not open, and what this descriptor gave up the right to.
    pub(super) fn require(&self, fd: impl Into<u32>, right: Rights) -> Result<(), Error> {
        if slot(&self.read(), fd.into())?.revoked.contains(right) {
            return Err(Errno::Notcapable.into());
        }
        Ok(())
    }

    /// Refuses with `EMFILE` when no descriptor is free.
    pub(super) fn check_free(&self) -> Result<(), Error> {
        let slots = self.read();
        if slots.len() < self.max || slots.iter().any(Option::is_none) {
            Ok(())
        } else {
            Err(Errno::Mfile.into())
        }
    }

    /// Opens the lowest free number.
    pub(super) fn insert(&self, inner: &WasiCtx, descriptor: Descriptor) -> Result<u32, Error> {
        let mut slots = self.write();
        let free = slots.iter().position(Option::is_none);
        let index = free.unwrap_or(slots.len());
        if index >= self.max {
            return Err(Errno::Mfile.into());
        }
        let fd = u32::try_from(index).map_err(|_| Errno::Mfile)?;
        mirror(inner, fd, &descriptor);
        match free {
            Some(index) => slots[index] = Some(descriptor),
            None => slots.push(Some(descriptor)),
        }
        Ok(fd)
    }

    pub(super) fn close(&self, inner: &WasiCtx, fd: u32) -> Result<Descriptor, Error> {
        let mut slots = self.write();
        let index = slot(&slots, fd).map(|_| fd as usize)?;
        let closed = slots[index].take().ok_or(Errno::Badf)?;
        forget(inner, fd);
        Ok(closed)
    }

    /// Moves `from` to `to`, which is closed. Both must be open.
    pub(super) fn renumber(&self, inner: &WasiCtx, from: u32, to: u32) -> Result<(), Error> {
        let mut slots = self.write();
        slot(&slots, to)?;
        let moved = slot(&slots, from)?.clone();
        if from != to {
            forget(inner, from);
            mirror(inner, to, &moved);
            slots[to as usize] = Some(moved);
            slots[from as usize] = None;
        }
        Ok(())
    }

    pub(super) fn restrict(&self, fd: u32, base: Rights, inheriting: Rights) -> Result<(), Error> {
        let mut slots = self.write();
        slot(&slots, fd)?;
        match &mut slots[fd as usize] {
            Some(descriptor) => descriptor.restrict(base, inheriting),
            None => Err(Errno::Badf.into()),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Option<Descriptor>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Option<Descriptor>>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot(slots: &[Option<Descriptor>], fd: u32) -> Result<&Descriptor, Error> {
    slots
        .get(fd as usize)
        .and_then(Option::as_ref)
        .ok_or_else(|| Errno::Badf.into())
}

/// Shows `descriptor` to `wasi-common` under the same number.
fn mirror(inner: &WasiCtx, fd: u32, descriptor: &Descriptor) {
    let mut mode = FileAccessMode::empty();
    if descriptor.base.contains(Rights::FD_READ) {
        mode |= FileAccessMode::READ;
    }
    if descriptor.base.contains(Rights::FD_WRITE) {
        mode |= FileAccessMode::WRITE;
    }
    match descriptor.node.clone() {
        Node::Dir(dir) => inner.insert_dir(fd, Box::new(dir), std::path::PathBuf::new()),
        Node::File(file) => inner.insert_file(fd, Box::new(file), mode),
        Node::Stdin(stdin) => inner.insert_file(fd, Box::new(stdin), mode),
        Node::Stdout(stdout) => inner.insert_file(fd, Box::new(stdout), mode),
    }
}

/// Takes `fd` out of `wasi-common`'s table: its types of entries are private, so it is replaced by one of
/// ours, which can be removed.
fn forget(inner: &WasiCtx, fd: u32) {
    inner.table().insert_at(fd, std::sync::Arc::new(Closed));
    drop(inner.table().delete::<Closed>(fd));
}

struct Closed;

fn by_mode(rights: Rights, mode: FileAccessMode) -> Rights {
    let mut rights = rights;
    if !mode.contains(FileAccessMode::READ) {
        rights &= !Rights::FD_READ;
    }
    if !mode.contains(FileAccessMode::WRITE) {
        rights &= !Rights::FD_WRITE;
    }
    rights
}

fn stream() -> Rights {
    Rights::FD_READ
        | Rights::FD_WRITE
        | Rights::FD_FDSTAT_SET_FLAGS
        | Rights::FD_FILESTAT_GET
        | Rights::POLL_FD_READWRITE
}

fn file_reading() -> Rights {
    Rights::FD_READ
        | Rights::FD_SEEK
        | Rights::FD_TELL
        | Rights::FD_ADVISE
        | Rights::FD_FDSTAT_SET_FLAGS
        | Rights::FD_FILESTAT_GET
        | Rights::FD_SYNC
        | Rights::FD_DATASYNC
        | Rights::POLL_FD_READWRITE
}

fn file() -> Rights {
    file_reading()
        | Rights::FD_WRITE
        | Rights::FD_ALLOCATE
        | Rights::FD_FILESTAT_SET_SIZE
        | Rights::FD_FILESTAT_SET_TIMES
}

fn directory_reading() -> Rights {
    Rights::PATH_OPEN
        | Rights::FD_READDIR
        | Rights::PATH_READLINK
        | Rights::PATH_FILESTAT_GET
        | Rights::FD_FILESTAT_GET
}

fn directory() -> Rights {
    directory_reading()
        | Rights::PATH_CREATE_DIRECTORY
        | Rights::PATH_CREATE_FILE
        | Rights::PATH_LINK_SOURCE
        | Rights::PATH_LINK_TARGET
        | Rights::PATH_RENAME_SOURCE
        | Rights::PATH_RENAME_TARGET
        | Rights::PATH_SYMLINK
        | Rights::PATH_REMOVE_DIRECTORY
        | Rights::PATH_UNLINK_FILE
        | Rights::PATH_FILESTAT_SET_TIMES
        | Rights::FD_FILESTAT_SET_TIMES
}
