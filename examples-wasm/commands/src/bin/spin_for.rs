//! Spins for as many million turns as its first argument says, then prints a checksum.

use std::hint::black_box;

fn main() {
    let argument = std::env::args().nth(1);
    let millions: u64 = argument.and_then(|text| text.parse().ok()).unwrap_or(100);
    println!("{:016x}", spin(millions * 1_000_000));
}

/// A linear congruential generator's state after `turns` steps; each step waits for the one before.
fn spin(turns: u64) -> u64 {
    let mut state = black_box(1_u64);
    for _ in 0..turns {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state = black_box(state);
    }
    state
}
