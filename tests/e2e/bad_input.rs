//! Bad input gets a clear answer: what was wrong, where, and what to do.

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Outcome, nesos, run, run_with};

#[track_caller]
fn refuses(outcome: Outcome, words: &[&str]) {
    assert!(![0, 134, 137].contains(&outcome.status), "{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    let said = outcome.stderr.to_lowercase();
    for word in words {
        assert!(
            said.contains(&word.to_lowercase()),
            "no {word:?} in {outcome}"
        );
    }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

#[test]
fn files_that_are_no_modules() {
    let text = file(b"#!/bin/sh\necho hello\n");
    refuses(run(path(&text)).go(), &[path(&text), "WebAssembly"]);

    let empty = file(b"");
    refuses(run(path(&empty)).go(), &["empty"]);

    let whole = std::fs::read(guests::HELLO).expect("built");
    let truncated = file(&whole[..whole.len() / 2]);
    refuses(run(path(&truncated)).go(), &["truncated"]);

    let zeros = tempfile::NamedTempFile::new().expect("a file");
    zeros.as_file().set_len(200_000_000).expect("sparse");
    refuses(run(path(&zeros)).go(), &[path(&zeros), "zero"]);

    refuses(run("/does/not/exist.wasm").go(), &["/does/not/exist.wasm"]);
    refuses(run("/").go(), &["directory"]);
}

#[test]
fn amounts_that_are_none() {
    for (flags, words) in [
        (["--cpus", "0"], &["cpus", "0"][..]),
        (["--cpus", "-1"], &["negative"]),
        (["--cpus", "NaN"], &["number"]),
        (["--cpus", "0.0001"], &["three decimals"]),
        (["--cpus", "1000"], &["1000 CPUs"]),
        (["--mem", "12 potatoes"], &["size"]),
        (["--mem", "0"], &["mem"]),
        (["--mem", "4000TiB"], &["TiB"]),
        (["--timeout", "soon"], &["timeout"]),
        (["--metering", "vibes"], &["metering"]),
        (["--role", "a b"], &["role", "whitespace"]),
        (["--role", "a//b"], &["role", "slash"]),
        (["--env", "NOVALUE"], &["NOVALUE"]),
        (["--dir", "/does/not/exist::/x"], &["/does/not/exist"]),
    ] {
        refuses(run_with(&flags, guests::HELLO).go(), words);
    }
}

#[test]
fn a_minimum_memory_above_the_limit() {
    refuses(
        run_with(&["--mem", "1MiB"], guests::HELLO).go(),
        &["memory", "--mem"],
    );
}

#[test]
fn a_master_that_is_not_there() {
    refuses(
        run_with(
            &[
                "--master",
                "http://127.0.0.1:9",
                "--connect-timeout",
                "300ms",
            ],
            guests::HELLO,
        )
        .go(),
        &["127.0.0.1:9", "300"],
    );
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let state = tempfile::tempdir().expect("a directory");
    let output = nesos()
        .args(["dev", "--listen", &address, "--state-dir"])
        .arg(state.path())
        .output()
        .expect("nesos starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn unknown_commands_and_flags() {
    for args in [&["fly"][..], &["run"], &["run", "--fly", "x.wasm"]] {
        let output = nesos().args(args).output().expect("nesos starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
