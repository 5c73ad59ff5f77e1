//! Grows its memory by a mebibyte at a time until the host refuses, then says how much it got: a
//! refused `memory.grow` is an answer, not an end.

use core::arch::wasm32::{memory_grow, memory_size};

const PAGE_BYTES: usize = 64 * 1024;
const STEP_PAGES: usize = 16;

fn main() {
    let before = memory_size::<0>();
    while memory_grow::<0>(STEP_PAGES) != usize::MAX {}
    let after = memory_size::<0>();
    println!(
        "grew from {} to {} bytes",
        before * PAGE_BYTES,
        after * PAGE_BYTES
    );
}
