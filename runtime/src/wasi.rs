//! What a guest reaches of the world outside: files, standard streams, time and randomness.
//!
//! Core modules get WASI 0.1 ([`p1`]), components WASI 0.2 and 0.3 ([`component`]). All see the same things: one writable
//! root under a quota, persistent volumes, mounts, three streams. No network. Nothing outside this module names
//! a WASI crate.

pub(crate) mod clock;
pub(crate) mod component;
pub(crate) mod file;
pub(crate) mod p1;
pub(crate) mod pipe;
pub(crate) mod quota;
pub(crate) mod retained;
pub(crate) mod shared;
pub(crate) mod stdio;
pub(crate) mod volume;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nesos_types::cell::SandboxVolume;
use nesos_types::task::Mount;

use crate::determinism::Determinism;

use self::shared::SharedQuotas;
use self::volume::Volume;

pub use pipe::{PipeReader, PipeWriter};
pub use quota::DiskQuota;
pub use retained::RetainedOutput;
pub use stdio::{Stdin, Stdout};

/// Bytes of disk for each file that a sandbox may have where its task does not say how many, as file
/// systems reckon their inodes.
const DISK_BYTES_PER_FILE: u64 = 4096;

/// Files that any sandbox may have, however small its disk.
const LEAST_MAX_FILES: u64 = 256;

/// What a sandbox is given of the world.
#[derive(Debug)]
pub(crate) struct WasiSpec {
    /// Arguments; the first is the program's name.
    pub(crate) args: Vec<String>,
    /// Environment variables.
    pub(crate) env: Vec<(String, String)>,
    /// The host directory that is the guest's "/"; made when the guest first needs it, with `tmp` in it.
    pub(crate) root: PathBuf,
    /// Directories of the host beside it, not under the disk quota.
    pub(crate) mounts: Vec<Mount>,
    /// Persistent volumes beside it, each under a quota of its own.
    pub(crate) volumes: Vec<SandboxVolume>,
    /// The quotas of the process' volumes.
    pub(crate) quotas: Arc<SharedQuotas>,
    /// Where stdin comes from.
    pub(crate) stdin: Stdin,
    /// Where stdout goes.
    pub(crate) stdout: Stdout,
    /// Where stderr goes.
    pub(crate) stderr: Stdout,
    /// Bytes that may lie under the root.
    pub(crate) disk_bytes: u64,
    /// Files, directories and links that may be under the root.
    pub(crate) max_files: u64,
    /// Descriptors or resources that the guest may have open, the standard streams included.
    pub(crate) max_descriptors: usize,
    /// Reproducible time and randomness, instead of the host's.
    pub(crate) determinism: Option<Determinism>,
}

impl WasiSpec {
    /// The trees beside the root, each with the guest's path to it, opened.
    fn trees(&mut self) -> Result<Vec<(String, Volume)>, WasiError> {
        let mounts = std::mem::take(&mut self.mounts).into_iter();
        let mounts = mounts.map(|mount| {
            let tree = Volume::mount(mount.host.into(), mount.read_only);
            (mount.guest, tree)
        });
        let mut trees: Vec<_> = mounts.collect();
        for volume in std::mem::take(&mut self.volumes) {
            let quota = self.quotas.of(&volume);
            let quota = quota.map_err(|source| WasiError::mount(&volume.guest, source))?;
            let tree = Volume::kept(volume.host, quota, volume.read_only);
            trees.push((volume.guest, tree));
        }
        for (guest, tree) in &trees {
            tree.dir()
                .map_err(|source| WasiError::mount(guest, source))?;
        }
        Ok(trees)
    }
}

/// How many files, directories and links may lie under so many bytes where nobody says.
pub(crate) fn default_max_files(disk_bytes: u64) -> u64 {
    (disk_bytes / DISK_BYTES_PER_FILE).max(LEAST_MAX_FILES)
}

/// Why a guest's surroundings could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WasiError {
    /// A directory that the task mounts is not there or not a directory.
    #[error("the directory mounted at {guest} cannot be opened")]
    Mount {
        guest: String,
        #[source]
        source: io::Error,
    },
    /// There are more mounts than descriptors.
    #[error("more directories are mounted than the sandbox may have descriptors")]
    TooManyMounts,
    /// Arguments and environment do not fit into a guest's memory.
    #[error("the arguments or the environment exceed 4 GiB")]
    TooLong,
}

impl WasiError {
    fn mount(guest: &str, source: io::Error) -> Self {
        Self::Mount {
            guest: guest.to_owned(),
            source,
        }
    }
}

/// The guest called `exit` with this code. Found in the error that ends a call into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exit with code {0}")]
pub(crate) struct Exit(pub(crate) i32);

/// The code of the exit that `error` stands for, if the guest exited.
pub(crate) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    if let Some(Exit(code)) = error.downcast_ref() {
        return Some(*code);
    }
    let exit = error.downcast_ref::<wasmtime_wasi::I32Exit>()?;
    Some(exit.0)
}
