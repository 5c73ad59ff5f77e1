//! `nesos build`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use nesos_bundle::manifest::Build as Recipe;
use nesos_types::resources::format_bytes;

use crate::failure::Failure;
use crate::output;
use crate::project::{Project, write_layout};

/// Builds the project in a folder and packs it: an OCI layout under target/nesos, to be pushed or inspected
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The project's folder, with its nesos.toml
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
}

impl Build {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let project = Project::open(&self.path)?;
        // What a build that fails leaves behind must not be pushed as if it were this one.
        project.remove_layout()?;
        build(&project)?;
        let packed = project.pack()?;
        let layout = project.layout();
        write_layout(&layout, &packed)?;
        let bytes: usize = packed.blobs.iter().map(|blob| blob.bytes.len()).sum();
        output::line(format_args!(
            "{}  {}  {}",
            layout.display(),
            format_bytes(bytes as u64),
            packed.manifest.digest()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs what the manifest says; nothing, if it says nothing.
pub(super) fn build(project: &Project) -> Result<(), Failure> {
    let Some(recipe) = &project.manifest.build else {
        return Ok(());
    };
    let [program, args @ ..] = &recipe.command[..] else {
        return Ok(());
    };
    add_target(recipe)?;
    let mut command = Command::new(program);
    run(command.args(args).current_dir(&project.folder), program)
}

/// Sees to it that the Rust toolchain has the target; where there is no `rustup` it is hoped to be there.
fn add_target(recipe: &Recipe) -> Result<(), Failure> {
    let Some(target) = &recipe.target else {
        return Ok(());
    };
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let Ok(installed) = installed else {
        return Ok(());
    };
    if String::from_utf8_lossy(&installed.stdout)
        .lines()
        .any(|line| line == target)
    {
        return Ok(());
    }
    output::complain(&format!("adding the target {target} to the Rust toolchain"));
    run(
        Command::new("rustup").args(["target", "add", target]),
        "rustup",
    )
}

fn run(command: &mut Command, program: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::said(format!(
            "{program} failed ({status}); what it said is above"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::said(format!(
            "{program} is not installed: {}",
            advice(program)
        ))),
        Err(error) => Err(Failure::new(&format!("cannot run {program}"), error)),
    }
}

/// What to install.
pub(super) fn advice(program: &str) -> &'static str {
    match program {
        "cargo" | "rustup" => "Rust is at https://rustup.rs",
        "clang" => "on Debian: apt install clang lld wasi-libc libclang-rt-dev-wasm32",
        "componentize-py" => "pip install componentize-py",
        _ => "it is what [build] command in nesos.toml names",
    }
}
