//! Looking into a bundle before it is run: what it is, what it needs, and whether it could ever run.
//!
//! Everything that is wrong with a bundle is said here, in words for the person who built it.

mod imports;
mod scan;

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use imports::MissingImport;

/// What is in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleInfo {
    /// What kind of program it is.
    pub kind: BundleKind,
    /// The system interface that it is built for.
    pub wasi: Option<WasiVersion>,
    /// Everything that it imports, as `module.name` or as a component interface.
    pub imports: Vec<String>,
    /// Imports that nobody provides; a bundle with any of them cannot run.
    pub missing: Vec<MissingImport>,
    /// What it exports: functions of a module, interfaces of a component.
    pub exports: Vec<String>,
    /// What its memories take at the start, in bytes.
    pub minimum_memory_bytes: u64,
    /// What its memories can take at the most, in bytes, if every one of them says so.
    pub maximum_memory_bytes: Option<u64>,
}

/// Kinds of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BundleKind {
    /// A core module: WASI 0.1, or no system interface at all.
    Module,
    /// A core module that starts threads (wasi-threads).
    ThreadedModule,
    /// A component: WASI 0.2 or 0.3.
    Component,
    /// A component that is told of events: it exports `nesos:guest/executor-events`.
    Executor,
    /// A component that answers HTTP requests: it exports `wasi:http/incoming-handler`, and is no command
    /// as well.
    Service,
}

/// Versions of the system interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WasiVersion {
    /// `wasi_snapshot_preview1`.
    V0_1,
    /// `wasi:cli@0.2`.
    V0_2,
    /// `wasi:cli@0.3`.
    V0_3,
}

impl fmt::Display for WasiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V0_1 => "WASI 0.1",
            Self::V0_2 => "WASI 0.2",
            Self::V0_3 => "WASI 0.3",
        })
    }
}

/// A bundle can never run.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// There is nothing but zeros in it.
    #[error(
        "not a WebAssembly file: it holds {0} zero bytes and nothing else; was it fully written or downloaded?"
    )]
    Zeros(usize),
    /// It is something else.
    #[error("not a WebAssembly file: it begins with {0}, and not with \\0asm")]
    NotWasm(String),
    /// It ends too early.
    #[error("the WebAssembly file is truncated: it ends at byte {0} in the middle of something")]
    Truncated(u64),
    /// It breaks the rules of WebAssembly, or uses a proposal that is not enabled.
    #[error("not valid WebAssembly: {message} (at offset {offset:#x})")]
    Invalid {
        /// Which rule.
        message: String,
        /// Where in the file.
        offset: u64,
    },
    /// It is valid, but compiling it would take more than is reasonable.
    #[error("too costly to compile: {0}")]
    TooCostly(String),
    /// It is valid, but no sandbox has that much room, whatever its task has accepted.
    #[error("too large for a sandbox: {0}")]
    TooLarge(String),
    /// It is a component, but no command.
    #[error("a component whose world is not hosted here: {0}")]
    UnknownWorld(String),
    /// It is a module, but no command.
    #[error("not a command: {0}")]
    NotCommand(String),
    /// It imports what nobody provides.
    #[error("{}", imports::sentence(.0))]
    MissingImports(Vec<MissingImport>),
}

impl BundleInfo {
    /// Refuses a bundle that imports what nobody provides.
    pub fn check_imports(&self) -> Result<(), InspectError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(InspectError::MissingImports(self.missing.clone()))
    }
}

/// Looks into the bundle in a file. Missing imports are listed, not refused: see
/// [`BundleInfo::check_imports`].
pub fn inspect(wasm: &Path) -> Result<BundleInfo, InspectError> {
    inspect_bytes(&read(wasm)?)
}

/// The bytes of a bundle.
pub(crate) fn read(wasm: &Path) -> Result<Vec<u8>, InspectError> {
    std::fs::read(wasm).map_err(|source| InspectError::Read {
        path: wasm.to_owned(),
        source,
    })
}

/// Looks into a bundle that has been read already; as [`inspect`].
pub fn inspect_bytes(bytes: &[u8]) -> Result<BundleInfo, InspectError> {
    check_magic(bytes)?;
    let found = scan::scan(bytes)?;
    found.into_info()
}

/// As [`inspect_bytes`], for bundles that need not be a command.
pub fn survey_bytes(bytes: &[u8]) -> Result<BundleInfo, InspectError> {
    check_magic(bytes)?;
    Ok(scan::scan(bytes)?.into_survey())
}

/// What a component says of itself, whatever its world.
pub(crate) struct Interface {
    pub(crate) is_component: bool,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Validates a bundle within the caps of [`inspect`] and says what it imports and exports. Unlike there
/// it need not be a command.
pub(crate) fn interface(bytes: &[u8]) -> Result<Interface, InspectError> {
    check_magic(bytes)?;
    Ok(scan::scan(bytes)?.into_interface())
}

fn check_magic(bytes: &[u8]) -> Result<(), InspectError> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.is_empty() {
        return Err(InspectError::Empty);
    }
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(InspectError::Zeros(bytes.len()));
    }
    let beginning = &bytes[..bytes.len().min(8)];
    Err(InspectError::NotWasm(format!(
        "\"{}\"",
        beginning.escape_ascii()
    )))
}

#[cfg(test)]
mod tests;
