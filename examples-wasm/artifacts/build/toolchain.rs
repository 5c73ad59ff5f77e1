//! Cargo, run inside a build script: the right compiler, its targets, and nothing that leaks in from
//! the build outside.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

/// The cargo and compiler that build the guests: those that build this crate.
pub(crate) struct Toolchain {
    cargo: OsString,
    rustc: OsString,
    workspace: PathBuf,
    target_dir: PathBuf,
}

impl Toolchain {
    /// Takes cargo and compiler from the environment that cargo gives to a build script.
    pub(crate) fn from_env(workspace: PathBuf, target_dir: PathBuf) -> Result<Self> {
        Ok(Self {
            cargo: env::var_os("CARGO").context("cargo sets CARGO")?,
            rustc: env::var_os("RUSTC").context("cargo sets RUSTC")?,
            workspace,
            target_dir,
        })
    }

    /// Builds what `which` selects (`--bins`, `--examples`) of the packages in `folders` for `target`
    /// and returns the folder of what came out.
    pub(crate) fn build(&self, target: &str, folders: &[&str], which: &str) -> Result<PathBuf> {
        self.ensure_target(target)?;
        let mut command = Command::new(&self.cargo);
        scrub(&mut command);
        command
            .current_dir(&self.workspace)
            .env("RUSTC", &self.rustc)
            .args(["build", "--release", "--locked", which, "--target", target])
            .arg("--target-dir")
            .arg(&self.target_dir);
        for folder in folders {
            command.arg("--package").arg(format!("nesos-{folder}"));
        }
        run(&mut command)
            .with_context(|| format!("the guests of {} for {target}", folders.join(", ")))?;
        Ok(self.target_dir.join(target).join("release"))
    }

    /// Adds the target to the toolchain when it is not there.
    fn ensure_target(&self, target: &str) -> Result<()> {
        if self.has_target(target)? {
            return Ok(());
        }
        let help = format!(
            "the example guests are built for {target}, which this Rust toolchain does not have, \
             and adding it failed; type `rustup target add {target}` (or install your \
             distribution's package of that target) and build again"
        );
        run(Command::new("rustup").args(["target", "add", target])).context(help.clone())?;
        ensure!(self.has_target(target)?, help);
        Ok(())
    }

    fn has_target(&self, target: &str) -> Result<bool> {
        let output = Command::new(&self.rustc)
            .args(["--print", "target-libdir", "--target", target])
            .output()
            .context("cannot run the Rust compiler")?;
        let folder = String::from_utf8_lossy(&output.stdout);
        Ok(output.status.success() && Path::new(folder.trim()).is_dir())
    }
}

/// What of cargo's and rustc's own environment the inner build keeps: where packages come from and
/// how many jobs may run.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "RUSTUP_",
];

/// Removes from the command's environment whatever speaks of the outer build: its flags, wrappers
/// (clippy's too), profile, target and package.
fn scrub(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if speaks_of_outer_build(&name) {
            command.env_remove(&name);
        }
    }
}

fn speaks_of_outer_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let of_cargo = ["CARGO", "RUST", "DEP_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let of_build_script = ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG"];
    let kept = KEPT.iter().any(|prefix| name.starts_with(prefix));
    (of_cargo && !kept) || of_build_script.contains(&&*name)
}

/// Runs the command to its end; what it printed is shown only when it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}):\n{}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
