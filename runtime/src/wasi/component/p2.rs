//! `wasi:filesystem` 0.2 under our quota.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, ReaddirIterator,
    StreamError, StreamResult,
};

use super::files::{Failure, FilesView, flush};
use super::{HasFiles, Host, files};
use crate::wasi::file::{CHUNK, OpenFile};
use crate::wasi::volume::How;

/// What a stream of a file takes at once.
const CAPACITY: usize = 64 << 10;

pub(super) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, HasFiles>(linker, files)?;
    preopens::add_to_linker::<T, HasFiles>(linker, files)
}

impl From<Failure> for FsError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Table(error) => return Self::trap(error),
            Failure::Io(error) => error,
        };
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ROFS) => types::ErrorCode::ReadOnly.into(),
            Some(Errno::XDEV) => types::ErrorCode::CrossDevice.into(),
            Some(Errno::NXIO) => types::ErrorCode::NoSuchDevice.into(),
            Some(Errno::TXTBSY) => types::ErrorCode::TextFileBusy.into(),
            _ => types::ErrorCode::from(error).into(),
        }
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.preopens().map_err(|failure| match failure {
            Failure::Io(error) => error.into(),
            Failure::Table(error) => error.into(),
        })
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        self.inner().filesystem_error_code(error)
    }
}

impl types::HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<ReaddirIterator>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.inner().read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.inner(), stream)
    }
}

/// Writes the trait's implementation: first what is only handed on, then our own.
macro_rules! implement {
    (
        hand_on { $( $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty; )* }
        own { $($own:tt)* }
    ) => {
        impl types::HostDescriptor for FilesView<'_> {
            $(
                async fn $name(
                    &mut self,
                    fd: Resource<Descriptor>,
                    $($arg: $ty),*
                ) -> FsResult<$ret> {
                    self.realize(&fd)?;
                    self.inner().$name(fd, $($arg),*).await
                }
            )*
            $($own)*
        }
    };
}

implement! {
    hand_on {
        advise(offset: u64, len: u64, advice: types::Advice) -> ();
        get_flags() -> types::DescriptorFlags;
        get_type() -> types::DescriptorType;
        set_times(accessed: types::NewTimestamp, modified: types::NewTimestamp) -> ();
        read(len: u64, offset: u64) -> (Vec<u8>, bool);
        read_directory() -> Resource<ReaddirIterator>;
        stat() -> types::DescriptorStat;
        stat_at(flags: types::PathFlags, path: String) -> types::DescriptorStat;
        set_times_at(
            flags: types::PathFlags, path: String,
            accessed: types::NewTimestamp, modified: types::NewTimestamp
        ) -> ();
        readlink_at(path: String) -> String;
        metadata_hash() -> types::MetadataHashValue;
        metadata_hash_at(flags: types::PathFlags, path: String) -> types::MetadataHashValue;
    }
    own {
        async fn is_same_object(
            &mut self,
            a: Resource<Descriptor>,
            b: Resource<Descriptor>,
        ) -> wasmtime::Result<bool> {
            for fd in [&a, &b] {
                if self.realize(fd).is_err() {
                    return Ok(false);
                }
            }
            self.inner().is_same_object(a, b).await
        }

        fn read_via_stream(
            &mut self,
            fd: Resource<Descriptor>,
            offset: u64,
        ) -> FsResult<Resource<DynInputStream>> {
            self.inner().read_via_stream(fd, offset)
        }

        fn write_via_stream(
            &mut self,
            fd: Resource<Descriptor>,
            offset: u64,
        ) -> FsResult<Resource<DynOutputStream>> {
            self.push_stream(&fd, Some(offset))
        }

        fn append_via_stream(
            &mut self,
            fd: Resource<Descriptor>,
        ) -> FsResult<Resource<DynOutputStream>> {
            self.push_stream(&fd, None)
        }

        async fn write(
            &mut self,
            fd: Resource<Descriptor>,
            bytes: Vec<u8>,
            offset: u64,
        ) -> FsResult<u64> {
            let file = self.file(&fd)?;
            // The rest is for another call: nobody else is served while this lasts.
            let part = &bytes[..bytes.len().min(CHUNK)];
            let written = file.write_at(&[IoSlice::new(part)], offset).map_err(Failure::Io)?;
            Ok(written as u64)
        }

        async fn set_size(&mut self, fd: Resource<Descriptor>, size: u64) -> FsResult<()> {
            Ok(self.file(&fd)?.set_len(size).map_err(Failure::Io)?)
        }

        async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
            Ok(flush(self.host(&fd)?, std::fs::File::sync_all).await?)
        }

        async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
            Ok(flush(self.host(&fd)?, std::fs::File::sync_data).await?)
        }

        async fn create_directory_at(
            &mut self,
            fd: Resource<Descriptor>,
            path: String,
        ) -> FsResult<()> {
            let (volume, dir) = self.dir(&fd)?;
            Ok(volume.create_dir(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }

        async fn link_at(
            &mut self,
            fd: Resource<Descriptor>,
            flags: types::PathFlags,
            path: String,
            to: Resource<Descriptor>,
            to_path: String,
        ) -> FsResult<()> {
            if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
                return Err(types::ErrorCode::Invalid.into());
            }
            let ((volume, dir), (to_volume, to)) = (self.dir(&fd)?, self.dir(&to)?);
            let linked = volume.hard_link(&dir, Path::new(&path), (&to_volume, &to), Path::new(&to_path));
            Ok(linked.map_err(Failure::Io)?)
        }

        async fn open_at(
            &mut self,
            fd: Resource<Descriptor>,
            path_flags: types::PathFlags,
            path: String,
            open_flags: types::OpenFlags,
            flags: types::DescriptorFlags,
        ) -> FsResult<Resource<Descriptor>> {
            let synchronous = types::DescriptorFlags::FILE_INTEGRITY_SYNC
                | types::DescriptorFlags::DATA_INTEGRITY_SYNC
                | types::DescriptorFlags::REQUESTED_WRITE_SYNC;
            if flags.intersects(synchronous) {
                return Err(types::ErrorCode::Unsupported.into());
            }
            let how = How {
                follow: path_flags.contains(types::PathFlags::SYMLINK_FOLLOW),
                create: open_flags.contains(types::OpenFlags::CREATE),
                exclusive: open_flags.contains(types::OpenFlags::EXCLUSIVE),
                truncate: open_flags.contains(types::OpenFlags::TRUNCATE),
                directory: open_flags.contains(types::OpenFlags::DIRECTORY),
                read: flags.contains(types::DescriptorFlags::READ),
                write: flags.contains(types::DescriptorFlags::WRITE),
            };
            Ok(self.open(&fd, Path::new(&path), how)?)
        }

        fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
            self.close(fd).map_err(|failure| match failure {
                Failure::Io(error) => error.into(),
                Failure::Table(error) => error.into(),
            })
        }

        async fn remove_directory_at(
            &mut self,
            fd: Resource<Descriptor>,
            path: String,
        ) -> FsResult<()> {
            let (volume, dir) = self.dir(&fd)?;
            Ok(volume.remove_dir(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }

        async fn rename_at(
            &mut self,
            fd: Resource<Descriptor>,
            path: String,
            to: Resource<Descriptor>,
            to_path: String,
        ) -> FsResult<()> {
            let ((volume, dir), (to_volume, to)) = (self.dir(&fd)?, self.dir(&to)?);
            let renamed = volume.rename(&dir, Path::new(&path), (&to_volume, &to), Path::new(&to_path));
            Ok(renamed.map_err(Failure::Io)?)
        }

        async fn symlink_at(
            &mut self,
            fd: Resource<Descriptor>,
            target: String,
            path: String,
        ) -> FsResult<()> {
            let (volume, dir) = self.dir(&fd)?;
            let made = volume.symlink(Path::new(&target), &dir, Path::new(&path));
            Ok(made.map_err(Failure::Io)?)
        }

        async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
            let (volume, dir) = self.dir(&fd)?;
            Ok(volume.remove_file(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }
    }
}

impl FilesView<'_> {
    fn push_stream(
        &mut self,
        fd: &Resource<Descriptor>,
        offset: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(FileStream {
            file: self.file(fd)?,
            offset,
        });
        Ok(self.table.push(stream)?)
    }
}

/// Writes to a file from an offset on, or at its end.
struct FileStream {
    file: Arc<OpenFile>,
    offset: Option<u64>,
}

impl FileStream {
    fn write_once(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let buffers = [IoSlice::new(bytes)];
        match &mut self.offset {
            None => self.file.append(&buffers).map(|(_, written)| written),
            Some(offset) => {
                let written = self.file.write_at(&buffers, *offset)?;
                *offset += written as u64;
                Ok(written)
            }
        }
    }
}

#[async_trait]
impl OutputStream for FileStream {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            match self.write_once(&bytes) {
                Ok(written) => drop(bytes.split_to(written)),
                Err(error) => return Err(StreamError::LastOperationFailed(error.into())),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CAPACITY)
    }
}

#[async_trait]
impl Pollable for FileStream {
    async fn ready(&mut self) {}
}
