//! What a word on the command line names: a file, or a bundle in a registry.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nesos_bundle::reference::{Reference, SCHEME};

use crate::failure::{Failure, status};

/// A program, by what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    File(PathBuf),
    Stored(Reference),
}

impl Program {
    /// What ends or begins as files do is one; so is what no bundle can be called.
    pub(crate) fn named(word: &OsStr) -> Result<Self, Failure> {
        let path = PathBuf::from(word);
        let Some(name) = word.to_str() else {
            return Ok(Self::File(path));
        };
        let is_file = [".wasm", ".wat"].iter().any(|end| name.ends_with(end))
            || ["./", "../", "/"]
                .iter()
                .any(|begin| name.starts_with(begin));
        if name.starts_with(SCHEME) {
            let reference = name.parse::<Reference>();
            return reference
                .map(Self::Stored)
                .map_err(|error| Failure::said(error.to_string()));
        }
        if is_file || (name.contains('/') && path.exists()) {
            return Ok(Self::File(path));
        }
        Ok(name.parse().map_or(Self::File(path), Self::Stored))
    }
}

/// A bundle's name, and no cluster that could have it.
pub(crate) fn nobodys(reference: &Reference) -> Failure {
    let is_there = Path::new(&reference.name).exists();
    let hint = if is_there {
        format!("; the file of this name is ./{}", reference.name)
    } else {
        String::new()
    };
    Failure::said(format!(
        "{reference} is not a file, and a bundle in the registry of no cluster: name a cluster by --master{hint}"
    ))
    .with_status(status::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_are_told_apart() {
        let program = |word: &str| Program::named(OsStr::new(word)).expect("one");
        for file in ["x.wasm", "a/x.wat", "./x", "../x", "/x", "src/main.rs", "X"] {
            assert_eq!(program(file), Program::File(file.into()), "{file}");
        }
        for name in [
            "x",
            "ads/web/hello",
            "ads/web/hello:1.0",
            "oci://localhost:5000/a:b",
        ] {
            let reference = name.parse().expect("a reference");
            assert_eq!(program(name), Program::Stored(reference), "{name}");
        }
        assert!(Program::named(OsStr::new("oci://")).is_err());
    }
}
