//! Failures of the host's file system as WASI 0.1 error numbers.
//!
//! `wasi-common` has a table of its own, but traps the guest on whatever is not in it. A guest must not die
//! of a read-only file system.

use std::io;

use rustix::io::Errno as Host;
use wasi_common::Error;
use wasi_common::snapshots::preview_1::error::Errno;

/// The error number of `error`; `EIO` if there is none that fits.
pub(super) fn errno(error: io::Error) -> Error {
    let missing = match error.raw_os_error().map(Host::from_raw_os_error) {
        Some(Host::ROFS) => Errno::Rofs,
        Some(Host::XDEV) => Errno::Xdev,
        Some(Host::TXTBSY) => Errno::Txtbsy,
        Some(Host::NXIO) => Errno::Nxio,
        Some(Host::NODEV) => Errno::Nodev,
        Some(_) => return known(error),
        None => match error.kind() {
            io::ErrorKind::NotFound => Errno::Noent,
            io::ErrorKind::PermissionDenied => Errno::Perm,
            io::ErrorKind::AlreadyExists => Errno::Exist,
            io::ErrorKind::InvalidInput => Errno::Inval,
            _ => Errno::Io,
        },
    };
    missing.into()
}

fn known(error: io::Error) -> Error {
    let error = Error::from(error);
    if error.downcast_ref().is_some() {
        error
    } else {
        Errno::Io.into()
    }
}
