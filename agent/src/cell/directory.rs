//! A sandbox' directory on the host: the guest's root and its kept output.

use std::io;
use std::path::{Path, PathBuf};

use nesos_runtime::{RetainedOutput, Stdout};
use nesos_types::cell::SandboxLaunch;
use thiserror::Error;

/// How much output of a task is kept where the task does not say, for stdout and stderr each.
const DEFAULT_OUTPUT_BYTES: u64 = 1 << 20;

/// A sandbox' directory could not be made.
#[derive(Debug, Error)]
#[error("cannot make {path:?} for the sandbox: {source}")]
pub(super) struct DirectoryError {
    path: PathBuf,
    source: io::Error,
}

/// The guest's writable root, which the runtime makes when the guest first needs it.
pub(super) fn root(directory: &Path) -> PathBuf {
    directory.join("root")
}

/// Makes the directory.
pub(super) fn make(launch: &SandboxLaunch) -> Result<(), DirectoryError> {
    std::fs::create_dir_all(&launch.directory).map_err(|source| DirectoryError {
        path: launch.directory.clone(),
        source,
    })
}

/// Where kept output goes: stdout, then stderr.
pub(super) fn retained_output(launch: &SandboxLaunch) -> (Stdout, Stdout) {
    let limit = launch.task.limits.output_bytes;
    let limit = limit.unwrap_or(DEFAULT_OUTPUT_BYTES);
    let keep = |name| {
        let path = launch.directory.join(name);
        Stdout::Retained(RetainedOutput::create(&path, limit))
    };
    (keep("stdout"), keep("stderr"))
}
