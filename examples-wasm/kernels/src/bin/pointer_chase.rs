//! Follows one cycle through four million places in random order: each load waits for the one
//! before, and nearly every one misses the caches. A round is a million steps.

use nesos_kernels::{Numbers, mix, run};

const PLACES: usize = 4 << 20;
const STEPS_PER_ROUND: u64 = 1_000_000;

fn main() {
    run("pointer_chase", 5, |rounds| {
        let next = single_cycle();
        let mut place = 0;
        for _ in 0..rounds * STEPS_PER_ROUND {
            place = next[place as usize];
        }
        mix(0, place.into())
    });
}

/// A permutation of one cycle (Sattolo 1986), so that no walk ends early in a short one.
fn single_cycle() -> Vec<u32> {
    let mut numbers = Numbers::new(13);
    let mut next: Vec<u32> = (0..PLACES as u32).collect();
    for i in (1..PLACES).rev() {
        next.swap(i, numbers.below(i));
    }
    next
}
