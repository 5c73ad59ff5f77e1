//! Recurses until the stack overflows, with frames that live on WebAssembly's own stack.

use std::hint::black_box;

fn main() {
    println!("{}", recurse(black_box(u64::MAX)));
}

/// Not a loop in disguise: what is done with the result keeps the frame alive.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    recurse(depth - 1).rotate_left(7) ^ depth
}
