//! The Rust sources of the work tree, hosts' and guests' alike.

use std::{fs, path::Path};

/// One source file.
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: std::path::PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Whether it is the tests of the module beside it, whose header speaks for both.
    pub(crate) fn is_tests_module(&self) -> bool {
        let in_sources = self.path.iter().any(|part| part == "src");
        let named_tests = self.path.iter().skip(1).any(|part| part == "tests");
        in_sources && (named_tests || self.path.ends_with("tests.rs"))
    }
}

/// The paths of the files that break the rule.
pub(crate) fn breaking(root: &Path, breaks: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut sources = Vec::new();
    collect(root, root, &mut sources);
    assert!(sources.len() > 50, "the whole work tree is looked at");
    let mut broken: Vec<String> = sources
        .iter()
        .filter(|source| breaks(source))
        .map(|source| source.path.display().to_string())
        .collect();
    broken.sort_unstable();
    broken
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the work tree") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() && !is_not_ours(&path) {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source {
                text: fs::read_to_string(&path).expect("sources are UTF-8"),
                path: path.strip_prefix(root).unwrap_or(&path).to_path_buf(),
            });
        }
    }
}

/// Build output and hidden folders.
fn is_not_ours(folder: &Path) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("target") || name.starts_with('.'))
}
