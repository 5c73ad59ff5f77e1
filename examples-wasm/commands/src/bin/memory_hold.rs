//! Fills as many mebibytes as its first argument says (64, if absent), says so, and holds them for as
//! many seconds as its second says (none, if absent).

use std::{hint::black_box, thread, time::Duration};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(64);
    let seconds: f64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    let held = black_box(vec![0x5A_u8; mebibytes << 20]);
    println!("holding {} MiB", held.len() >> 20);
    thread::sleep(Duration::from_secs_f64(seconds));
}
