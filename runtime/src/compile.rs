//! Compiling a bundle ahead of time, from file to file.
//!
//! Run this in a short-lived process with limits on CPU time and address space: the caps in
//! [`inspect`](crate::inspect) turn away what is plainly hostile, not everything that is slow.

mod waits;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nesos_types::limits::Metering;
use thiserror::Error;

use crate::engine::{EngineError, Flavour, unpooled};
use crate::inspect::{BundleInfo, BundleKind, InspectError, inspect_bytes, read};

/// What compiling has brought.
#[derive(Clone, Debug)]
pub struct CompiledInfo {
    /// What the bundle is.
    pub bundle: BundleInfo,
    /// The size of the compiled image, in bytes.
    pub image_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// A bundle could not be compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The bundle can never run.
    #[error(transparent)]
    Bundle(#[from] InspectError),
    /// The compiler could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The module passed validation and still could not be compiled.
    #[error("cannot compile the module")]
    Compiler(#[source] wasmtime::Error),
    /// A module that starts threads uses something that its waits cannot be bounded with.
    #[error("cannot make the waits of a threaded module interruptible")]
    Rewrite(#[source] wasmparser::BinaryReaderError),
    /// The compiled image could not be written.
    #[error("cannot write the compiled image {}", .path.display())]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

/// Compiles the bundle in the file `wasm` for tasks metered so, and renames the image to `out` when it
/// is complete. Uses as many CPUs as the process may.
pub fn compile(wasm: &Path, metering: Metering, out: &Path) -> Result<CompiledInfo, CompileError> {
    let began = std::time::Instant::now();
    let bytes = read(wasm)?;
    let bundle = inspect_bytes(&bytes)?;
    bundle.check_imports()?;
    let image = compile_bytes(&bytes, &bundle, metering)?;
    write_atomically(out, &image).map_err(|source| CompileError::Write {
        path: out.to_owned(),
        source,
    })?;
    Ok(CompiledInfo {
        bundle,
        image_bytes: image.len() as u64,
        took: began.elapsed(),
    })
}

fn compile_bytes(
    bytes: &[u8],
    bundle: &BundleInfo,
    metering: Metering,
) -> Result<Vec<u8>, CompileError> {
    match bundle.kind {
        BundleKind::Module => unpooled(Flavour::of(metering))?.precompile_module(bytes),
        BundleKind::Component | BundleKind::Executor | BundleKind::Service => {
            unpooled(Flavour::of(metering))?.precompile_component(bytes)
        }
        BundleKind::ThreadedModule => {
            let bounded = waits::bound_waits(bytes).map_err(CompileError::Rewrite)?;
            unpooled(Flavour::Threads)?.precompile_module(&bounded)
        }
    }
    .map_err(CompileError::Compiler)
}

/// Nobody ever sees half an image.
fn write_atomically(out: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(out)?;
    Ok(())
}
