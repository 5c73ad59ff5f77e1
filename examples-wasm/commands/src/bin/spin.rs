//! Spins for ever, without a single host call.

use std::hint::black_box;

fn main() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
