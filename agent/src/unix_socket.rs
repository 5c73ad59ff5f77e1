//! Unix sockets at paths of any length.
//!
//! The kernel takes 107 bytes of path. A longer path is opened by its directory, through
//! `/proc/self/fd`, so that a deep state directory is no reason for an agent not to start.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// What `sockaddr_un` has room for, less the terminating zero.
const MAX_PATH_BYTES: usize = 107;

/// A socket could not be opened.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// The path's last component alone is too long for a socket.
    #[error("{0:?} is too long a name for a socket; use a shorter one")]
    NameTooLong(PathBuf),
    /// Another process already listens.
    #[error("another process already listens on {0:?}")]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot {action} {path:?}")]
    System {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl SocketError {
    fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System {
            action,
            path,
            source,
        }
    }
}

/// Listens on a socket that only the owner of this process may open. The directory is made if it is
/// missing; a socket on which nobody listens any more is removed.
///
/// # Errors
/// If somebody listens there already, or the system refuses.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    make_directory(path)?;
    remove_stale(path)?;
    let short = ShortPath::of(path)?;
    let listener =
        UnixListener::bind(&short.path).map_err(SocketError::system("listen on", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(SocketError::system("protect", path))?;
    Ok(listener)
}

/// Connects to a socket.
///
/// # Errors
/// If nobody listens there, or the system refuses.
pub(crate) async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let short = ShortPath::of(path)?;
    UnixStream::connect(&short.path)
        .await
        .map_err(SocketError::system("connect to", path))
}

fn make_directory(socket: &Path) -> Result<(), SocketError> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(directory) = socket.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(SocketError::system("make the directory", directory))
}

/// Removes a socket that its process has left behind, and never one that is in use.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let short = ShortPath::of(path)?;
    match std::os::unix::net::UnixStream::connect(&short.path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(SocketError::system("remove the stale", path))
        }
        Err(_) => Ok(()),
    }
}

/// A path that fits, valid as long as the directory is held open.
struct ShortPath {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl ShortPath {
    fn of(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().as_bytes().len() <= MAX_PATH_BYTES {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let too_long = || SocketError::NameTooLong(path.to_owned());
        let (directory, name) = path.parent().zip(path.file_name()).ok_or_else(too_long)?;
        let directory = rustix::fs::open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| SocketError::system("open the directory", directory)(errno.into()))?;
        let short = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(name);
        if short.as_os_str().as_bytes().len() > MAX_PATH_BYTES {
            return Err(too_long());
        }
        Ok(Self {
            path: short,
            _directory: Some(directory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deep_socket_is_private_and_reachable() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("d".repeat(120)).join("cell.sock");
        let listener = listen(&path).expect("listens");
        let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("has a parent")), 0o700);
        let (client, server) = tokio::join!(connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cell.sock");
        drop(listen(&path).expect("listens"));
        let _live = listen(&path).expect("replaces what nobody listens on");
        assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
    }

    #[tokio::test]
    async fn too_long_a_name_is_a_clear_error() {
        let path = Path::new("/tmp").join("n".repeat(200));
        assert!(matches!(
            connect(&path).await,
            Err(SocketError::NameTooLong(_))
        ));
    }
}
