//! The rules of the house that no compiler checks: who may depend on whom, what stays out of the pure
//! crates, how a source file begins and ends, and that tests which a page names are there.
//!
//! It reads the work tree as text and knows nothing about what any crate does. Each test looks at
//! one rule and names every file that breaks it.

#[path = "tidy/conformance.rs"]
mod conformance;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/wit.rs"]
mod wit;

use std::path::Path;

use manifests::Manifest;

/// The floors, from the ground: a crate may use only crates of floors below its own.
const FLOORS: &[&[&str]] = &[
    &["types", "examples-wasm/artifacts"],
    &["master/core", "agent/core", "bundle"],
    &["api", "runtime"],
    &["master", "agent", "sdk-framework", "sdk-guest/harness"],
    &["cli", "tests"],
    &["tests/bench", "tests/chaos"],
];

/// Crates that are plain, deterministic Rust: no I/O, no clock, no runtime.
const PURE: &[&str] = &["types", "master/core", "agent/core"];

/// What would end purity, as the beginning of a dependency's name.
const IMPURE: &[&str] = &[
    "anyhow", "dashmap", "hyper", "prost", "tokio", "tonic", "wasi", "wasmtime", "wiggle",
];

/// The sandbox's own dependencies, as the beginning of a name.
const SANDBOX: &[&str] = &["wasi-", "wasmtime", "wiggle"];

/// Files longer than this are asking to be two.
const MOST_LINES: usize = 800;

#[test]
fn every_member_has_a_floor() {
    let mut on_floors: Vec<&str> = FLOORS.concat();
    on_floors.sort_unstable();
    assert_eq!(manifests::members(&root()), on_floors);
}

#[test]
fn crates_use_only_floors_below_their_own() {
    let manifests = Manifest::of_members(&root());
    let broken = complaints(&manifests, |manifest| {
        let floor = floor_of(&manifest.folder);
        manifest
            .siblings(&manifests)
            .into_iter()
            .filter(|sibling| !may_use(floor, sibling))
            .map(|sibling| format!("{} uses {}", manifest.folder, sibling.used.folder))
            .collect()
    });
    assert!(broken.is_empty(), "against the floors: {broken:#?}");
}

#[test]
fn the_pure_crates_name_nothing_impure() {
    let manifests = Manifest::of_members(&root());
    let pure: Vec<_> = manifests
        .into_iter()
        .filter(|manifest| PURE.contains(&manifest.folder.as_str()))
        .collect();
    assert_eq!(pure.len(), PURE.len());
    let broken = complaints(&pure, |manifest| manifest.naming(IMPURE));
    assert!(
        broken.is_empty(),
        "purity is held by manifests: {broken:#?}"
    );
}

#[test]
fn only_the_runtime_names_the_sandbox_dependencies() {
    let manifests = Manifest::of_members(&root());
    let (runtime, others): (Vec<_>, Vec<_>) = manifests
        .into_iter()
        .partition(|manifest| manifest.folder == "runtime");
    let named = complaints(&runtime, |manifest| manifest.naming(SANDBOX));
    assert!(!named.is_empty(), "the runtime stands on wasmtime");
    let broken = complaints(&others, |manifest| manifest.naming(SANDBOX));
    assert!(broken.is_empty(), "not in runtime/: {broken:#?}");
}

#[test]
fn versions_are_said_once_for_the_workspace() {
    let manifests = Manifest::of_members(&root());
    let broken = complaints(&manifests, Manifest::own_versions);
    assert!(broken.is_empty(), "not from the workspace: {broken:#?}");
}

#[test]
fn every_member_takes_the_workspace_lints() {
    let manifests = Manifest::of_members(&root());
    let broken = complaints(&manifests, |manifest| {
        let without = !manifest.takes_workspace_lints();
        without
            .then(|| manifest.folder.clone())
            .into_iter()
            .collect()
    });
    assert!(broken.is_empty(), "without `[lints]`: {broken:#?}");
}

#[test]
fn every_source_file_says_what_it_is() {
    let broken = sources::breaking(&root(), |source| {
        let is_said = ["//!", "#![doc = include_str!("]
            .iter()
            .any(|header| source.text.starts_with(header));
        !is_said && !source.is_tests_module()
    });
    assert!(broken.is_empty(), "no `//!` header: {broken:#?}");
}

#[test]
fn no_source_file_is_too_long() {
    let broken = sources::breaking(&root(), |source| source.text.lines().count() > MOST_LINES);
    assert!(broken.is_empty(), "over {MOST_LINES} lines: {broken:#?}");
}

#[test]
fn no_module_is_called_mod_rs() {
    let broken = sources::breaking(&root(), |source| source.path.ends_with("mod.rs"));
    assert!(
        broken.is_empty(),
        "`foo.rs` and `foo/` instead: {broken:#?}"
    );
}

#[test]
fn nothing_is_left_for_later() {
    // In pieces, so that this file does not accuse itself.
    let excuses = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unimplemented", "!("),
        concat!("todo", "!("),
    ];
    let broken = sources::breaking(&root(), |source| {
        excuses.iter().any(|excuse| source.text.contains(excuse))
    });
    assert!(broken.is_empty(), "unfinished: {broken:#?}");
}

#[test]
fn every_rule_of_the_conformance_page_names_a_test_that_is_there() {
    let rows = conformance::rows(&root());
    assert!(rows.len() > 100, "the whole page is read");
    let untested = rows.iter().filter(|row| row.tests.is_empty());
    let untested: Vec<_> = untested.map(|row| &row.rule).collect();
    assert!(untested.is_empty(), "rules without a test: {untested:#?}");
    let named = rows.iter().flat_map(|row| &row.tests);
    let missing: Vec<_> = named.filter(|test| !test.is_in(&root())).collect();
    assert!(missing.is_empty(), "named but not there: {missing:#?}");
}

#[test]
fn the_readme_shows_code_that_is_built() {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the page is there");
    let shown: Vec<_> = page.split("```").skip(1).step_by(2).collect();
    let shown = shown
        .iter()
        .filter_map(|block| block.strip_prefix("rust\n"));
    let shown: Vec<_> = shown.map(without_indent).collect();
    assert!(!shown.is_empty(), "there is code to be seen");
    let sources = sources::breaking(&root(), |source| {
        let text = without_indent(&source.text);
        shown.iter().any(|block| text.contains(block))
    });
    assert_eq!(sources.len(), shown.len(), "found in {sources:#?}");
}

#[test]
fn everything_that_guests_can_name_is_described() {
    let interfaces = [
        "executor",
        "health",
        "sandboxes",
        "this-task",
        "types",
        "worlds",
    ];
    let bare = interfaces.map(|name| {
        let path = root().join(format!("sdk-guest/wit/guest/{name}.wit"));
        let text = std::fs::read_to_string(path).expect("an interface");
        wit::without_description(&text)
    });
    assert_eq!(bare.concat(), Vec::<String>::new());
}

fn without_indent(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start());
    lines.collect::<Vec<_>>().join("\n")
}

fn root() -> std::path::PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ lies in the root")
        .to_path_buf()
}

fn floor_of(folder: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&folder))
        .unwrap_or_else(|| panic!("{folder} has no floor"))
}

/// Guests are for whoever tests or shows something: a test of any floor, and every use on the
/// highest floors.
fn may_use(floor: usize, sibling: &manifests::Sibling<'_>) -> bool {
    if sibling.used.folder == "examples-wasm/artifacts" {
        return sibling.for_tests || floor >= floor_of("cli");
    }
    floor_of(&sibling.used.folder) < floor
}

fn complaints(manifests: &[Manifest], rule: impl Fn(&Manifest) -> Vec<String>) -> Vec<String> {
    assert!(!manifests.is_empty(), "a rule over nothing holds always");
    manifests.iter().flat_map(rule).collect()
}
