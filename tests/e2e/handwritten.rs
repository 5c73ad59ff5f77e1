//! Modules written by hand, each for one feature of WebAssembly.

use nesos_artifacts::handwritten as guests;

use crate::harness::run;

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_handwritten!(is_tested);

#[test]
fn exception_uncaught() {
    run(guests::EXCEPTION_UNCAUGHT)
        .go()
        .exits(134)
        .says("exception");
}

#[test]
fn exceptions() {
    run(guests::EXCEPTIONS).go().exits(42);
}

#[test]
fn noop_bare() {
    run(guests::NOOP_BARE)
        .go()
        .exits(0)
        .prints("")
        .says_nothing();
}

#[test]
fn simd() {
    run(guests::SIMD).go().exits(9);
}

#[test]
fn tail_calls() {
    run(guests::TAIL_CALLS).go().exits(7);
}
