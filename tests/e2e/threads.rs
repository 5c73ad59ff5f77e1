//! Commands with threads.

use nesos_artifacts::threads as guests;

use crate::harness::run_with;

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_threads!(is_tested);

#[test]
fn matrix() {
    let sum_with = |threads: &str| {
        run_with(&["--cpus", "2"], guests::MATRIX)
            .args(&["128", threads])
            .go()
            .exits(0)
            .text()
            .to_owned()
    };
    let alone = sum_with("1");
    assert_eq!(alone.trim().len(), 16);
    assert_eq!(alone, sum_with("3"));
}

#[test]
fn mutex() {
    run_with(&["--cpus", "2"], guests::MUTEX).go().exits(0);
}

#[test]
fn primes_parallel() {
    run_with(&["--cpus", "2"], guests::PRIMES_PARALLEL)
        .args(&["1000"])
        .go()
        .exits(0)
        .output_holds("168");
}

#[test]
fn sum() {
    run_with(&["--cpus", "2"], guests::SUM).go().exits(0);
}

#[test]
fn trap() {
    run_with(&["--cpus", "2"], guests::TRAP)
        .go()
        .exits(134)
        .says("trap");
}

#[test]
fn wait() {
    run_with(&["--cpus", "2", "--timeout", "200ms"], guests::WAIT)
        .go()
        .exits(124)
        .says("time");
}

#[test]
fn sleepers() {
    run_with(&["--cpus", "2", "--timeout", "200ms"], guests::SLEEPERS)
        .go()
        .exits(124)
        .says("time");
}
