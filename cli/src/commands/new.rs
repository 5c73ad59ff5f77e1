//! `nesos new`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use nesos_bundle::reference::validate_name;

use super::build::advice;
use crate::failure::Failure;
use crate::output;

mod templates;

use templates::Template;

/// Makes a project: a program, and a nesos.toml that says how it is built and what it needs
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The project's folder, which is made; its last part is the bundle's name
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// What it is
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    kind: KindOption,
    /// In which language
    #[arg(long, value_enum, default_value_t, value_name = "LANGUAGE")]
    language: Language,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KindOption {
    /// A program that starts, works and ends
    #[default]
    Command,
    /// Runs the tasks of its framework
    Executor,
    /// Answers HTTP requests
    Service,
    /// Decides whom a master serves next
    Policy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Rust, by cargo
    #[default]
    Rust,
    /// C, by clang with wasi-libc
    C,
    /// Python, by componentize-py
    Python,
}

impl New {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let name = self
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        validate_name(name)
            .map_err(|why| Failure::said(format!("{:?} names no bundle: {why}", self.path)))?;
        let template = self.template()?;
        if self.path.exists() {
            return Err(Failure::said(format!(
                "{} is there already",
                self.path.display()
            )));
        }
        for (file, text) in template.files {
            write(&self.path.join(file), &filled(text, name))?;
        }
        for (file, text) in template.interfaces {
            write(&self.path.join(file), text)?;
        }
        output::line(format_args!(
            "{0} is made; next: nesos build {0}, and nesos push {0}",
            self.path.display()
        ))?;
        if !is_installed(template.tool) {
            output::complain(&format!(
                "{} is not installed: {}",
                template.tool,
                advice(template.tool)
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn template(&self) -> Result<Template, Failure> {
        match (self.kind, self.language) {
            (KindOption::Command, Language::Rust) => Ok(templates::RUST_COMMAND),
            (KindOption::Command, Language::C) => Ok(templates::C_COMMAND),
            (KindOption::Command, Language::Python) => Ok(templates::PYTHON_COMMAND),
            (KindOption::Executor, Language::Rust) => Ok(templates::RUST_EXECUTOR),
            (KindOption::Executor, Language::Python) => Ok(templates::PYTHON_EXECUTOR),
            (KindOption::Executor, Language::C) => Err(Failure::said(
                "an executor is written in Rust or Python; say --language rust",
            )),
            (KindOption::Service, Language::Rust) => Ok(templates::RUST_SERVICE),
            (KindOption::Service, _) => Err(Failure::said(
                "a service is written in Rust; say --language rust",
            )),
            (KindOption::Policy, Language::Rust) => Ok(templates::RUST_POLICY),
            (KindOption::Policy, _) => Err(Failure::said(
                "a policy is written in Rust; say --language rust",
            )),
        }
    }
}

/// A template's text for a bundle of this name. The files that a Rust library is built into know no hyphens.
fn filled(text: &str, name: &str) -> String {
    let library = name.replace(['-', '.'], "_");
    text.replace("{name}", name).replace("{crate}", &library)
}

fn is_installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(&format!("cannot write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nesos_bundle::manifest::Manifest;

    #[test]
    fn every_template_has_a_manifest_that_says_how_it_is_built() {
        for template in [
            templates::RUST_COMMAND,
            templates::C_COMMAND,
            templates::PYTHON_COMMAND,
            templates::RUST_EXECUTOR,
            templates::PYTHON_EXECUTOR,
            templates::RUST_SERVICE,
            templates::RUST_POLICY,
        ] {
            let (_, text) = template
                .files
                .iter()
                .find(|(file, _)| *file == "nesos.toml")
                .expect("has one");
            let manifest =
                Manifest::parse(filled(text, "my-hello").as_bytes()).expect("a manifest");
            assert_eq!(manifest.name, "my-hello");
            let build = manifest.build.expect("is said");
            assert!(!build.command.is_empty());
            assert!(!build.artifact.contains('{'), "{}", build.artifact);
        }
    }
}
