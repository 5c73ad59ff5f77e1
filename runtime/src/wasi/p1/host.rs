//! The 46 functions of `wasi_snapshot_preview1` over `wasi-common`.
//!
//! Most are handed on once the descriptor's rights are checked and what the guest counts is bounded:
//! `wasi-common` allocates in proportion to it. The rest puts right where `wasi-common` strays from the
//! specification, or has no notion of what is meant.

use std::io::IoSlice;

use wasi_common::file::{FdFlags, FileAccessMode, OFlags};
use wasi_common::snapshots::preview_1::error::Errno;
use wasi_common::snapshots::preview_1::types::{
    Advice, Ciovec, CiovecArray, Clockid, Dircookie, Event, Exitcode, Fd, Fdflags, Fdstat,
    Filedelta, Filesize, Filestat, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, PrestatDir,
    Riflags, Rights, Roflags, Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasi_common::snapshots::preview_1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasi_common::{Error, WasiFile};
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::Descriptor;
use super::nodes::{self, Node};
use super::{Ctx, Exit};
use crate::wasi::clock::yield_once;

/// Vectors of buffers and lists of subscriptions may be this long: `IOV_MAX`.
const MAX_COUNT: u32 = 1024;
/// `PATH_MAX`.
const MAX_PATH: u32 = 4096;
/// Random bytes made between two yields.
const RANDOM_CHUNK: u32 = 64 << 10;
/// Bytes that are copied out of a shared memory to be written.
const SHARED_CHUNK: u32 = 64 << 10;

fn bounded(count: u32) -> Result<(), Error> {
    if count > MAX_COUNT {
        Err(Errno::Inval.into())
    } else {
        Ok(())
    }
}

fn bounded_path(path: &GuestPtr<str>) -> Result<(), Error> {
    if path.len() > MAX_PATH {
        Err(Errno::Nametoolong.into())
    } else {
        Ok(())
    }
}

/// Writes the trait's implementation: first what is only handed on, after its checks, then our own.
macro_rules! implement {
    (
        hand_on { $(
            $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty
            $(, needs $(($fd:ident, $right:ident))+)?
            $(, paths $($path:ident)+)?
            ;
        )* }
        own { $($own:tt)* }
    ) => {
        #[wiggle::async_trait]
        impl WasiSnapshotPreview1 for Ctx {
            $(
                async fn $name(
                    &mut self,
                    memory: &mut GuestMemory<'_>,
                    $($arg: $ty),*
                ) -> Result<$ret, Error> {
                    $($(self.shared.descriptors.require($fd, Rights::$right)?;)+)?
                    $($(bounded_path(&$path)?;)+)?
                    self.inner.$name(memory, $($arg),*).await
                }
            )*
            $($own)*
        }
    };
}

implement! {
    hand_on {
        args_get(argv: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> ();
        args_sizes_get() -> (Size, Size);
        environ_get(environ: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> ();
        environ_sizes_get() -> (Size, Size);
        clock_res_get(id: Clockid) -> Timestamp;
        clock_time_get(id: Clockid, precision: Timestamp) -> Timestamp;
        fd_advise(fd: Fd, offset: Filesize, len: Filesize, advice: Advice) -> (), needs (fd, FD_ADVISE);
        fd_allocate(fd: Fd, offset: Filesize, len: Filesize) -> (), needs (fd, FD_ALLOCATE);
        fd_datasync(fd: Fd) -> (), needs (fd, FD_DATASYNC);
        fd_filestat_get(fd: Fd) -> Filestat, needs (fd, FD_FILESTAT_GET);
        fd_filestat_set_size(fd: Fd, size: Filesize) -> (), needs (fd, FD_FILESTAT_SET_SIZE);
        fd_filestat_set_times(fd: Fd, atim: Timestamp, mtim: Timestamp, flags: Fstflags) -> (),
            needs (fd, FD_FILESTAT_SET_TIMES);
        fd_readdir(fd: Fd, buffer: GuestPtr<u8>, len: Size, cookie: Dircookie) -> Size,
            needs (fd, FD_READDIR);
        fd_seek(fd: Fd, offset: Filedelta, whence: Whence) -> Filesize, needs (fd, FD_SEEK);
        fd_sync(fd: Fd) -> (), needs (fd, FD_SYNC);
        fd_tell(fd: Fd) -> Filesize, needs (fd, FD_TELL);
        path_create_directory(fd: Fd, path: GuestPtr<str>) -> (),
            needs (fd, PATH_CREATE_DIRECTORY), paths path;
        path_filestat_get(fd: Fd, flags: Lookupflags, path: GuestPtr<str>) -> Filestat,
            needs (fd, PATH_FILESTAT_GET), paths path;
        path_filestat_set_times(
            fd: Fd, flags: Lookupflags, path: GuestPtr<str>,
            atim: Timestamp, mtim: Timestamp, fst_flags: Fstflags
        ) -> (), needs (fd, PATH_FILESTAT_SET_TIMES), paths path;
        path_link(
            fd: Fd, flags: Lookupflags, path: GuestPtr<str>, to: Fd, to_path: GuestPtr<str>
        ) -> (), needs (fd, PATH_LINK_SOURCE) (to, PATH_LINK_TARGET), paths path to_path;
        path_readlink(fd: Fd, path: GuestPtr<str>, buffer: GuestPtr<u8>, len: Size) -> Size,
            needs (fd, PATH_READLINK), paths path;
        path_remove_directory(fd: Fd, path: GuestPtr<str>) -> (),
            needs (fd, PATH_REMOVE_DIRECTORY), paths path;
        path_rename(fd: Fd, path: GuestPtr<str>, to: Fd, to_path: GuestPtr<str>) -> (),
            needs (fd, PATH_RENAME_SOURCE) (to, PATH_RENAME_TARGET), paths path to_path;
        path_symlink(target: GuestPtr<str>, fd: Fd, path: GuestPtr<str>) -> (),
            needs (fd, PATH_SYMLINK), paths target path;
        path_unlink_file(fd: Fd, path: GuestPtr<str>) -> (),
            needs (fd, PATH_UNLINK_FILE), paths path;
        proc_raise(signal: Signal) -> ();
        sched_yield() -> ();
    }
    own {
        async fn fd_close(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
            self.shared.descriptors.close(&self.inner, fd.into()).map(drop)
        }

        async fn fd_fdstat_get(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
        ) -> Result<Fdstat, Error> {
            let Descriptor { base, inheriting, .. } = self.shared.descriptors.get(fd)?;
            let stat = self.inner.fd_fdstat_get(memory, fd).await?;
            Ok(Fdstat {
                fs_rights_base: base,
                fs_rights_inheriting: inheriting,
                ..stat
            })
        }

        async fn fd_fdstat_set_flags(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            flags: Fdflags,
        ) -> Result<(), Error> {
            self.shared.descriptors.require(fd, Rights::FD_FDSTAT_SET_FLAGS)?;
            self.shared.descriptors.get(fd)?.node.set_flags(FdFlags::from(flags))
        }

        async fn fd_fdstat_set_rights(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            base: Rights,
            inheriting: Rights,
        ) -> Result<(), Error> {
            self.shared.descriptors.restrict(fd.into(), base, inheriting)
        }

        async fn fd_read(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            buffers: IovecArray,
        ) -> Result<Size, Error> {
            bounded(buffers.len())?;
            self.shared.descriptors.require(fd, Rights::FD_READ)?;
            self.inner.fd_read(memory, fd, buffers).await
        }

        async fn fd_pread(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            buffers: IovecArray,
            offset: Filesize,
        ) -> Result<Size, Error> {
            bounded(buffers.len())?;
            self.shared.descriptors.require(fd, Rights::FD_READ)?;
            self.inner.fd_pread(memory, fd, buffers, offset).await
        }

        async fn fd_write(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            buffers: CiovecArray,
        ) -> Result<Size, Error> {
            bounded(buffers.len())?;
            self.shared.descriptors.require(fd, Rights::FD_WRITE)?;
            if memory.is_shared_memory() {
                self.write_shared(memory, fd, buffers, None).await
            } else {
                self.inner.fd_write(memory, fd, buffers).await
            }
        }

        async fn fd_pwrite(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            buffers: CiovecArray,
            offset: Filesize,
        ) -> Result<Size, Error> {
            bounded(buffers.len())?;
            self.shared.descriptors.require(fd, Rights::FD_WRITE)?;
            if memory.is_shared_memory() {
                self.write_shared(memory, fd, buffers, Some(offset)).await
            } else {
                self.inner.fd_pwrite(memory, fd, buffers, offset).await
            }
        }

        async fn fd_prestat_get(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
        ) -> Result<Prestat, Error> {
            let pr_name_len = self.preopen_path(fd)?.len().try_into()?;
            Ok(Prestat::Dir(PrestatDir { pr_name_len }))
        }

        async fn fd_prestat_dir_name(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            buffer: GuestPtr<u8>,
            len: Size,
        ) -> Result<(), Error> {
            let path = self.preopen_path(fd)?;
            let path_len = u32::try_from(path.len())?;
            if path_len > len {
                return Err(Errno::Nametoolong.into());
            }
            memory.copy_from_slice(path.as_bytes(), buffer.as_array(path_len))?;
            Ok(())
        }

        async fn fd_renumber(
            &mut self,
            _: &mut GuestMemory<'_>,
            from: Fd,
            to: Fd,
        ) -> Result<(), Error> {
            self.shared.descriptors.renumber(&self.inner, from.into(), to.into())
        }

        async fn path_open(
            &mut self,
            memory: &mut GuestMemory<'_>,
            fd: Fd,
            lookup: Lookupflags,
            path: GuestPtr<str>,
            oflags: Oflags,
            base: Rights,
            _inheriting: Rights,
            flags: Fdflags,
        ) -> Result<Fd, Error> {
            bounded_path(&path)?;
            let path = memory.as_cow_str(path)?;
            let follow = lookup.contains(Lookupflags::SYMLINK_FOLLOW);
            self.open(fd, follow, &path, oflags, base, FdFlags::from(flags))
        }

        async fn poll_oneoff(
            &mut self,
            memory: &mut GuestMemory<'_>,
            subscriptions: GuestPtr<Subscription>,
            events: GuestPtr<Event>,
            count: Size,
        ) -> Result<Size, Error> {
            bounded(count)?;
            self.inner.poll_oneoff(memory, subscriptions, events, count).await
        }

        async fn proc_exit(
            &mut self,
            _: &mut GuestMemory<'_>,
            status: Exitcode,
        ) -> wiggle::anyhow::Error {
            Exit(status.cast_signed()).into()
        }

        async fn random_get(
            &mut self,
            memory: &mut GuestMemory<'_>,
            buffer: GuestPtr<u8>,
            len: Size,
        ) -> Result<(), Error> {
            let mut done = 0;
            while done < len {
                let part = (len - done).min(RANDOM_CHUNK);
                self.inner.random_get(memory, buffer.add(done)?, part).await?;
                done += part;
                if done < len {
                    yield_once().await;
                }
            }
            Ok(())
        }

        async fn sock_accept(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            _: Fdflags,
        ) -> Result<Fd, Error> {
            Err(self.no_socket(fd))
        }

        async fn sock_recv(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            _: IovecArray,
            _: Riflags,
        ) -> Result<(Size, Roflags), Error> {
            Err(self.no_socket(fd))
        }

        async fn sock_send(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            _: CiovecArray,
            _: Siflags,
        ) -> Result<Size, Error> {
            Err(self.no_socket(fd))
        }

        async fn sock_shutdown(
            &mut self,
            _: &mut GuestMemory<'_>,
            fd: Fd,
            _: Sdflags,
        ) -> Result<(), Error> {
            Err(self.no_socket(fd))
        }
    }
}

impl Ctx {
    /// No descriptor is a socket here.
    fn no_socket(&self, fd: Fd) -> Error {
        match self.shared.descriptors.get(fd) {
            Ok(_) => Errno::Notsock.into(),
            Err(error) => error,
        }
    }

    fn preopen_path(&self, fd: Fd) -> Result<&str, Error> {
        let descriptor = self.shared.descriptors.get(fd)?;
        match descriptor.preopen {
            Some(index) => Ok(&self.shared.preopens[index]),
            None => Err(Errno::Badf.into()),
        }
    }

    fn open(
        &self,
        fd: Fd,
        follow: bool,
        path: &str,
        oflags: Oflags,
        base: Rights,
        flags: FdFlags,
    ) -> Result<Fd, Error> {
        let descriptors = &self.shared.descriptors;
        descriptors.require(fd, Rights::PATH_OPEN)?;
        let parent = descriptors.get(fd)?;
        let Node::Dir(dir) = &parent.node else {
            return Err(Errno::Notdir.into());
        };
        if flags.intersects(FdFlags::DSYNC | FdFlags::RSYNC | FdFlags::SYNC) {
            return Err(Errno::Notsup.into());
        }
        descriptors.check_free()?;
        let (read, write) = (
            base.contains(Rights::FD_READ),
            base.contains(Rights::FD_WRITE),
        );
        let mut mode = FileAccessMode::empty();
        mode.set(FileAccessMode::READ, read);
        mode.set(FileAccessMode::WRITE, write);
        let node = dir.open(path, nodes::how(follow, OFlags::from(&oflags), read, write))?;
        if let Node::File(file) = &node {
            file.0.set_append(flags.contains(FdFlags::APPEND));
        }
        let opened = Descriptor::new(node, mode, parent.inheriting);
        Ok(descriptors.insert(&self.inner, opened)?.into())
    }

    /// Writes from a shared memory: other threads may change it meanwhile, so a part is copied out first.
    async fn write_shared(
        &self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        offset: Option<Filesize>,
    ) -> Result<Size, Error> {
        let mut copied = Vec::new();
        let mut left = SHARED_CHUNK;
        for buffer in buffers.iter() {
            let Ciovec { buf, buf_len } = memory.read(buffer?)?;
            let len = buf_len.min(left);
            copied.extend(memory.to_vec(buf.as_array(len))?);
            left -= len;
        }
        let descriptor = self.shared.descriptors.get(fd)?;
        if !descriptor.base.contains(Rights::FD_WRITE) {
            return Err(Errno::Badf.into());
        }
        let file: &dyn WasiFile = match &descriptor.node {
            Node::File(file) => file,
            Node::Stdin(stdin) => stdin,
            Node::Stdout(stdout) => stdout,
            Node::Dir(_) => return Err(Errno::Badf.into()),
        };
        let buffers = [IoSlice::new(&copied)];
        let written = match offset {
            None => file.write_vectored(&buffers).await?,
            Some(offset) => file.write_vectored_at(&buffers, offset).await?,
        };
        Ok(written.try_into()?)
    }
}
