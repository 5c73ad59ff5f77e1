//! Commands for WASI 0.3.

use nesos_artifacts::wasip3 as guests;

use crate::harness::run;

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_wasip3!(is_tested);

#[test]
fn cat() {
    let input = vec![b'x'; 300_000];
    let outcome = run(guests::CAT).input(input.clone()).go().exits(0);
    assert!(outcome.stdout == input, "{outcome}");
}

#[test]
fn hello() {
    run(guests::HELLO)
        .args(&["island"])
        .go()
        .exits(0)
        .prints("Hello, island!\n");
}

#[test]
fn sleep() {
    run(guests::SLEEP).args(&["20"]).go().exits(0);
}

#[test]
fn trap() {
    run(guests::TRAP).go().exits(134).says("unreachable");
}
