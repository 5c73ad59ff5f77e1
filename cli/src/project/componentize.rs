//! Modules that say of which world they are become components of it: what compilers for a target without a system
//! leave to whoever packs.

use std::path::Path;

use bytes::Bytes;
use wit_component::ComponentEncoder;

use crate::failure::{Failure, status};

/// How a core module begins; a component has another version.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// What the sections are called in which a module describes its world.
const DESCRIPTION: &[u8] = b"component-type:";

/// The component, if it is such a module; else what it is.
pub(super) fn componentized(path: &Path, wasm: Bytes) -> Result<Bytes, Failure> {
    let is_described = || {
        wasm.windows(DESCRIPTION.len())
            .any(|window| window == DESCRIPTION)
    };
    if !wasm.starts_with(MODULE) || !is_described() {
        return Ok(wasm);
    }
    let encoder = ComponentEncoder::default().validate(true).module(&wasm);
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.map(Bytes::from).map_err(|error| {
        Failure::said(format!(
            "{} describes a world and cannot be made a component of it: {error:#}; what needs WASI is built for \
             wasm32-wasip2",
            path.display()
        ))
        .with_status(status::CANNOT_RUN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_no_world_stays_what_it_is() {
        for wat in ["(module)", "(component)"] {
            let wasm = Bytes::from(wat::parse_str(wat).expect("valid"));
            let same = componentized(Path::new("x.wasm"), wasm.clone()).expect("taken");
            assert_eq!(same, wasm, "{wat}");
        }
    }

    #[test]
    fn a_description_that_is_none_is_refused_by_the_files_name() {
        let wat = r#"(module (@custom "component-type:x" "nonsense"))"#;
        let wasm = Bytes::from(wat::parse_str(wat).expect("valid"));
        let refused = componentized(Path::new("x.wasm"), wasm).expect_err("refused");
        assert!(format!("{refused:?}").contains("x.wasm"), "{refused:?}");
    }
}
