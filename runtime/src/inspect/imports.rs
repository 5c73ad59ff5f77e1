//! What is provided to guests, and what to say about what is not.

use std::fmt;

use crate::service::INTERFACES;
use crate::wasi::component::{INTERFACES_2, INTERFACES_3, VERSION_2, VERSION_3};
use crate::wasi::p1::FUNCTIONS;

/// The module name of WASI 0.1.
pub(super) use crate::wasi::p1::MODULE as WASI_0_1_MODULE;

/// An import that nobody provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImport {
    /// `module.name`, or a component interface.
    pub name: String,
    /// What would provide it.
    pub advice: &'static str,
}

impl fmt::Display for MissingImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.name, self.advice)
    }
}

/// One sentence about all that is missing. Neighbours with the same advice share it.
pub(super) fn sentence(missing: &[MissingImport]) -> String {
    const NAMED: usize = 5;
    let (named, more) = missing.split_at(missing.len().min(NAMED));
    let named: Vec<_> = named
        .chunk_by(|one, next| one.advice == next.advice)
        .filter_map(|group| {
            let (last, before) = group.split_last()?;
            let before = before.iter().map(|one| format!("`{}`, ", one.name));
            Some(format!("{}{last}", before.collect::<String>()))
        })
        .collect();
    let more = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "nothing here provides the import {}{more}",
        named.join(", ")
    )
}

/// What is missing if a core module's function import is not provided.
pub(super) fn missing_function(module: &str, name: &str) -> Option<MissingImport> {
    let provided = match module {
        WASI_0_1_MODULE => FUNCTIONS.contains(&name),
        "wasi" => name == "thread-spawn",
        _ => false,
    };
    (!provided).then(|| missing_of_module(module, name))
}

/// What is missing if a core module imports something other than a function.
pub(super) fn missing_of_module(module: &str, name: &str) -> MissingImport {
    let advice = match module {
        WASI_0_1_MODULE => "no function of WASI 0.1 has this name",
        "wasi_unstable" => {
            "the snapshot before WASI 0.1: rebuild it with a current toolchain for wasm32-wasip1"
        }
        "env" => {
            "usually an undefined C symbol: link the library that defines it, or build for WASI \
             and not for Emscripten"
        }
        "gojs" | "go" => "built for a browser: build with GOOS=wasip1",
        "wbg" | "__wbindgen_placeholder__" | "__wbindgen_externref_xform__" => {
            "built by wasm-bindgen for a JavaScript host: build for wasm32-wasip1"
        }
        _ if module.starts_with("wasix") => "WASIX, which Wasmer provides: build for plain WASI",
        _ if module.starts_with("wasi_ephemeral_nn") => "wasi-nn, which is not hosted here",
        _ => "neither WASI nor nesos knows a module of this name; build the program for WASI",
    };
    MissingImport {
        name: format!("{module}.{name}"),
        advice,
    }
}

/// What is missing if a component's import is not provided.
pub(super) fn missing_interface(name: &str) -> Option<MissingImport> {
    let advice = match name.split_once('@') {
        Some((interface, version)) if is_hosted(interface, version) => return None,
        _ if crate::guest_api::INTERFACES.contains(&name) => return None,
        _ if name.starts_with("nesos:guest/") => {
            "another version of nesos:guest: 0.1.0 is hosted here"
        }
        _ if name.starts_with("wasi:http/") => {
            "of wasi:http the types and the outgoing handler of 0.2 are hosted"
        }
        Some((interface, _)) if is_known(interface) => {
            "this version of WASI is not hosted here: build for 0.2 or 0.3"
        }
        _ if name.starts_with("wasi:") => "this WASI proposal is not hosted here",
        _ => {
            "components may import interfaces of WASI and nesos:guest only; compose it with one that exports this"
        }
    };
    Some(MissingImport {
        name: name.to_owned(),
        advice,
    })
}

/// Package and version of `wasi:package/interface@version`.
pub(super) fn wasi_package(name: &str) -> Option<(&str, &str)> {
    let (path, version) = name.strip_prefix("wasi:")?.split_once('@')?;
    let (package, _interface) = path.split_once('/')?;
    Some((package, version))
}

fn is_known(interface: &str) -> bool {
    INTERFACES_2.contains(&interface) || INTERFACES_3.contains(&interface)
}

/// An import is satisfied by the same version or a later compatible one.
fn is_hosted(interface: &str, version: &str) -> bool {
    let hosted = [
        (INTERFACES_2, VERSION_2),
        (&INTERFACES, VERSION_2),
        (INTERFACES_3, VERSION_3),
    ];
    hosted.iter().any(|(interfaces, provided)| {
        interfaces.contains(&interface) && is_satisfied_by(version, provided)
    })
}

fn is_satisfied_by(wanted: &str, provided: &str) -> bool {
    let split = |version: &str| {
        let (series, patch) = version.rsplit_once('.')?;
        Some((series.to_owned(), patch.parse::<u32>().ok()?))
    };
    match (split(wanted), split(provided)) {
        (Some((series, patch)), Some((provided_series, provided_patch))) => {
            series == provided_series && patch <= provided_patch
        }
        _ => wanted == provided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_the_same_cause_is_said_once() {
        let old = |name| missing_of_module("wasi_unstable", name);
        let text = sentence(&[old("a"), old("b"), missing_of_module("wbg", "c")]);
        assert_eq!(text.matches("the snapshot before WASI 0.1").count(), 1);
        assert!(
            text.contains("`wasi_unstable.a`, `wasi_unstable.b` (the"),
            "{text}"
        );
        assert!(text.ends_with("build for wasm32-wasip1)"), "{text}");
    }
}
