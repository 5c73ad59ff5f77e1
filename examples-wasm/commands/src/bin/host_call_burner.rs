//! Reads the clock in a loop, for ever or as many thousand times as its first argument says: nearly
//! all of its CPU time is spent in the host.

use std::time::Instant;

fn main() {
    let argument = std::env::args().nth(1);
    let thousands: u64 = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::MAX / 1_000);
    let start = Instant::now();
    let mut latest = start;
    for _ in 0..thousands * 1_000 {
        latest = Instant::now();
    }
    assert!(latest >= start, "the clock never goes back");
    println!("read the clock {thousands} thousand times");
}
