//! Starts four threads that spin for ever and a fifth that traps, and waits for them all: the trap
//! must end the task, spinning threads and all.

use std::{hint::black_box, thread};

fn main() {
    let spinning: Vec<_> = (0..4).map(|_| thread::spawn(spin)).collect();
    thread::spawn(trap);
    for thread in spinning {
        // Never comes back: the task ends with the trap.
        let _ = thread.join();
    }
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[inline(never)]
fn trap() {
    core::arch::wasm32::unreachable()
}
