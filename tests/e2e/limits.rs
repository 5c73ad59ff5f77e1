//! Each limit ends a task in its own way, and says which.

use nesos_artifacts::wasip1 as guests;

use crate::harness::{Outcome, run_with};

fn fuel_message(outcome: &Outcome) -> &str {
    outcome
        .stderr
        .lines()
        .find(|line| line.contains("fuel"))
        .expect("a line about fuel")
}

#[test]
fn fuel_ends_a_task_at_the_same_instruction() {
    let runs: Vec<Outcome> = (0..3)
        .map(|_| {
            run_with(&["--fuel", "5000000"], guests::SPIN)
                .go()
                .exits(134)
        })
        .collect();
    for outcome in &runs {
        assert_eq!(fuel_message(outcome), fuel_message(&runs[0]));
    }
}

#[test]
fn enough_fuel_is_enough() {
    run_with(&["--fuel", "50000000"], guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n");
}

#[test]
fn metering_by_fuel_runs_to_the_end() {
    run_with(&["--metering", "fuel", "--cpus", "0.5"], guests::SPIN_FOR)
        .args(&["20"])
        .go()
        .exits(0);
}

#[test]
fn a_guest_that_sleeps_is_ended_by_the_time_limit() {
    run_with(&["--timeout", "100ms"], guests::SLEEP)
        .args(&["60"])
        .go()
        .exits(124)
        .says("time");
}

#[test]
fn a_guest_in_a_host_call_is_ended_by_the_time_limit() {
    run_with(&["--timeout", "100ms"], guests::HOST_CALL_BURNER)
        .go()
        .exits(124)
        .says("time");
}

#[test]
fn a_mounted_directory_is_the_hosts() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("input"), "from the host").expect("written");
    let mount = format!("{}::/shared", directory.path().display());
    run_with(&["--dir", &mount], guests::READ_FILE)
        .args(&["/shared/input"])
        .go()
        .exits(0)
        .prints("from the host");
    run_with(&["--dir", &mount], guests::WRITE_FILE)
        .args(&["/shared/output", "from the guest"])
        .go()
        .exits(0);
    let written = std::fs::read_to_string(directory.path().join("output")).expect("readable");
    assert_eq!(written, "from the guest");
}

#[test]
fn a_read_only_mount_is_not_written_to() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("input"), "as it was").expect("written");
    let mount = format!("{}::/shared:ro", directory.path().display());
    run_with(&["--dir", &mount], guests::WRITE_FILE)
        .args(&["/shared/input", "changed"])
        .go()
        .exits(1)
        .says("/shared/input");
    let there = std::fs::read_to_string(directory.path().join("input")).expect("readable");
    assert_eq!(there, "as it was");
}
