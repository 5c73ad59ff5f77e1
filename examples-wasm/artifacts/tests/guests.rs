//! Every guest is there, is of the kind that its suite promises, and carries what hosts need of it.

use std::{collections::BTreeSet, fs};

use nesos_artifacts::{Guest, all, generate};

/// How a core module begins: magic number, version 1, layer 0.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// How a component begins: magic number, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn guests_of_core_suites_are_modules() {
    for guest in of_suites(&["handwritten", "kernels", "threads", "wasip1"]) {
        assert!(bytes(guest).starts_with(MODULE), "{guest:?}");
    }
}

#[test]
fn guests_of_component_suites_are_components() {
    for guest in of_suites(&[
        "executors",
        "policies",
        "services",
        "tasks",
        "wasip2",
        "wasip3",
    ]) {
        assert!(bytes(guest).starts_with(COMPONENT), "{guest:?}");
    }
}

#[test]
fn suite_and_name_identify_a_guest() {
    let identities: BTreeSet<_> = all().iter().map(|g| (g.suite, g.name)).collect();
    assert_eq!(identities.len(), all().len());
}

#[test]
fn traps_have_line_tables_and_the_rest_have_none() {
    for guest in of_suites(&["wasip1"]) {
        let traps = ["panic", "stack_overflow", "trap_oob", "trap_unreachable"];
        let has_lines = contains(&bytes(guest), b".debug_line");
        assert_eq!(has_lines, traps.contains(&guest.name), "{guest:?}");
    }
}

#[test]
fn function_names_stay_in_for_backtraces() {
    let module = bytes(find("wasip1", "trap_unreachable"));
    for function in ["outer", "middle", "innermost"] {
        assert!(contains(&module, function.as_bytes()), "{function}");
    }
}

#[test]
fn policies_import_nothing() {
    for guest in of_suites(&["policies"]) {
        let component = bytes(guest);
        // What is inside it imports from it; the component itself is all that the host sees.
        let mut depth = 0;
        for payload in wasmparser::Parser::new(0).parse_all(&component) {
            match payload.expect("a valid component") {
                wasmparser::Payload::Version { .. } => depth += 1,
                wasmparser::Payload::End(_) => depth -= 1,
                wasmparser::Payload::ComponentImportSection(_) => assert!(depth > 1, "{guest:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn threads_import_what_starts_a_thread() {
    for guest in of_suites(&["threads"]) {
        assert!(contains(&bytes(guest), b"thread-spawn"), "{guest:?}");
    }
}

#[test]
fn an_included_guest_is_the_file() {
    let included: &[u8] = nesos_artifacts::include_guest!(wasip1 hello);
    assert_eq!(included, bytes(find("wasip1", "hello")));
}

#[test]
fn generated_modules_are_valid() {
    let generated = [
        generate::many_functions(1_000),
        generate::many_locals_and_loops(100, 200),
        generate::deep_blocks(500),
    ];
    for module in generated {
        wasmparser::validate(&module).expect("a valid module");
    }
}

#[test]
fn a_generated_module_has_as_many_functions_as_asked_for() {
    let module = generate::many_functions(100_000);
    let bodies = wasmparser::Parser::new(0)
        .parse_all(&module)
        .filter(|payload| matches!(payload, Ok(wasmparser::Payload::CodeSectionEntry(_))));
    assert_eq!(bodies.count(), 100_000);
}

/// The guests of the suites, of which each has some.
fn of_suites(suites: &[&str]) -> Vec<&'static Guest> {
    for suite in suites {
        assert!(all().iter().any(|g| g.suite == *suite), "{suite} is empty");
    }
    all().iter().filter(|g| suites.contains(&g.suite)).collect()
}

fn find(suite: &str, name: &str) -> &'static Guest {
    let mut guests = all().iter();
    guests
        .find(|guest| guest.suite == suite && guest.name == name)
        .expect("the guest exists")
}

fn bytes(guest: &Guest) -> Vec<u8> {
    fs::read(guest.path).expect("the guest was built")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
