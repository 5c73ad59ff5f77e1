//! What a WASI 0.1 descriptor can stand for, as `wasi-common` wants to see it.
//!
//! The work is done by [`OpenFile`], [`Volume`] and the standard streams; here it is put into
//! `wasi-common`'s words. Long transfers are cut into short ones with a yield in between, so that a guest
//! that moves gigabytes holds up nobody. `fsync` can take long and goes to tokio's pool for that.

use std::any::Any;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_primitives::fs::{self as cap, FollowSymlinks, Metadata, MetadataExt as _};
use wasi_common::dir::{OpenResult, ReaddirCursor, ReaddirEntity};
use wasi_common::file::{Advice, FdFlags, FileType, Filestat, OFlags};
use wasi_common::snapshots::preview_1::error::Errno;
use wasi_common::{Error, SystemTimeSpec, WasiDir, WasiFile};

use super::errno::errno;
use crate::wasi::clock::yield_once;
use crate::wasi::file::OpenFile;
use crate::wasi::stdio::{Input, Output};
use crate::wasi::volume::{How, Opened, Volume};

/// A regular file.
#[derive(Clone, Debug)]
pub(super) struct FileNode(pub(super) Arc<OpenFile>);

/// A directory of a volume.
#[derive(Clone, Debug)]
pub(super) struct DirNode {
    volume: Arc<Volume>,
    /// `None` for the volume's uppermost, which is opened when it is first used.
    dir: Option<Arc<File>>,
}

/// The guest's stdin.
#[derive(Clone, Debug)]
pub(super) struct StdinNode {
    input: Arc<Input>,
    nonblocking: Nonblocking,
}

/// The guest's stdout or stderr.
#[derive(Clone, Debug)]
pub(super) struct StdoutNode {
    output: Output,
    nonblocking: Nonblocking,
}

/// Whether reading or writing fails with `EAGAIN` rather than waits.
#[derive(Clone, Debug, Default)]
struct Nonblocking(Arc<AtomicBool>);

impl Nonblocking {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, flags: FdFlags) {
        self.0
            .store(flags.contains(FdFlags::NONBLOCK), Ordering::Relaxed);
    }

    fn flags(&self) -> FdFlags {
        if self.get() {
            FdFlags::NONBLOCK
        } else {
            FdFlags::empty()
        }
    }
}

impl StdinNode {
    pub(super) fn new(input: Input) -> Self {
        Self {
            input: Arc::new(input),
            nonblocking: Nonblocking::default(),
        }
    }
}

impl StdoutNode {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            nonblocking: Nonblocking::default(),
        }
    }
}

#[wiggle::async_trait]
impl WasiFile for FileNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(FileType::RegularFile)
    }

    async fn datasync(&self) -> Result<(), Error> {
        self.blocking(File::sync_data).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.blocking(File::sync_all).await
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        Ok(if self.0.is_append() {
            FdFlags::APPEND
        } else {
            FdFlags::empty()
        })
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        Ok(filestat(
            &Metadata::from_file(self.0.host()).map_err(errno)?,
        ))
    }

    async fn set_filestat_size(&self, size: u64) -> Result<(), Error> {
        self.0.set_len(size).map_err(errno)
    }

    async fn advise(&self, offset: u64, len: u64, _advice: Advice) -> Result<(), Error> {
        // Advice may be ignored; nonsense may not.
        match i64::try_from(offset).is_ok() && i64::try_from(len).is_ok() {
            true => Ok(()),
            false => Err(Errno::Inval.into()),
        }
    }

    async fn set_times(
        &self,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        let mut times = std::fs::FileTimes::new();
        if let Some(accessed) = accessed {
            times = times.set_accessed(moment(accessed));
        }
        if let Some(modified) = modified {
            times = times.set_modified(moment(modified));
        }
        self.0.host().set_times(times).map_err(errno)
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        let mut total = 0;
        for buffer in buffers {
            while !buffer.is_empty() {
                let read = match self.0.read(buffer) {
                    Ok(read) => read,
                    Err(_) if total > 0 => return Ok(total),
                    Err(error) => return Err(errno(error)),
                };
                if read == 0 {
                    return Ok(total);
                }
                total += read as u64;
                buffer.advance(read);
                yield_if_more(!buffer.is_empty()).await;
            }
        }
        Ok(total)
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        let mut total = 0;
        for buffer in buffers {
            while !buffer.is_empty() {
                let read = match self.0.read_at(buffer, offset.saturating_add(total)) {
                    Ok(read) => read,
                    Err(_) if total > 0 => return Ok(total),
                    Err(error) => return Err(errno(error)),
                };
                if read == 0 {
                    return Ok(total);
                }
                total += read as u64;
                buffer.advance(read);
                yield_if_more(!buffer.is_empty()).await;
            }
        }
        Ok(total)
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        write_all(buffers, |rest, _| self.0.write(rest)).await
    }

    async fn write_vectored_at<'a>(
        &self,
        buffers: &[IoSlice<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        write_all(buffers, |rest, done| {
            self.0.write_at(rest, offset.saturating_add(done))
        })
        .await
    }

    async fn seek(&self, to: SeekFrom) -> Result<u64, Error> {
        self.0.seek(to).map_err(errno)
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        let len = self.0.host().metadata().map_err(errno)?.len();
        let position = self.0.seek(SeekFrom::Current(0)).map_err(errno)?;
        Ok(len.saturating_sub(position))
    }

    async fn readable(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn writable(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl FileNode {
    async fn blocking(&self, act: fn(&File) -> io::Result<()>) -> Result<(), Error> {
        let file = Arc::clone(self.0.host());
        match tokio::task::spawn_blocking(move || act(&file)).await {
            Ok(done) => done.map_err(errno),
            Err(_) => Err(Errno::Io.into()),
        }
    }
}

/// Writes piece by piece until all is written or something is in the way.
async fn write_all(
    buffers: &[IoSlice<'_>],
    write: impl Fn(&[IoSlice<'_>], u64) -> io::Result<usize> + Send,
) -> Result<u64, Error> {
    let mut rest: Vec<IoSlice<'_>> = buffers.to_vec();
    let mut rest = &mut rest[..];
    let mut total = 0;
    loop {
        let written = match write(rest, total) {
            Ok(written) => written,
            Err(_) if total > 0 => return Ok(total),
            Err(error) => return Err(errno(error)),
        };
        total += written as u64;
        IoSlice::advance_slices(&mut rest, written);
        if written == 0 || rest.is_empty() {
            return Ok(total);
        }
        yield_once().await;
    }
}

async fn yield_if_more(more: bool) {
    if more {
        yield_once().await;
    }
}

impl DirNode {
    pub(super) fn uppermost(volume: Arc<Volume>) -> Self {
        Self { volume, dir: None }
    }

    fn dir(&self) -> Result<&File, Error> {
        self.host().map_err(errno)
    }

    fn host(&self) -> io::Result<&File> {
        match &self.dir {
            Some(dir) => Ok(dir),
            None => self.volume.dir().map(|dir| &**dir),
        }
    }

    /// Opens `path` beneath this directory.
    pub(super) fn open(&self, path: &str, how: How) -> Result<Node, Error> {
        match self
            .volume
            .open(self.dir()?, path.as_ref(), how)
            .map_err(errno)?
        {
            Opened::File(file) => Ok(Node::File(FileNode(Arc::new(file)))),
            Opened::Dir(dir) => Ok(Node::Dir(Self {
                volume: Arc::clone(&self.volume),
                dir: Some(Arc::new(dir)),
            })),
        }
    }

    pub(super) fn read_only(&self) -> bool {
        self.volume.read_only()
    }
}

/// What a descriptor stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
    Stdin(StdinNode),
    Stdout(StdoutNode),
}

impl Node {
    /// Changes the flags that `fcntl` may change.
    pub(super) fn set_flags(&self, flags: FdFlags) -> Result<(), Error> {
        if flags.intersects(FdFlags::DSYNC | FdFlags::RSYNC | FdFlags::SYNC) {
            return Err(Errno::Notsup.into());
        }
        match self {
            // A regular file never makes anybody wait: nothing to remember but the mode of writing.
            Self::File(file) => file.0.set_append(flags.contains(FdFlags::APPEND)),
            Self::Stdin(stdin) => stdin.nonblocking.set(flags),
            Self::Stdout(stdout) => stdout.nonblocking.set(flags),
            Self::Dir(_) => return Err(Errno::Badf.into()),
        }
        Ok(())
    }
}

#[wiggle::async_trait]
impl WasiDir for DirNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn open_file(
        &self,
        follow: bool,
        path: &str,
        oflags: OFlags,
        read: bool,
        write: bool,
        flags: FdFlags,
    ) -> Result<OpenResult, Error> {
        Ok(match self.open(path, how(follow, oflags, read, write))? {
            Node::Dir(dir) => OpenResult::Dir(Box::new(dir)),
            Node::File(file) => {
                file.0.set_append(flags.contains(FdFlags::APPEND));
                OpenResult::File(Box::new(file))
            }
            Node::Stdin(_) | Node::Stdout(_) => return Err(Errno::Io.into()),
        })
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        self.volume
            .create_dir(self.dir()?, path.as_ref())
            .map_err(errno)
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        let dir = self.dir()?;
        let own = dir.metadata().map_err(errno)?.ino();
        let position = i64::try_from(u64::from(cursor)).map_err(|_| Errno::Inval)?;
        let mut entries = read_dir(dir).map_err(|e| errno(e.into()))?;
        if position > 0 {
            entries.seek(position).map_err(|e| errno(e.into()))?;
        }
        Ok(Box::new(entries.map(move |entry| {
            entity(&entry.map_err(|e| errno(e.into()))?, own)
        })))
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        self.volume
            .symlink(target.as_ref(), self.dir()?, path.as_ref())
            .map_err(errno)
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        self.volume
            .remove_dir(self.dir()?, path.as_ref())
            .map_err(errno)
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.volume
            .remove_file(self.dir()?, path.as_ref())
            .map_err(errno)
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        cap::read_link(self.dir()?, path.as_ref()).map_err(errno)
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        Ok(filestat(&Metadata::from_file(self.dir()?).map_err(errno)?))
    }

    async fn get_path_filestat(&self, path: &str, follow: bool) -> Result<Filestat, Error> {
        let follow = if follow {
            FollowSymlinks::Yes
        } else {
            FollowSymlinks::No
        };
        let metadata = cap::stat(self.dir()?, path.as_ref(), follow).map_err(errno)?;
        Ok(filestat(&metadata))
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = same_kind(to)?;
        self.volume
            .rename(
                self.dir()?,
                path.as_ref(),
                (&to.volume, to.dir()?),
                to_path.as_ref(),
            )
            .map_err(errno)
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = same_kind(to)?;
        self.volume
            .hard_link(
                self.dir()?,
                path.as_ref(),
                (&to.volume, to.dir()?),
                to_path.as_ref(),
            )
            .map_err(errno)
    }

    async fn set_times(
        &self,
        path: &str,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
        follow: bool,
    ) -> Result<(), Error> {
        let times = [accessed.map(host_moment), modified.map(host_moment)];
        self.volume
            .set_times(self.dir()?, Path::new(path), follow, times)
            .map_err(errno)
    }
}

/// How to open, in the words of [`Volume`].
pub(super) fn how(follow: bool, oflags: OFlags, read: bool, write: bool) -> How {
    How {
        follow,
        create: oflags.contains(OFlags::CREATE),
        exclusive: oflags.contains(OFlags::EXCLUSIVE),
        truncate: oflags.contains(OFlags::TRUNCATE),
        directory: oflags.contains(OFlags::DIRECTORY),
        read,
        write,
    }
}

/// The directory once more, with an offset of its own: `dir` itself may be good for looking up paths only.
fn read_dir(dir: &File) -> rustix::io::Result<rustix::fs::Dir> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)
}

fn same_kind(dir: &dyn WasiDir) -> Result<&DirNode, Error> {
    dir.as_any()
        .downcast_ref()
        .ok_or_else(|| Errno::Badf.into())
}

fn entity(entry: &rustix::fs::DirEntry, own: u64) -> Result<ReaddirEntity, Error> {
    let name = entry.file_name().to_str().map_err(|_| Errno::Ilseq)?;
    // What lies above is not the guest's to know.
    let inode = if name == ".." { own } else { entry.ino() };
    Ok(ReaddirEntity {
        next: entry.offset().cast_unsigned().into(),
        inode,
        name: name.to_owned(),
        filetype: match entry.file_type() {
            rustix::fs::FileType::RegularFile => FileType::RegularFile,
            rustix::fs::FileType::Directory => FileType::Directory,
            rustix::fs::FileType::Symlink => FileType::SymbolicLink,
            _ => FileType::Unknown,
        },
    })
}

fn filestat(metadata: &Metadata) -> Filestat {
    let file_type = metadata.file_type();
    let time = |time: io::Result<cap_primitives::time::SystemTime>| {
        // Before 1970 cannot be said in WASI 0.1.
        let time = time.ok()?.into_std();
        (time >= UNIX_EPOCH).then_some(time)
    };
    let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
    Filestat {
        device_id: metadata.dev(),
        inode: metadata.ino(),
        filetype: if file_type.is_file() {
            FileType::RegularFile
        } else if file_type.is_dir() {
            FileType::Directory
        } else if file_type.is_symlink() {
            FileType::SymbolicLink
        } else {
            FileType::Unknown
        },
        nlink: metadata.nlink(),
        size: metadata.len(),
        atim: time(metadata.accessed()),
        mtim: time(metadata.modified()),
        ctim: Some(UNIX_EPOCH + Duration::from_secs(changed)),
    }
}

fn moment(time: SystemTimeSpec) -> SystemTime {
    match time {
        SystemTimeSpec::SymbolicNow => SystemTime::now(),
        SystemTimeSpec::Absolute(time) => time.into_std(),
    }
}

fn host_moment(time: SystemTimeSpec) -> cap::SystemTimeSpec {
    match time {
        SystemTimeSpec::SymbolicNow => cap::SystemTimeSpec::SymbolicNow,
        SystemTimeSpec::Absolute(time) => cap::SystemTimeSpec::Absolute(time),
    }
}

#[wiggle::async_trait]
impl WasiFile for StdinNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        Ok(self.nonblocking.flags())
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(FileType::Pipe)
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        let Some(buffer) = buffers.iter_mut().find(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let bytes = if self.nonblocking.get() {
            self.input.try_take(buffer.len()).ok_or(Errno::Again)?
        } else {
            self.input.take(buffer.len()).await
        };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len() as u64)
    }

    async fn read_vectored_at<'a>(&self, _: &mut [IoSliceMut<'a>], _: u64) -> Result<u64, Error> {
        Err(Errno::Spipe.into())
    }

    async fn seek(&self, _: SeekFrom) -> Result<u64, Error> {
        Err(Errno::Spipe.into())
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        Ok(self.input.available() as u64)
    }

    async fn readable(&self) -> Result<(), Error> {
        self.input.ready().await;
        Ok(())
    }
}

#[wiggle::async_trait]
impl WasiFile for StdoutNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(FileType::Pipe)
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        Ok(FdFlags::APPEND | self.nonblocking.flags())
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        let mut rest = buffers.to_vec();
        let mut rest = &mut rest[..];
        let mut total = 0;
        loop {
            let written = match self.write(rest).await {
                Ok(written) => written,
                Err(_) if total > 0 => return Ok(total),
                Err(error) => return Err(errno(error)),
            };
            total += written as u64;
            IoSlice::advance_slices(&mut rest, written);
            if written == 0 || rest.is_empty() {
                return Ok(total);
            }
            yield_once().await;
        }
    }

    async fn write_vectored_at<'a>(&self, _: &[IoSlice<'a>], _: u64) -> Result<u64, Error> {
        Err(Errno::Spipe.into())
    }

    async fn seek(&self, _: SeekFrom) -> Result<u64, Error> {
        Err(Errno::Spipe.into())
    }

    async fn writable(&self) -> Result<(), Error> {
        self.output.ready().await;
        Ok(())
    }
}

impl StdoutNode {
    async fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.nonblocking.get() {
            self.output.try_write_some(buffers)
        } else {
            self.output.write(buffers).await
        }
    }
}
