//! The file to run: looked into before anything is started, so that what could never run is said at
//! once and by name.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use nesos_bundle::reference::Reference;
use nesos_runtime::{BundleInfo, BundleKind, InspectError, inspect_bytes};
use nesos_sdk::digest_of;
use nesos_types::bundle::{Digest, Repository};
use nesos_types::resources::format_bytes;

use crate::failure::{Failure, status};

/// A bundle that is to run.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) digest: Digest,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// A file of this host.
    File { path: PathBuf, bytes: Bytes },
    /// It lies in a registry already, where it was examined when it came.
    Stored { repository: Repository },
}

/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

/// Why a service does not run without more.
pub(crate) const SERVICE: &str = "it is a service: say on which port it listens, with --port";
/// Why an executor does not run by itself.
pub(crate) const EXECUTOR: &str =
    "it is an executor: it waits for tasks, and a framework has it run them";

/// The most that a bundle may be: a master takes no more either.
const MAX_BYTES: u64 = 1 << 30;

impl Bundle {
    /// Reads a file and sees that it is WebAssembly at all.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let bytes = read(path)?;
        if !bytes.starts_with(MAGIC) {
            inspect_bytes(&bytes).map_err(|error| refused(path, &error))?;
        }
        Ok(Self {
            digest: digest_of(&bytes),
            content: Content::File {
                path: path.to_owned(),
                bytes,
            },
        })
    }

    /// What a reference named when it was asked.
    pub(crate) fn stored(reference: &Reference, digest: Digest) -> Self {
        let repository = reference.repository();
        Self {
            digest,
            content: Content::Stored { repository },
        }
    }

    /// Where it lies, if it need not be brought.
    pub(crate) fn repository(&self) -> Option<Repository> {
        match &self.content {
            Content::File { .. } => None,
            Content::Stored { repository } => Some(repository.clone()),
        }
    }

    /// What has to be brought to the master; nothing of what lies in a registry.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        match &self.content {
            Content::File { bytes, .. } => Some(bytes.clone()),
            Content::Stored { .. } => None,
        }
    }

    /// Looks whether it could ever run within this much memory. Takes a while for a large program,
    /// and so goes on beside everything else; what could not run cannot do so in the meantime either.
    pub(super) async fn inspect(self, mem_bytes: u64, serves: bool) -> Result<(), Failure> {
        let Content::File { path, bytes } = self.content else {
            return Ok(());
        };
        let inspected = tokio::task::spawn_blocking(move || {
            let info = inspect_bytes(&bytes).map_err(|error| refused(&path, &error))?;
            info.check_imports()
                .map_err(|error| refused(&path, &error))?;
            match info.kind {
                BundleKind::Service if !serves => return Err(cannot_run(&path, SERVICE)),
                BundleKind::Executor => return Err(cannot_run(&path, EXECUTOR)),
                _ => {}
            }
            check_memory(&path, &info, mem_bytes)
        });
        inspected
            .await
            .unwrap_or_else(|error| Err(Failure::new("cannot look into the file", error)))
    }

    /// The program's name, as it is told to the guest.
    pub(crate) fn program(&self) -> String {
        let name = match &self.content {
            Content::File { path, .. } => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
            Content::Stored { repository } => repository.name.rsplit('/').next().map(str::to_owned),
        };
        name.unwrap_or_default()
    }
}

/// Reads a file that may be a bundle.
pub(crate) fn read(path: &Path) -> Result<Bytes, Failure> {
    check_file(path)?;
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    Ok(bytes.into())
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

pub(crate) fn refused(path: &Path, error: &InspectError) -> Failure {
    cannot_run(path, &error.to_string())
}

fn cannot_run(path: &Path, why: &str) -> Failure {
    Failure::said(format!("cannot run {}: {why}", path.display())).with_status(status::CANNOT_RUN)
}
