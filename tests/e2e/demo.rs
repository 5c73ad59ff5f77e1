//! The demo: the classic resource-offer example, for real.

use std::process::Stdio;

use crate::harness::nesos;

#[test]
fn the_demo_tells_the_classic_example_and_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let output = nesos()
        .arg("demo")
        .env("TMPDIR", scratch.path())
        .stderr(Stdio::piped())
        .output()
        .expect("nesos starts");
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{said}");
    for part in [
        "<4 CPUs, 4 GiB>",
        "<2 CPUs, 1 GiB>",
        "<1 CPU, 2 GiB>",
        "<1 CPU, 1 GiB>",
        "finished",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .expect("readable")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
