//! `wasi_snapshot_preview1` in a wasmtime linker: one line per function.

use wasi_common::snapshots::preview_1::wasi_snapshot_preview1 as abi;
use wasmtime::{AsContextMut, Caller, Extern, Linker};
use wiggle::GuestMemory;

use super::{Ctx, Exit};

/// The module that the functions are imported from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// The caller's memory beside its [`Ctx`]. An exported memory, shared or not, named `memory`.
macro_rules! with_memory {
    ($caller:ident, $get:ident, |$memory:ident, $ctx:ident| $call:expr) => {
        match $caller.get_export("memory") {
            Some(Extern::Memory(exported)) => {
                let (bytes, data) = exported.data_and_store_mut($caller.as_context_mut());
                let ($memory, $ctx) = (&mut GuestMemory::Unshared(bytes), $get(data));
                $call
            }
            Some(Extern::SharedMemory(exported)) => {
                let $ctx = $get($caller.data_mut());
                let $memory = &mut GuestMemory::Shared(exported.data());
                $call
            }
            _ => wiggle::anyhow::bail!("the module does not export its memory as `memory`"),
        }
    };
}

macro_rules! functions {
    ($( $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?; )*) => {
        /// The functions' names.
        pub(crate) const FUNCTIONS: &[&str] = &[$(stringify!($name)),*];

        /// Adds WASI 0.1 to `linker` for stores whose data holds a [`Ctx`].
        ///
        /// Threads of one guest have a store each and clones of one [`Ctx`].
        pub(crate) fn add_to_linker<T: Send + 'static>(
            linker: &mut Linker<T>,
            get: fn(&mut T) -> &mut Ctx,
        ) -> wasmtime::Result<()> {
            $(
                linker.func_wrap_async(
                    MODULE,
                    stringify!($name),
                    move |mut caller: Caller<'_, T>, ($($arg,)*): ($($ty,)*)| {
                        Box::new(async move {
                            let done: wiggle::anyhow::Result<_> = async {
                                with_memory!(caller, get, |memory, ctx| {
                                    abi::$name(ctx, memory, $($arg),*).await
                                })
                            }
                            .await;
                            functions!(@ret done $(-> $ret)?)
                        })
                    },
                )?;
            )*
            Ok(())
        }
    };
    (@ret $done:ident -> $ret:ty) => {
        $done.map_err(trap)
    };
    // `proc_exit` never returns in peace, and `wiggle` gives it no result to say so.
    (@ret $done:ident) => {
        $done.map(|_: ()| ()).map_err(trap)
    };
}

/// An exit stays recognisable as one; everything else is a trap.
fn trap(error: wiggle::anyhow::Error) -> wasmtime::Error {
    match error.downcast::<Exit>() {
        Ok(exit) => wasmtime::Error::new(exit),
        Err(error) => wasmtime::Error::from_anyhow(error),
    }
}

functions! {
    args_get(argv: i32, buffer: i32) -> i32;
    args_sizes_get(count: i32, size: i32) -> i32;
    environ_get(environ: i32, buffer: i32) -> i32;
    environ_sizes_get(count: i32, size: i32) -> i32;
    clock_res_get(id: i32, resolution: i32) -> i32;
    clock_time_get(id: i32, precision: i64, time: i32) -> i32;
    fd_advise(fd: i32, offset: i64, len: i64, advice: i32) -> i32;
    fd_allocate(fd: i32, offset: i64, len: i64) -> i32;
    fd_close(fd: i32) -> i32;
    fd_datasync(fd: i32) -> i32;
    fd_fdstat_get(fd: i32, stat: i32) -> i32;
    fd_fdstat_set_flags(fd: i32, flags: i32) -> i32;
    fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64) -> i32;
    fd_filestat_get(fd: i32, stat: i32) -> i32;
    fd_filestat_set_size(fd: i32, size: i64) -> i32;
    fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, flags: i32) -> i32;
    fd_pread(fd: i32, iovs: i32, iovs_len: i32, offset: i64, read: i32) -> i32;
    fd_prestat_get(fd: i32, stat: i32) -> i32;
    fd_prestat_dir_name(fd: i32, path: i32, len: i32) -> i32;
    fd_pwrite(fd: i32, iovs: i32, iovs_len: i32, offset: i64, written: i32) -> i32;
    fd_read(fd: i32, iovs: i32, iovs_len: i32, read: i32) -> i32;
    fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, used: i32) -> i32;
    fd_renumber(fd: i32, to: i32) -> i32;
    fd_seek(fd: i32, offset: i64, whence: i32, position: i32) -> i32;
    fd_sync(fd: i32) -> i32;
    fd_tell(fd: i32, position: i32) -> i32;
    fd_write(fd: i32, iovs: i32, iovs_len: i32, written: i32) -> i32;
    path_create_directory(fd: i32, path: i32, len: i32) -> i32;
    path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, stat: i32) -> i32;
    path_filestat_set_times(
        fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, fst_flags: i32
    ) -> i32;
    path_link(
        fd: i32, flags: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32
    ) -> i32;
    path_open(
        fd: i32, lookup: i32, path: i32, len: i32, oflags: i32, base: i64, inheriting: i64,
        flags: i32, opened: i32
    ) -> i32;
    path_readlink(fd: i32, path: i32, len: i32, buffer: i32, buffer_len: i32, used: i32) -> i32;
    path_remove_directory(fd: i32, path: i32, len: i32) -> i32;
    path_rename(fd: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32) -> i32;
    path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32) -> i32;
    path_unlink_file(fd: i32, path: i32, len: i32) -> i32;
    poll_oneoff(subscriptions: i32, events: i32, count: i32, happened: i32) -> i32;
    proc_exit(status: i32);
    proc_raise(signal: i32) -> i32;
    sched_yield() -> i32;
    random_get(buffer: i32, len: i32) -> i32;
    sock_accept(fd: i32, flags: i32, opened: i32) -> i32;
    sock_recv(fd: i32, iovs: i32, iovs_len: i32, flags: i32, read: i32, out_flags: i32) -> i32;
    sock_send(fd: i32, iovs: i32, iovs_len: i32, flags: i32, sent: i32) -> i32;
    sock_shutdown(fd: i32, how: i32) -> i32;
}
