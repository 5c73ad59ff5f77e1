//! A sandbox' directory on the host: the guest's root and its kept output.
//!
//! Nothing of it is made here: the runtime makes what a guest uses when it uses it, and many use
//! nothing.

use std::path::{Path, PathBuf};

use nesos_runtime::{RetainedOutput, Stdout};
use nesos_types::cell::SandboxLaunch;

/// How much output of a task is kept where the task does not say, for stdout and stderr each.
const DEFAULT_OUTPUT_BYTES: u64 = 1 << 20;

/// The guest's writable root.
pub(super) fn root(directory: &Path) -> PathBuf {
    directory.join("root")
}

/// Where kept output goes: stdout, then stderr.
pub(super) fn kept_output(launch: &SandboxLaunch) -> (RetainedOutput, RetainedOutput) {
    let limit = launch.task.limits.output_bytes;
    let limit = limit.unwrap_or(DEFAULT_OUTPUT_BYTES);
    let keep = |name| RetainedOutput::create(&launch.directory.join(name), limit);
    (keep("stdout"), keep("stderr"))
}

/// The output of a guest that nobody is attached to.
pub(super) fn retained_output(launch: &SandboxLaunch) -> (Stdout, Stdout) {
    let (stdout, stderr) = kept_output(launch);
    (Stdout::Retained(stdout), Stdout::Retained(stderr))
}
