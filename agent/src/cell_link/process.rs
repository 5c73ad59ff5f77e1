//! A cell's process: started so that it outlives the agent, waited for so that it leaves no zombie,
//! and ended if it must be, even when an earlier agent process was its parent.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nesos_agent_core::CellId;
use nesos_types::role::Role;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::CellLinkConfig;
use crate::cell::READY;

/// How much of a dead cell's log is shown, in characters.
const SHOWN_LOG_CHARS: usize = 500;

/// A cell could not be started.
#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error("cannot open the cell's log {path:?}")]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot run {executable:?}")]
    Spawn {
        executable: PathBuf,
        source: io::Error,
    },
    #[error("the cell did not come up: {0}")]
    NotReady(String),
    #[error("the cell did not come up in time")]
    TooSlow,
}

/// A cell that is a child of this process.
#[derive(Debug)]
pub(super) struct CellProcess {
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl CellProcess {
    /// Starts a cell and waits until it can be connected to.
    pub(super) async fn start(
        config: &CellLinkConfig,
        cell: CellId,
        role: &Role,
    ) -> Result<Self, StartError> {
        let log = config.log(cell);
        let mut child = command(config, cell, role, open_log(&log)?)
            .spawn()
            .map_err(|source| StartError::Spawn {
                executable: config.executable.clone(),
                source,
            })?;
        let pid = child.id().unwrap_or_default();
        let answer = timeout(config.patience, first_line(&mut child)).await;
        let mut process = Self { child, pid, log };
        let error = match answer {
            Ok(line) if line == READY => return Ok(process),
            Ok(line) if line.is_empty() => StartError::NotReady(process.ended().await),
            Ok(line) => StartError::NotReady(line),
            Err(_) => StartError::TooSlow,
        };
        process.end().await;
        remove_files(&config.socket(cell), &config.log(cell));
        Err(error)
    }

    /// The process' id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process' end; says how it was. May be called again, and again.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        let status = status.as_ref().map(ExitStatus::to_string);
        let status = status.unwrap_or_else(|error| format!("its end was not seen: {error}"));
        match last_words(&self.log) {
            Some(words) => format!("{status}; its log says: {words}"),
            None => status,
        }
    }

    /// Kills the process, if it lives, and waits for its end.
    pub(super) async fn end(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(pid = self.pid, %error, "cannot end a cell's process");
        }
    }
}

fn open_log(path: &Path) -> Result<std::fs::File, StartError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let error = |source| StartError::Log {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        // The directory is the agent's own: whoever can reach a socket in it can end its cell.
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::set_permissions(directory, private))
            .map_err(error)?;
    }
    std::fs::File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(error)
}

fn command(config: &CellLinkConfig, cell: CellId, role: &Role, log: std::fs::File) -> Command {
    let mut command = Command::new(&config.executable);
    command
        .arg("cell")
        .arg("--socket")
        .arg(config.socket(cell))
        .args(["--role", role.as_str()])
        .args([
            "--orphan-grace-ms",
            &config.orphan_grace.as_millis().to_string(),
        ])
        .args([
            "--idle-grace-ms",
            &config.idle_grace.as_millis().to_string(),
        ]);
    if let Some(threads) = config.guest_threads {
        command.args(["--guest-threads", &threads.to_string()]);
    }
    if let Some(sandboxes) = config.max_sandboxes {
        command.args(["--max-sandboxes", &sandboxes.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(false);
    command
}

/// What the process says first; empty if it says nothing.
async fn first_line(child: &mut Child) -> String {
    let Some(stdout) = child.stdout.take() else {
        return String::new();
    };
    let mut line = String::new();
    // A pipe that breaks says as little as one that is closed.
    let _ = BufReader::new(stdout).read_line(&mut line).await;
    line.trim().to_owned()
}

/// What a log says last that explains an end: a panic, or its last line.
fn last_words(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let panic = lines.iter().rposition(|line| line.contains("panicked at"));
    let words = match panic {
        // Where it was, and what it says, on two lines.
        Some(at) => lines[at..]
            .iter()
            .take(2)
            .copied()
            .collect::<Vec<_>>()
            .join(" "),
        None => (*lines.last()?).to_owned(),
    };
    Some(words.chars().take(SHOWN_LOG_CHARS).collect())
}

/// Removes what a cell has left behind.
pub(super) fn remove_files(socket: &Path, log: &Path) {
    for path in [socket, log] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(?path, %error, "cannot remove what a cell has left behind");
            }
            _ => {}
        }
    }
}

/// Ends a cell that an earlier agent process started, and removes what it leaves behind.
pub(super) fn discard_stranger(pid: Option<u32>, socket: &Path, log: &Path) {
    if let Some(pid) = pid {
        match end_stranger(pid, socket) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                tracing::warn!(pid, %error, "cannot end a cell's process");
            }
            _ => {}
        }
    }
    remove_files(socket, log);
}

/// Kills the process, if it is the cell of this socket and not another that got its id.
fn end_stranger(pid: u32, socket: &Path) -> rustix::io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    // Opened before the process is looked at: what it refers to cannot change any more.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    if is_cell(pid, socket) {
        pidfd_send_signal(process, Signal::KILL)?;
    }
    Ok(())
}

/// Whether the process was started as the cell of this socket.
fn is_cell(pid: Pid, socket: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"--socket")
        && arguments.next() == Some(socket.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(log: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), log).expect("written");
        last_words(file.path())
    }

    #[test]
    fn a_panic_explains_more_than_what_follows_it() {
        let log = "begun\nthread 'main' panicked at cell.rs:7:\nno room\nstack backtrace:\n 0: x\n";
        let expected = "thread 'main' panicked at cell.rs:7: no room";
        assert_eq!(words(log).as_deref(), Some(expected));
        assert_eq!(words("begun\nover\n\n").as_deref(), Some("over"));
        assert_eq!(words(""), None);
    }

    #[test]
    fn a_process_is_the_cell_of_its_own_socket_only() {
        let this = rustix::process::getpid();
        assert!(!is_cell(this, Path::new("/nowhere/cell-1.sock")));
    }
}
