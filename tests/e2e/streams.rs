//! stdin, stdout and stderr are live, and a pipe behaves as pipes do.

use std::io::{Read, Write};
use std::process::Stdio;

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Guarded, exit_status, interruptible, nesos, read_until, signal};

#[test]
fn what_is_written_comes_back_before_the_end_of_input() {
    comes_back(guests::CAT, ["first\n", "second\n"]);
    comes_back(guests::ECHO_LINES, ["1: first\n", "2: second\n"]);
}

/// Writes one line after another, and has this back before the next.
fn comes_back(guest: &str, back: [&str; 2]) {
    let mut child = Guarded(
        nesos()
            .args(["run", guest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nesos starts"),
    );
    let mut stdin = child.0.stdin.take().expect("piped");
    let mut stdout = child.0.stdout.take().expect("piped");
    for (line, back) in ["first\n", "second\n"].into_iter().zip(back) {
        stdin.write_all(line.as_bytes()).expect("the guest reads");
        assert_eq!(read_until(&mut stdout, "\n"), back);
    }
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("readable");
    assert!(rest.is_empty());
    assert_eq!(exit_status(child.0.wait().expect("ends")), 0);
}

#[test]
fn a_reader_that_leaves_ends_the_flood() {
    let mut child = Guarded(
        nesos()
            .args(["run", guests::STDOUT_FLOOD])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("nesos starts"),
    );
    let mut some = [0; 64];
    let mut stdout = child.0.stdout.take().expect("piped");
    stdout.read_exact(&mut some).expect("a flood");
    drop(stdout);
    assert_ne!(exit_status(child.0.wait().expect("ends")), 0);
}

#[test]
fn signals_kill_the_task_and_leave_nothing_behind() {
    for name in ["INT", "TERM"] {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut child = Guarded(
            interruptible()
                .args(["run", guests::SLEEP, "600"])
                .env("TMPDIR", scratch.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("nesos starts"),
        );
        // Until then a signal may be ignored, as whoever started the tests has it.
        let comm = format!("/proc/{}/comm", child.0.id());
        while std::fs::read_to_string(&comm).is_ok_and(|comm| comm != "nesos\n") {
            std::thread::yield_now();
        }
        signal(child.0.id(), name);
        let status = exit_status(child.0.wait().expect("ends"));
        assert!(status == 137 || status > 128, "{name}: {status}");
        let left: Vec<_> = std::fs::read_dir(scratch.path())
            .expect("readable")
            .collect();
        assert!(left.is_empty(), "{name} left {left:?}");
    }
}
