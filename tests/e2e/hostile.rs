//! Modules that mean harm: each ends within its limits, with a reason, and the next task runs.

use nesos_artifacts::hostile as guests;

use crate::harness::{Outcome, run_with};

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_hostile!(is_tested);

fn bounded(guest: &str) -> Outcome {
    run_with(&["--mem", "128MiB", "--timeout", "300ms"], guest).go()
}

#[test]
fn import_unknown() {
    let outcome = bounded(guests::IMPORT_UNKNOWN)
        .says("env")
        .says("summon_demon");
    assert_ne!(outcome.status, 0);
}

#[test]
fn iovecs() {
    bounded(guests::IOVECS).exits(134);
}

#[test]
fn memory_fill() {
    bounded(guests::MEMORY_FILL).exits(124);
}

#[test]
fn memory_grow_loop() {
    bounded(guests::MEMORY_GROW_LOOP).exits(124);
}

#[test]
fn memory_minimum() {
    let outcome = bounded(guests::MEMORY_MINIMUM)
        .says("4 GiB")
        .says("128 MiB");
    assert_ne!(outcome.status, 0);
}

#[test]
fn no_start() {
    let outcome = bounded(guests::NO_START).says("_start");
    assert_ne!(outcome.status, 0);
}

#[test]
fn pointers_wild() {
    let outcome = bounded(guests::POINTERS_WILD);
    assert!([0, 134].contains(&outcome.status), "{outcome}");
}

#[test]
fn poll_forever() {
    bounded(guests::POLL_FOREVER).exits(124);
}

#[test]
fn random_flood() {
    let outcome = run_with(
        &["--mem", "1200MiB", "--timeout", "300ms"],
        guests::RANDOM_FLOOD,
    )
    .go();
    assert!([124, 134].contains(&outcome.status), "{outcome}");
}

#[test]
fn recursion() {
    bounded(guests::RECURSION).exits(134).says("stack");
}

#[test]
fn start_loop() {
    bounded(guests::START_LOOP).exits(124);
}

#[test]
fn subscriptions() {
    bounded(guests::SUBSCRIPTIONS).exits(134);
}

#[test]
fn table_grow() {
    bounded(guests::TABLE_GROW).exits(134);
}

#[test]
fn table_minimum() {
    let outcome = run_with(&["--mem", "16MiB"], guests::TABLE_MINIMUM).go();
    assert_ne!(outcome.status, 0, "{outcome}");
}

#[test]
fn tables_many() {
    let outcome = run_with(&["--mem", "16MiB"], guests::TABLES_MANY).go();
    assert_ne!(outcome.status, 0, "{outcome}");
}

#[test]
fn thread_bomb() {
    bounded(guests::THREAD_BOMB).exits(124);
}

#[test]
fn wait_forever() {
    bounded(guests::WAIT_FOREVER).exits(124);
}

#[test]
fn world_unknown() {
    let outcome = bounded(guests::WORLD_UNKNOWN)
        .says("world")
        .says("wasi:cli/run");
    assert_ne!(outcome.status, 0);
}
