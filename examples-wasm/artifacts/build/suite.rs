//! The suites: which packages are built for which target, and what comes out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::toolchain::Toolchain;

/// A set of guests built alike, and a module of the generated code.
pub(crate) struct Suite {
    /// What the generated module is called.
    pub(crate) name: &'static str,
    /// What the generated module's documentation says.
    pub(crate) about: &'static str,
    source: Source,
}

enum Source {
    /// Folders of packages, built by cargo for a target.
    Packages {
        target: &'static str,
        folders: &'static [&'static str],
    },
    /// A folder of modules in the text format.
    Text { folder: &'static str },
}

/// One guest, built.
pub(crate) struct Guest {
    pub(crate) suite: &'static str,
    /// The name of its file, without the extension.
    pub(crate) name: String,
    /// The first sentence of its header.
    pub(crate) about: String,
    /// The module or component.
    pub(crate) wasm: PathBuf,
}

/// All suites, in the order in which they are built.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "wasip1",
        about: "Commands for WASI 0.1: core modules.",
        source: Source::Packages {
            target: "wasm32-wasip1",
            folders: &["bare", "commands", "traps"],
        },
    },
    Suite {
        name: "kernels",
        about: "Benchmark kernels, for WASI 0.1, optimised for speed.",
        source: Source::Packages {
            target: "wasm32-wasip1",
            folders: &["kernels"],
        },
    },
    Suite {
        name: "wasip2",
        about: "Commands for WASI 0.2: components.",
        source: Source::Packages {
            target: "wasm32-wasip2",
            folders: &["commands", "traps"],
        },
    },
    Suite {
        name: "threads",
        about: "Commands for WASI 0.1 with threads: core modules over a shared memory.",
        source: Source::Packages {
            target: "wasm32-wasip1-threads",
            folders: &["threads"],
        },
    },
    Suite {
        name: "hostile",
        about: "Modules that mean harm, written by hand.",
        source: Source::Text { folder: "hostile" },
    },
];

impl Suite {
    /// The folders that hold this suite's sources.
    pub(crate) fn folders(&self) -> Vec<&'static str> {
        match self.source {
            Source::Packages { folders, .. } => folders.to_vec(),
            Source::Text { folder } => vec![folder],
        }
    }

    /// Builds every guest of the suite.
    pub(crate) fn build(
        &self,
        cargo: &Toolchain,
        workspace: &Path,
        out: &Path,
    ) -> Result<Vec<Guest>> {
        match self.source {
            Source::Packages { target, folders } => {
                let release = cargo.build(target, folders)?;
                self.find_built(workspace, folders, &release)
            }
            Source::Text { folder } => self.assemble(&workspace.join(folder), &out.join(folder)),
        }
    }

    fn find_built(&self, workspace: &Path, folders: &[&str], release: &Path) -> Result<Vec<Guest>> {
        let mut guests = Vec::new();
        for folder in folders {
            for source in files_with(&workspace.join(folder).join("src/bin"), "rs")? {
                let wasm = release.join(stem(&source)).with_extension("wasm");
                guests.push(self.guest(&source, wasm)?);
            }
        }
        Ok(guests)
    }

    fn assemble(&self, folder: &Path, out: &Path) -> Result<Vec<Guest>> {
        fs::create_dir_all(out)?;
        let mut guests = Vec::new();
        for source in files_with(folder, "wat")? {
            let wasm = out.join(stem(&source)).with_extension("wasm");
            let bytes = wat::parse_file(&source)?;
            fs::write(&wasm, bytes)?;
            guests.push(self.guest(&source, wasm)?);
        }
        Ok(guests)
    }

    fn guest(&self, source: &Path, wasm: PathBuf) -> Result<Guest> {
        Ok(Guest {
            suite: self.name,
            name: stem(source),
            about: first_sentence(source)?,
            wasm,
        })
    }
}

fn files_with(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What a guest's header (`//!` in Rust, `;;` in the text format) says up to its first full stop
/// at the end of a line or before a space.
fn first_sentence(source: &Path) -> Result<String> {
    let text = fs::read_to_string(source)?;
    let header: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!").or(line.strip_prefix(";;")))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let header = header.join(" ");
    let sentence = header.split(". ").next().unwrap_or_default();
    let sentence = sentence.trim_end_matches('.');
    (!sentence.is_empty())
        .then(|| format!("{sentence}."))
        .with_context(|| format!("{} has no header", source.display()))
}
