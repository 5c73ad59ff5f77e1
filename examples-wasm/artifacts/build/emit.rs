//! The generated code: a constant per guest, the list of all, and a macro per suite.

use std::fmt::Write as _;

use crate::suite::{Guest, SUITES};

/// The whole generated file.
pub(crate) fn module(guests: &[Guest]) -> String {
    let mut code = String::new();
    for suite in SUITES {
        let members: Vec<&Guest> = guests.iter().filter(|g| g.suite == suite.name).collect();
        constants(&mut code, suite.name, suite.about, &members);
        foreach(&mut code, suite.name, &members);
    }
    all(&mut code, guests);
    include(&mut code, guests);
    code
}

/// `pub mod wasip1 { pub const HELLO: &str = "/…/hello.wasm"; … }`
fn constants(code: &mut String, suite: &str, about: &str, guests: &[&Guest]) {
    line(code, format_args!("/// {about}\npub mod {suite} {{"));
    for guest in guests {
        line(
            code,
            format_args!(
                "    /// {}\n    pub const {}: &str = {:?};",
                guest.about,
                guest.name.to_uppercase(),
                guest.wasm
            ),
        );
    }
    line(code, format_args!("}}"));
}

/// `foreach_wasip1!(m)` becomes `m!(hello); m!(noop); …`
fn foreach(code: &mut String, suite: &str, guests: &[&Guest]) {
    line(
        code,
        format_args!(
            "/// Calls the macro it is given once for each guest of [`{suite}`], with the guest's name.\n\
             #[macro_export]\n\
             macro_rules! foreach_{suite} {{\n    ($each:ident) => {{"
        ),
    );
    for guest in guests {
        line(code, format_args!("        $each!({});", guest.name));
    }
    line(code, format_args!("    }};\n}}"));
}

fn all(code: &mut String, guests: &[Guest]) {
    line(code, format_args!("static GUESTS: &[Guest] = &["));
    for guest in guests {
        line(
            code,
            format_args!(
                "    Guest {{ suite: {:?}, name: {:?}, path: {}::{} }},",
                guest.suite,
                guest.name,
                guest.suite,
                guest.name.to_uppercase()
            ),
        );
    }
    line(code, format_args!("];"));
}

/// `include_guest!(wasip1 hello)` becomes `include_bytes!("/…/hello.wasm")`
fn include(code: &mut String, guests: &[Guest]) {
    line(
        code,
        format_args!(
            "/// The bytes of a guest, built into the program: `include_guest!(wasip1 hello)`.\n\
             #[macro_export]\n\
             macro_rules! include_guest {{"
        ),
    );
    for guest in guests {
        line(
            code,
            format_args!(
                "    ({} {}) => {{ ::core::include_bytes!({:?}) }};",
                guest.suite, guest.name, guest.wasm
            ),
        );
    }
    line(code, format_args!("}}"));
}

fn line(code: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(code, "{text}");
}
