//! The suites: which packages are built for which target, and what comes out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::toolchain::Toolchain;

/// The target without a system interface.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// A set of guests built alike, and a module of the generated code.
pub(crate) struct Suite {
    /// What the generated module is called.
    pub(crate) name: &'static str,
    /// What the generated module's documentation says.
    pub(crate) about: &'static str,
    source: Source,
}

enum Source {
    /// Folders of packages whose programs cargo builds for a target.
    Programs {
        target: &'static str,
        folders: &'static [&'static str],
    },
    /// A folder of a package whose examples, which are libraries to the linker, cargo builds for a
    /// target.
    Examples {
        target: &'static str,
        folder: &'static str,
    },
    /// A folder of a package whose examples cargo builds for the target that has no system interface;
    /// what comes out is made a component afterwards, and so imports nothing but what its world names.
    Components { folder: &'static str },
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
        source: Source::Programs {
            target: "wasm32-wasip1",
            folders: &["commands", "traps"],
        },
    },
    Suite {
        name: "kernels",
        about: "Benchmark kernels, for WASI 0.1, optimised for speed.",
        source: Source::Programs {
            target: "wasm32-wasip1",
            folders: &["kernels"],
        },
    },
    Suite {
        name: "wasip2",
        about: "Commands for WASI 0.2: components.",
        source: Source::Programs {
            target: "wasm32-wasip2",
            folders: &["commands", "traps"],
        },
    },
    Suite {
        name: "wasip3",
        about: "Commands for WASI 0.3: components with an async entry.",
        source: Source::Examples {
            target: "wasm32-wasip2",
            folder: "wasip3",
        },
    },
    Suite {
        name: "tasks",
        about: "Tasks that talk to their scheduler: components.",
        source: Source::Programs {
            target: "wasm32-wasip2",
            folders: &["tasks"],
        },
    },
    Suite {
        name: "executors",
        about: "Executors, and some that mean harm: components.",
        source: Source::Examples {
            target: "wasm32-wasip2",
            folder: "executors",
        },
    },
    Suite {
        name: "services",
        about: "Services: components that answer HTTP requests.",
        source: Source::Examples {
            target: "wasm32-wasip2",
            folder: "services",
        },
    },
    Suite {
        name: "threads",
        about: "Commands for WASI 0.1 with threads: core modules over a shared memory.",
        source: Source::Programs {
            target: "wasm32-wasip1-threads",
            folders: &["threads"],
        },
    },
    Suite {
        name: "policies",
        about: "Allocation policies: components of the world `nesos:policy`.",
        source: Source::Components { folder: "policies" },
    },
    Suite {
        name: "handwritten",
        about: "Small modules written by hand, each for one feature of WebAssembly.",
        source: Source::Text {
            folder: "handwritten",
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
            Source::Programs { folders, .. } => folders.to_vec(),
            Source::Examples { folder, .. }
            | Source::Components { folder }
            | Source::Text { folder } => vec![folder],
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
            Source::Programs { target, folders } => {
                let built = cargo.build(target, folders, "--bins")?;
                let sources = folders.iter().map(|f| workspace.join(f).join("src/bin"));
                self.find_built(sources, &built)
            }
            Source::Examples { target, folder } => {
                let built = cargo.build(target, &[folder], "--examples")?;
                let sources = workspace.join(folder).join("examples");
                self.find_built([sources], &built.join("examples"))
            }
            Source::Components { folder } => {
                let built = cargo.build(BARE_TARGET, &[folder], "--examples")?;
                let sources = workspace.join(folder).join("examples");
                let modules = self.find_built([sources], &built.join("examples"))?;
                componentize(modules, &out.join(folder))
            }
            Source::Text { folder } => self.assemble(&workspace.join(folder), &out.join(folder)),
        }
    }

    /// Pairs each source file with what cargo made of it.
    fn find_built(
        &self,
        sources: impl IntoIterator<Item = PathBuf>,
        built: &Path,
    ) -> Result<Vec<Guest>> {
        let mut guests = Vec::new();
        for folder in sources {
            for source in files_with(&folder, "rs")? {
                let wasm = built.join(stem(&source)).with_extension("wasm");
                ensure!(
                    wasm.is_file(),
                    "{} is no guest of its package",
                    source.display()
                );
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

/// Makes components of modules that carry a description of their world.
fn componentize(modules: Vec<Guest>, out: &Path) -> Result<Vec<Guest>> {
    fs::create_dir_all(out)?;
    let component = |guest: Guest| {
        let component = wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&fs::read(&guest.wasm)?)
            .and_then(|mut encoder| encoder.encode())
            .with_context(|| format!("{} as a component", guest.name))?;
        let wasm = out.join(&guest.name).with_extension("wasm");
        fs::write(&wasm, component)?;
        Ok(Guest { wasm, ..guest })
    };
    modules.into_iter().map(component).collect()
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
