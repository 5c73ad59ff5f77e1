//! Builds every example guest and writes down where each one is.
//!
//! The guests are a cargo workspace of their own, one folder up; this script runs cargo on it, once
//! per suite, into this crate's output folder. Which guests there are it reads from the folders:
//! a file in `src/bin/` is a guest. It does not know what any guest does.

#![expect(
    clippy::print_stdout,
    reason = "cargo reads a build script's standard output"
)]

mod emit;
mod suite;
mod toolchain;

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};
use suite::{Guest, SUITES};

fn main() -> Result<()> {
    let workspace = guest_workspace()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    watch(&workspace);

    let cargo = toolchain::Toolchain::from_env(workspace.clone(), out.join("target"))?;
    let mut guests: Vec<Guest> = Vec::new();
    for suite in SUITES {
        guests.extend(suite.build(&cargo, &workspace, &out)?);
    }
    guests.sort_by(|a, b| (a.suite, &a.name).cmp(&(b.suite, &b.name)));
    fs_err::write(out.join("guests.rs"), emit::module(&guests))?;
    Ok(())
}

fn guest_workspace() -> Result<PathBuf> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets this")?);
    let parent = here.parent().context("artifacts/ lies in a folder")?;
    Ok(parent.to_path_buf())
}

/// Names what the guests are made of, so that cargo runs this script again when any of it changes,
/// and only then.
fn watch(workspace: &std::path::Path) {
    let manifests = ["Cargo.toml", "Cargo.lock"];
    let packages = SUITES.iter().flat_map(|suite| suite.folders());
    for name in manifests.into_iter().chain(packages) {
        println!("cargo::rerun-if-changed={}", workspace.join(name).display());
    }
    println!("cargo::rerun-if-changed=build");
    for part in ["Cargo.toml", "macros", "src", "wit"] {
        let part = workspace.join("../sdk-guest").join(part);
        println!("cargo::rerun-if-changed={}", part.display());
    }
}
