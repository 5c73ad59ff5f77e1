//! A directory tree of the host as a sandbox sees it: its writable root or a mount.
//!
//! Every change of names goes through here, so that the quota hears of it. Paths are resolved beneath the
//! directory that they start from, by `openat2` where the kernel has it: no `..`, absolute path or symbolic
//! link leads out. Only regular files and directories can be opened. It knows nothing of descriptors.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cap_primitives::fs::{
    self as cap, DirOptions, FollowSymlinks, Metadata, MetadataExt as _, OpenOptions,
};
use rustix::io::Errno;

use super::file::OpenFile;
use super::quota::{DiskQuota, OpenInodes, Removed};

/// A tree of the host's, opened when it is first used: most sandboxes never touch a file.
#[derive(Debug)]
pub(crate) struct Volume {
    host: PathBuf,
    kind: Kind,
    dir: OnceLock<Arc<File>>,
}

#[derive(Debug)]
enum Kind {
    /// The sandbox's own: created if need be, with `/tmp` in it, and counted.
    Root(Arc<DiskQuota>),
    /// A volume: must exist, and is counted with what lies in it from before and what others write.
    Kept {
        quota: Arc<DiskQuota>,
        read_only: bool,
    },
    /// Somebody else's: must exist, is not counted.
    Mount { read_only: bool },
}

/// How to open a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    pub(crate) follow: bool,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) directory: bool,
    pub(crate) write: bool,
    pub(crate) read: bool,
}

/// What was found at a path.
#[derive(Debug)]
pub(crate) enum Opened {
    File(OpenFile),
    Dir(File),
}

impl Volume {
    pub(crate) fn root(host: PathBuf, quota: Arc<DiskQuota>) -> Self {
        Self {
            host,
            kind: Kind::Root(quota),
            dir: OnceLock::new(),
        }
    }

    pub(crate) fn mount(host: PathBuf, read_only: bool) -> Self {
        Self {
            host,
            kind: Kind::Mount { read_only },
            dir: OnceLock::new(),
        }
    }

    pub(crate) fn kept(host: PathBuf, quota: Arc<DiskQuota>, read_only: bool) -> Self {
        Self {
            host,
            kind: Kind::Kept { quota, read_only },
            dir: OnceLock::new(),
        }
    }

    pub(crate) fn read_only(&self) -> bool {
        match &self.kind {
            Kind::Root(_) => false,
            Kind::Kept { read_only, .. } | Kind::Mount { read_only } => *read_only,
        }
    }

    /// The tree's uppermost directory.
    pub(crate) fn dir(&self) -> io::Result<&Arc<File>> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        // Two threads may come here at once, but what lies there is to be counted once.
        let _names = self.quota().map(|quota| quota.names());
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let dir = Arc::new(self.open_host()?);
        Ok(self.dir.get_or_init(|| dir))
    }

    fn open_host(&self) -> io::Result<File> {
        match &self.kind {
            Kind::Root(quota) => {
                std::fs::create_dir_all(&self.host)?;
                quota.adopt(&self.host)?;
                match std::fs::create_dir(self.host.join("tmp")) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            Kind::Kept { .. } | Kind::Mount { .. } => {}
        }
        cap::open_ambient_dir(&self.host, cap_primitives::ambient_authority())
    }

    fn quota(&self) -> Option<&Arc<DiskQuota>> {
        match &self.kind {
            Kind::Root(quota) | Kind::Kept { quota, .. } => Some(quota),
            Kind::Mount { .. } => None,
        }
    }

    /// Holds the names still while they change; `EROFS` where nothing may change.
    fn writable(&self) -> io::Result<Names<'_>> {
        if self.read_only() {
            return Err(Errno::ROFS.into());
        }
        Ok(Names(self.quota().map(|quota| (quota, quota.names()))))
    }

    /// Opens a file or directory, creating a file if asked to.
    pub(crate) fn open(&self, start: &File, path: &Path, how: How) -> io::Result<Opened> {
        if self.read_only() && (how.create || how.truncate || how.write) {
            return Err(Errno::ROFS.into());
        }
        if how.directory && (how.create || how.exclusive || how.truncate) {
            return Err(Errno::INVAL.into());
        }
        let mut names = self.quota().map(|quota| (quota, quota.names()));
        let file = match &mut names {
            Some((quota, _)) if how.create => create(quota, start, path, how)?,
            _ => cap::open(start, path, &options(how, how.create))?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Opened::Dir(file));
        }
        if how.directory {
            return Err(Errno::NOTDIR.into());
        }
        if !metadata.is_file() {
            return Err(Errno::NXIO.into());
        }
        let inode =
            names.map(|(quota, mut names)| names.open(quota, metadata.ino(), metadata.len()));
        let file = OpenFile::new(file, inode);
        if how.truncate {
            file.set_len(0)?;
        }
        Ok(Opened::File(file))
    }

    pub(crate) fn create_dir(&self, start: &File, path: &Path) -> io::Result<()> {
        self.writable()?
            .adding(|| cap::create_dir(start, path, &DirOptions::new()))
    }

    /// Makes a symbolic link at `path`; an absolute `target` is refused, for it could only lead out.
    pub(crate) fn symlink(&self, target: &Path, start: &File, path: &Path) -> io::Result<()> {
        self.writable()?
            .adding(|| cap::symlink(target, start, path))
    }

    pub(crate) fn hard_link(
        &self,
        start: &File,
        path: &Path,
        (other, to_start): (&Self, &File),
        to_path: &Path,
    ) -> io::Result<()> {
        self.must_be(other)?;
        self.writable()?
            .adding(|| cap::hard_link(start, path, to_start, to_path))
    }

    pub(crate) fn remove_file(&self, start: &File, path: &Path) -> io::Result<()> {
        self.writable()?
            .removing(start, path, || cap::remove_file(start, path))
    }

    pub(crate) fn remove_dir(&self, start: &File, path: &Path) -> io::Result<()> {
        self.writable()?
            .removing(start, path, || cap::remove_dir(start, path))
    }

    pub(crate) fn rename(
        &self,
        start: &File,
        path: &Path,
        (other, to_start): (&Self, &File),
        to_path: &Path,
    ) -> io::Result<()> {
        self.must_be(other)?;
        let names = self.writable()?;
        let rename = || cap::rename(start, path, to_start, to_path);
        let (Ok(from), Ok(to)) = (lstat(start, path), lstat(to_start, to_path)) else {
            return rename();
        };
        if from.ino() == to.ino() {
            // Two names of one file: POSIX has it that nothing happens.
            return rename();
        }
        names.removing(to_start, to_path, rename)
    }

    pub(crate) fn set_times(
        &self,
        start: &File,
        path: &Path,
        follow: bool,
        [accessed, modified]: [Option<cap::SystemTimeSpec>; 2],
    ) -> io::Result<()> {
        let _names = self.writable()?;
        if follow {
            cap::set_times(start, path, accessed, modified)
        } else {
            cap::set_times_nofollow(start, path, accessed, modified)
        }
    }

    /// Names cannot move between trees.
    fn must_be(&self, other: &Self) -> io::Result<()> {
        if std::ptr::eq(self, other) {
            Ok(())
        } else {
            Err(Errno::XDEV.into())
        }
    }
}

/// The names of a tree while they change.
struct Names<'a>(Option<(&'a Arc<DiskQuota>, std::sync::MutexGuard<'a, OpenInodes>)>);

impl Names<'_> {
    fn adding(self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some((quota, _held)) = &self.0 else {
            return act();
        };
        quota.charge_file()?;
        act().inspect_err(|_| quota.release_file())
    }

    fn removing(
        self,
        start: &File,
        path: &Path,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((quota, names)) = &self.0 else {
            return act();
        };
        let metadata = lstat(start, path)?;
        act()?;
        quota.on_removed(names, removed(&metadata));
        Ok(())
    }
}

fn lstat(start: &File, path: &Path) -> io::Result<Metadata> {
    cap::stat(start, path, FollowSymlinks::No)
}

fn removed(metadata: &Metadata) -> Removed {
    // A directory has two links and more, but no second name.
    let links = if metadata.is_dir() {
        1
    } else {
        metadata.nlink()
    };
    let len = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    Removed {
        inode: metadata.ino(),
        links,
        len,
    }
}

/// Opens what is there, or charges for one name and makes it.
fn create(quota: &DiskQuota, start: &File, path: &Path, how: How) -> io::Result<File> {
    if !how.exclusive {
        match cap::open(start, path, &options(how, false)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    quota.charge_file()?;
    cap::open(start, path, &options(how, true)).inspect_err(|_| quota.release_file())
}

fn options(how: How, create: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    let write = how.write || how.create || how.truncate;
    options.read(how.read || !write).write(write);
    if create && how.exclusive {
        options.create_new(true);
    } else if create {
        options.create(true);
    }
    let follow = if how.follow {
        FollowSymlinks::Yes
    } else {
        FollowSymlinks::No
    };
    options._cap_fs_ext_follow(follow);
    options._cap_fs_ext_maybe_dir(true);
    // Nothing that is opened may hold us up: a mount may have a FIFO in it.
    options._cap_fs_ext_nonblock(true);
    options
}
