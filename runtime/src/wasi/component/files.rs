//! The open files and directories of a component, whichever version of `wasi:filesystem` it speaks.
//!
//! `wasmtime-wasi` has a descriptor of its own for each in the store's table, for what is handed on to it.
//! Beside it stands here what we know of it: the volume, the quota.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::filesystem::{self, Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::wasi::file::OpenFile;
use crate::wasi::volume::{How, Opened, Volume};

/// What a component has open, by the number of its resource.
#[derive(Debug)]
pub(super) struct Files {
    volumes: Vec<(String, Arc<Volume>)>,
    open: HashMap<u32, Entry>,
    max: usize,
}

#[derive(Clone, Debug)]
enum Entry {
    File(Arc<OpenFile>),
    Dir(Arc<Volume>),
    /// A preopened directory that nobody has used yet.
    Unopened(Arc<Volume>),
}

/// A directory and the tree that it belongs to.
pub(super) type Place = (Arc<Volume>, Arc<File>);

/// Why an operation on files did not happen.
#[derive(Debug)]
pub(super) enum Failure {
    /// Told to the guest.
    Io(io::Error),
    /// Traps the guest: it named a resource that there is not, or has too many of them.
    Table(ResourceTableError),
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl Files {
    pub(super) fn new(volumes: Vec<(String, Arc<Volume>)>, max: usize) -> Self {
        Self {
            volumes,
            open: HashMap::new(),
            max,
        }
    }
}

/// The files of a store while a host call uses them.
pub(super) struct FilesView<'a> {
    pub(super) files: &'a mut Files,
    pub(super) ctx: &'a mut WasiFilesystemCtx,
    pub(super) table: &'a mut ResourceTable,
}

impl FilesView<'_> {
    /// The view that `wasmtime-wasi` implements the rest for.
    pub(super) fn inner(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: self.ctx,
            table: self.table,
        }
    }

    pub(super) fn preopens(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>, Failure> {
        let volumes = self.files.volumes.clone();
        let preopen = |(guest, volume): (String, Arc<Volume>)| {
            let mut dir = placeholder()?;
            dir.perms = perms(&volume);
            let fd = self.push(Descriptor::Dir(dir), Entry::Unopened(volume))?;
            Ok((fd, guest))
        };
        volumes.into_iter().map(preopen).collect()
    }

    /// Makes sure that what `wasmtime-wasi` has under `fd` is really open.
    pub(super) fn realize(&mut self, fd: &Resource<Descriptor>) -> Result<(), Failure> {
        let Some(entry) = self.files.open.get_mut(&fd.rep()) else {
            return Ok(());
        };
        if let Entry::Unopened(volume) = entry {
            let host = Arc::clone(volume.dir()?);
            if let Descriptor::Dir(dir) = self.table.get_mut(fd).map_err(Failure::Table)? {
                dir.dir = host;
            }
            *entry = Entry::Dir(Arc::clone(volume));
        }
        Ok(())
    }

    pub(super) fn dir(&mut self, fd: &Resource<Descriptor>) -> Result<Place, Failure> {
        self.realize(fd)?;
        match self.table.get(fd).map_err(Failure::Table)? {
            Descriptor::File(_) => Err(Errno::NOTDIR.into()),
            Descriptor::Dir(dir) => match self.files.open.get(&fd.rep()) {
                Some(Entry::Dir(volume)) => Ok((Arc::clone(volume), Arc::clone(&dir.dir))),
                _ => Err(Errno::BADF.into()),
            },
        }
    }

    pub(super) fn file(&mut self, fd: &Resource<Descriptor>) -> Result<Arc<OpenFile>, Failure> {
        match self.files.open.get(&fd.rep()) {
            Some(Entry::File(file)) => Ok(Arc::clone(file)),
            Some(_) => Err(Errno::BADF.into()),
            None => Err(Failure::Table(ResourceTableError::NotPresent)),
        }
    }

    pub(super) fn open(
        &mut self,
        fd: &Resource<Descriptor>,
        path: &Path,
        how: How,
    ) -> Result<Resource<Descriptor>, Failure> {
        if self.files.open.len() >= self.files.max {
            // WASI has no word for "too many open files".
            return Err(Errno::NOMEM.into());
        }
        let (volume, dir) = self.dir(fd)?;
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, how.read || !how.write);
        mode.set(OpenMode::WRITE, how.write || how.create || how.truncate);
        match volume.open(&dir, path, how)? {
            Opened::File(file) => {
                let (host, inode) = file.into_parts()?;
                let file = filesystem::File::new(host, perms(&volume), mode, true);
                let open = OpenFile::new(Arc::clone(&file.file), inode);
                self.push(Descriptor::File(file), Entry::File(Arc::new(open)))
            }
            Opened::Dir(host) => {
                let dir = filesystem::Dir::new(host, perms(&volume), mode, true);
                self.push(Descriptor::Dir(dir), Entry::Dir(volume))
            }
        }
    }

    pub(super) fn close(&mut self, fd: Resource<Descriptor>) -> Result<(), Failure> {
        self.files.open.remove(&fd.rep());
        self.table.delete(fd).map_err(Failure::Table)?;
        Ok(())
    }

    /// The host's file or directory, to be flushed.
    pub(super) fn host(&mut self, fd: &Resource<Descriptor>) -> Result<Arc<File>, Failure> {
        self.realize(fd)?;
        Ok(match self.table.get(fd).map_err(Failure::Table)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(dir) => Arc::clone(&dir.dir),
        })
    }

    fn push(
        &mut self,
        descriptor: Descriptor,
        entry: Entry,
    ) -> Result<Resource<Descriptor>, Failure> {
        let fd = self.table.push(descriptor).map_err(Failure::Table)?;
        self.files.open.insert(fd.rep(), entry);
        Ok(fd)
    }
}

/// Flushes `file` on tokio's pool: the disk may take its time.
pub(super) async fn flush(
    file: Arc<File>,
    act: fn(&File) -> io::Result<()>,
) -> Result<(), Failure> {
    let flushed = tokio::task::spawn_blocking(move || match act(&file) {
        // A directory that is only good for looking up paths has nothing to flush.
        Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Ok(()),
        done => done,
    });
    Ok(flushed.await.map_err(io::Error::other)??)
}

fn perms(volume: &Volume) -> FsPerms {
    if volume.read_only() {
        FsPerms::ReadOnly
    } else {
        FsPerms::ReadWrite
    }
}

/// Stands for a directory until it is used.
fn placeholder() -> io::Result<filesystem::Dir> {
    static PLACEHOLDER: OnceLock<filesystem::Dir> = OnceLock::new();
    if let Some(dir) = PLACEHOLDER.get() {
        return Ok(dir.clone());
    }
    let mode = OpenMode::READ | OpenMode::WRITE;
    // A pipe, for it needs no path: a confined process may not be able to open any.
    let (reader, _) = io::pipe()?;
    let nothing = File::from(std::os::fd::OwnedFd::from(reader));
    let dir = filesystem::Dir::new(nothing, FsPerms::ReadWrite, mode, true);
    Ok(PLACEHOLDER.get_or_init(|| dir).clone())
}
