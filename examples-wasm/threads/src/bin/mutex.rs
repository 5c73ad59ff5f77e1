//! Four threads count to a common number under one mutex, then at once with one atomic: neither
//! loses a step.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

const THREADS: u64 = 4;
const STEPS: u64 = 10_000;

fn main() {
    let guarded = Mutex::new(0_u64);
    let atomic = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..STEPS {
                    *guarded.lock().expect("no thread panics") += 1;
                    atomic.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let guarded = guarded.into_inner().expect("no thread panics");
    println!("mutex {guarded} atomic {}", atomic.into_inner());
}
