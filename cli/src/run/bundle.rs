//! The file to run: looked into before anything is started, so that what could never run is said at
//! once and by name.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use nesos_runtime::{BundleInfo, BundleKind, InspectError, inspect_bytes};
use nesos_sdk::digest_of;
use nesos_types::bundle::Digest;
use nesos_types::resources::format_bytes;

use crate::failure::{Failure, status};

/// A bundle that is to run.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

/// The most that a bundle may be: a master takes no more either.
const MAX_BYTES: u64 = 1 << 30;

impl Bundle {
    /// Reads a file and sees that it is WebAssembly at all.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        check_file(path)?;
        let bytes = Bytes::from(std::fs::read(path).map_err(|error| unreadable(path, &error))?);
        if !bytes.starts_with(MAGIC) {
            inspect_bytes(&bytes).map_err(|error| refused(path, &error))?;
        }
        Ok(Self {
            path: path.to_owned(),
            digest: digest_of(&bytes),
            bytes,
        })
    }

    /// Looks whether it could ever run within this much memory. Takes a while for a large program,
    /// and so goes on beside everything else; what could not run cannot do so in the meantime either.
    pub(super) async fn inspect(self, mem_bytes: u64, serves: bool) -> Result<(), Failure> {
        let inspected = tokio::task::spawn_blocking(move || {
            let info = inspect_bytes(&self.bytes).map_err(|error| refused(&self.path, &error))?;
            info.check_imports()
                .map_err(|error| refused(&self.path, &error))?;
            if info.kind == BundleKind::Service && !serves {
                let why = "it is a service: say on which port it listens, with --port";
                return Err(cannot_run(&self.path, why));
            }
            check_memory(&self.path, &info, mem_bytes)
        });
        inspected
            .await
            .unwrap_or_else(|error| Err(Failure::new("cannot look into the file", error)))
    }

    /// The program's name, as it is told to the guest.
    pub(crate) fn program(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

fn check_file(path: &Path) -> Result<(), Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(cannot_run(path, "it is a directory"));
    }
    if metadata.len() > MAX_BYTES {
        let size = format_bytes(metadata.len());
        let why = format!(
            "it is {size} large; the most is {}",
            format_bytes(MAX_BYTES)
        );
        return Err(cannot_run(path, &why));
    }
    Ok(())
}

fn check_memory(path: &Path, info: &BundleInfo, mem_bytes: u64) -> Result<(), Failure> {
    if info.minimum_memory_bytes <= mem_bytes {
        return Ok(());
    }
    let why = format!(
        "it starts with {} of memory, more than the {} of --mem; give it more with --mem",
        format_bytes(info.minimum_memory_bytes),
        format_bytes(mem_bytes)
    );
    Err(cannot_run(path, &why))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = cannot_run(path, &error.to_string());
    match error.kind() {
        std::io::ErrorKind::NotFound => failure.with_status(status::NOT_FOUND),
        _ => failure,
    }
}

fn refused(path: &Path, error: &InspectError) -> Failure {
    cannot_run(path, &error.to_string())
}

fn cannot_run(path: &Path, why: &str) -> Failure {
    Failure::said(format!("cannot run {}: {why}", path.display())).with_status(status::CANNOT_RUN)
}
