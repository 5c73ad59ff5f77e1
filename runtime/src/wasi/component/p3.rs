//! `wasi:filesystem` 0.3 under our quota.

use std::io::IoSlice;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Accessor, FutureReader, Linker, Resource, Source, StreamConsumer, StreamReader,
    StreamResult,
};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{self, ErrorCode, HostDescriptorWithStore};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::files::{Failure, FilesView, Place, flush};
use super::{HasFiles, Host, files, inner_files};
use crate::wasi::file::OpenFile;
use crate::wasi::volume::How;

pub(super) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, HasFiles>(linker, files)?;
    preopens::add_to_linker::<T, HasFiles>(linker, files)
}

fn code(error: std::io::Error) -> ErrorCode {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ROFS) => ErrorCode::ReadOnly,
        Some(Errno::XDEV) => ErrorCode::CrossDevice,
        Some(Errno::NXIO) => ErrorCode::NoSuchDevice,
        Some(Errno::TXTBSY) => ErrorCode::TextFileBusy,
        _ => ErrorCode::from(error),
    }
}

impl From<Failure> for FilesystemError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Table(error) => Self::trap(error),
            Failure::Io(error) => code(error).into(),
        }
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        wasmtime_wasi::p2::bindings::filesystem::preopens::Host::get_directories(self)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl types::HostDescriptor for FilesView<'_> {
    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor::drop(self, fd)
    }
}

type Store<U> = Accessor<U, HasFiles>;
type Written = Result<(), ErrorCode>;

fn dir<U: Host>(store: &Store<U>, fd: &Resource<Descriptor>) -> Result<Place, Failure> {
    store.with(|mut store| store.get().dir(fd))
}

fn realize<U: Host>(store: &Store<U>, fd: &Resource<Descriptor>) -> Result<(), Failure> {
    store.with(|mut store| store.get().realize(fd))
}

/// Writes the trait's implementation: first what is only handed on, then our own.
macro_rules! implement {
    (
        hand_on { $( $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty; )* }
        own { $($own:tt)* }
    ) => {
        impl<U: Host> HostDescriptorWithStore<U> for HasFiles {
            $(
                async fn $name(
                    store: &Accessor<U, Self>,
                    fd: Resource<Descriptor>,
                    $($arg: $ty),*
                ) -> FilesystemResult<$ret> {
                    realize(store, &fd)?;
                    let inner = store.with_getter::<WasiFilesystem>(inner_files);
                    WasiFilesystem::$name(&inner, fd, $($arg),*).await
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
        fn read_via_stream(
            mut store: Access<'_, U, Self>,
            fd: Resource<Descriptor>,
            offset: u64,
        ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Written>)> {
            let inner = Access::<U, WasiFilesystem>::new(store.as_context_mut(), inner_files);
            WasiFilesystem::read_via_stream(inner, fd, offset)
        }

        fn read_directory(
            mut store: Access<'_, U, Self>,
            fd: Resource<Descriptor>,
        ) -> wasmtime::Result<(StreamReader<types::DirectoryEntry>, FutureReader<Written>)> {
            // Should it not open, the guest is told so when it reads.
            drop(store.get().realize(&fd));
            let inner = Access::<U, WasiFilesystem>::new(store.as_context_mut(), inner_files);
            WasiFilesystem::read_directory(inner, fd)
        }

        fn write_via_stream(
            store: Access<'_, U, Self>,
            fd: Resource<Descriptor>,
            data: StreamReader<u8>,
            offset: u64,
        ) -> wasmtime::Result<FutureReader<Written>> {
            write_stream(store, &fd, data, Some(offset))
        }

        fn append_via_stream(
            store: Access<'_, U, Self>,
            fd: Resource<Descriptor>,
            data: StreamReader<u8>,
        ) -> wasmtime::Result<FutureReader<Written>> {
            write_stream(store, &fd, data, None)
        }

        async fn is_same_object(
            store: &Accessor<U, Self>,
            a: Resource<Descriptor>,
            b: Resource<Descriptor>,
        ) -> wasmtime::Result<bool> {
            if realize(store, &a).is_err() || realize(store, &b).is_err() {
                return Ok(false);
            }
            let inner = store.with_getter::<WasiFilesystem>(inner_files);
            WasiFilesystem::is_same_object(&inner, a, b).await
        }

        async fn set_size(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            size: u64,
        ) -> FilesystemResult<()> {
            let file = store.with(|mut store| store.get().file(&fd))?;
            Ok(file.set_len(size).map_err(Failure::Io)?)
        }

        async fn sync(store: &Accessor<U, Self>, fd: Resource<Descriptor>) -> FilesystemResult<()> {
            let host = store.with(|mut store| store.get().host(&fd))?;
            Ok(flush(host, std::fs::File::sync_all).await?)
        }

        async fn sync_data(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
        ) -> FilesystemResult<()> {
            let host = store.with(|mut store| store.get().host(&fd))?;
            Ok(flush(host, std::fs::File::sync_data).await?)
        }

        async fn create_directory_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            path: String,
        ) -> FilesystemResult<()> {
            let (volume, dir) = dir(store, &fd)?;
            Ok(volume.create_dir(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }

        async fn link_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            flags: types::PathFlags,
            path: String,
            to: Resource<Descriptor>,
            to_path: String,
        ) -> FilesystemResult<()> {
            if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
                return Err(ErrorCode::Invalid.into());
            }
            let ((volume, from), (to_volume, to)) = (dir(store, &fd)?, dir(store, &to)?);
            let linked =
                volume.hard_link(&from, Path::new(&path), (&to_volume, &to), Path::new(&to_path));
            Ok(linked.map_err(Failure::Io)?)
        }

        async fn open_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            path_flags: types::PathFlags,
            path: String,
            open_flags: types::OpenFlags,
            flags: types::DescriptorFlags,
        ) -> FilesystemResult<Resource<Descriptor>> {
            let synchronous = types::DescriptorFlags::FILE_INTEGRITY_SYNC
                | types::DescriptorFlags::DATA_INTEGRITY_SYNC
                | types::DescriptorFlags::REQUESTED_WRITE_SYNC;
            if flags.intersects(synchronous) {
                return Err(ErrorCode::Unsupported.into());
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
            Ok(store.with(|mut store| store.get().open(&fd, Path::new(&path), how))?)
        }

        async fn remove_directory_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            path: String,
        ) -> FilesystemResult<()> {
            let (volume, dir) = dir(store, &fd)?;
            Ok(volume.remove_dir(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }

        async fn rename_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            path: String,
            to: Resource<Descriptor>,
            to_path: String,
        ) -> FilesystemResult<()> {
            let ((volume, from), (to_volume, to)) = (dir(store, &fd)?, dir(store, &to)?);
            let renamed =
                volume.rename(&from, Path::new(&path), (&to_volume, &to), Path::new(&to_path));
            Ok(renamed.map_err(Failure::Io)?)
        }

        async fn symlink_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            target: String,
            path: String,
        ) -> FilesystemResult<()> {
            let (volume, dir) = dir(store, &fd)?;
            let made = volume.symlink(Path::new(&target), &dir, Path::new(&path));
            Ok(made.map_err(Failure::Io)?)
        }

        async fn unlink_file_at(
            store: &Accessor<U, Self>,
            fd: Resource<Descriptor>,
            path: String,
        ) -> FilesystemResult<()> {
            let (volume, dir) = dir(store, &fd)?;
            Ok(volume.remove_file(&dir, Path::new(&path)).map_err(Failure::Io)?)
        }
    }
}

/// Writes what comes through `data` to the file, from `offset` on or at its end.
fn write_stream<U: Host>(
    mut store: Access<'_, U, HasFiles>,
    fd: &Resource<Descriptor>,
    mut data: StreamReader<u8>,
    offset: Option<u64>,
) -> wasmtime::Result<FutureReader<Written>> {
    let (told, outcome) = oneshot::channel();
    match store.get().file(fd) {
        Ok(file) => data.pipe(
            &mut store,
            FileConsumer {
                file,
                offset,
                told: Some(told),
            },
        )?,
        Err(Failure::Table(error)) => return Err(error.into()),
        Err(Failure::Io(error)) => {
            data.close(&mut store)?;
            // Nobody may be listening.
            drop(told.send(Err(code(error))));
        }
    }
    FutureReader::new(&mut store, outcome)
}

/// Writes a stream to a file.
struct FileConsumer {
    file: Arc<OpenFile>,
    /// `None` for the file's end.
    offset: Option<u64>,
    told: Option<oneshot::Sender<Written>>,
}

impl FileConsumer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
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

    fn tell(&mut self, outcome: Written) {
        if let Some(told) = self.told.take() {
            // Nobody may be listening.
            drop(told.send(outcome));
        }
    }
}

impl Drop for FileConsumer {
    fn drop(&mut self) {
        self.tell(Ok(()));
    }
}

impl<D> StreamConsumer<D> for FileConsumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        Poll::Ready(Ok(match self.write(source.remaining()) {
            Ok(written) => {
                source.mark_read(written);
                StreamResult::Completed
            }
            Err(error) => {
                self.tell(Err(code(error)));
                StreamResult::Dropped
            }
        }))
    }
}
