//! Traps with `unreachable`, three named functions deep, so that a backtrace has something to show.

fn main() {
    outer();
}

#[inline(never)]
fn outer() {
    middle();
}

#[inline(never)]
fn middle() {
    innermost();
}

#[inline(never)]
fn innermost() {
    core::arch::wasm32::unreachable()
}
