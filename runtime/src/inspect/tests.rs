use super::*;

fn module(text: &str) -> Result<BundleInfo, InspectError> {
    inspect_bytes(&wat::parse_str(text).unwrap())
}

fn message(result: Result<BundleInfo, InspectError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_is_not_wasm_is_told_apart() {
    assert_eq!(message(inspect_bytes(b"")), "the file is empty");
    let zeros = message(inspect_bytes(&[0; 4096]));
    assert!(
        zeros.starts_with("not a WebAssembly file: it holds 4096 zero bytes"),
        "{zeros}"
    );
    let elf = message(inspect_bytes(b"\x7fELF\x02\x01\x01\0\0"));
    assert!(elf.contains(r#"begins with "\x7fELF"#), "{elf}");
}

#[test]
fn every_way_to_cut_a_file_short_is_noticed() {
    let whole =
        wat::parse_str("(module (memory 1) (func (export \"_start\") (nop) (nop)))").unwrap();
    inspect_bytes(&whole).unwrap();
    for length in 1..whole.len() {
        assert!(
            inspect_bytes(&whole[..length]).is_err(),
            "{length} bytes pass"
        );
    }
    let cut = inspect_bytes(&whole[..whole.len() - 3]).unwrap_err();
    assert!(matches!(cut, InspectError::Truncated(_)), "{cut}");
}

#[test]
fn a_missing_import_is_named_with_what_would_provide_it() {
    let info = module(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "env" "emscripten_resize_heap" (func (param i32) (result i32)))
            (memory 17)
            (func (export "_start")))"#,
    )
    .unwrap();
    assert_eq!(info.kind, BundleKind::Module);
    assert_eq!(info.wasi, Some(WasiVersion::V0_1));
    assert_eq!(info.minimum_memory_bytes, 17 * 65_536);
    let error = info.check_imports().unwrap_err().to_string();
    assert!(
        error.contains("`env.emscripten_resize_heap` (usually an undefined C symbol"),
        "{error}"
    );
}

#[test]
fn libraries_and_strange_worlds_are_refused() {
    let library = message(module("(module (func (export \"add\")))"));
    assert!(library.contains("no function `_start`"), "{library}");
    let world = message(module("(component)"));
    assert!(world.contains("a command exports wasi:cli/run"), "{world}");
}

#[test]
fn what_no_sandbox_has_room_for_is_refused_with_the_limit() {
    let start = "(func (export \"_start\"))";
    for (what, words) in [
        (
            "(table 200001 funcref)".to_owned(),
            "200001 elements; the limit is 200000",
        ),
        ("(table 1 funcref)".repeat(9), "9 tables; the limit is 8"),
        ("(memory 1)".repeat(5), "5 memories; the limit is 4"),
        ("(memory i64 65537)".to_owned(), "the limit is 4 GiB"),
    ] {
        let refused = message(module(&format!("(module {what} {start})")));
        assert!(
            refused.starts_with("too large for a sandbox: "),
            "{refused}"
        );
        assert!(refused.contains(words), "{refused}");
        let inside = message(module(&format!("(component (core module {what} {start}))")));
        assert_eq!(inside, refused);
    }
    let most = format!("(module (table 200000 funcref) {start})");
    module(&most).unwrap();
}

#[test]
fn threads_are_recognised() {
    let info = module(
        r#"(module
            (import "env" "memory" (memory 2 16 shared))
            (import "wasi" "thread-spawn" (func (param i32) (result i32)))
            (func (export "_start"))
            (func (export "wasi_thread_start") (param i32 i32)))"#,
    )
    .unwrap();
    assert_eq!(info.kind, BundleKind::ThreadedModule);
    assert_eq!(info.missing, []);
}

#[test]
fn a_function_made_to_be_slow_to_compile_is_refused() {
    let loops = "(loop (br_if 0 (i32.const 0)))".repeat(3000);
    let text = format!(
        "(module (func (export \"_start\") (local {}) {loops}))",
        "i32 ".repeat(1000)
    );
    let error = message(module(&text));
    assert!(error.contains("1000 locals and 3000 loops"), "{error}");
}

#[test]
fn a_service_is_told_from_a_command() {
    let exporting = |names: &[&str]| {
        let exports = names
            .iter()
            .map(|name| format!(r#"(export "{name}" (instance $it))"#));
        module(&format!(
            "(component (component $c) (instance $it (instantiate $c)) {})",
            exports.collect::<String>()
        ))
        .unwrap()
        .kind
    };
    let (handler, run) = ("wasi:http/incoming-handler@0.2.3", "wasi:cli/run@0.2.0");
    assert_eq!(exporting(&[handler]), BundleKind::Service);
    assert_eq!(exporting(&[run]), BundleKind::Component);
    // It is launched as either.
    assert_eq!(exporting(&[handler, run]), BundleKind::Component);
}

#[test]
fn interfaces_of_components_are_matched_by_name_and_version() {
    let missing = |name: &str| {
        let text = format!(
            r#"(component
                (import "{name}" (instance))
                (component $c)
                (instance $run (instantiate $c))
                (export "wasi:cli/run@0.2.0" (instance $run)))"#
        );
        let info = module(&text).unwrap();
        info.missing.first().map(|missing| missing.advice)
    };
    assert_eq!(missing("wasi:cli/stdout@0.2.3"), None);
    assert_eq!(missing("wasi:clocks/system-clock@0.3.0"), None);
    assert!(
        missing("wasi:cli/stdout@0.4.0")
            .unwrap()
            .contains("build for 0.2 or 0.3")
    );
    assert_eq!(missing("wasi:http/types@0.2.0"), None);
    assert_eq!(missing("wasi:http/outgoing-handler@0.2.12"), None);
    let other = missing("wasi:http/handler@0.3.0").unwrap();
    assert!(other.contains("handler of 0.2"), "{other}");
    assert!(missing("wasi:nn/graph@0.2.0").unwrap().contains("proposal"));
    assert!(
        missing("acme:store/kv@1.0.0")
            .unwrap()
            .contains("interfaces of WASI and nesos:guest only")
    );
}
