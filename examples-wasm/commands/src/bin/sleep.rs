//! Sleeps for as many seconds as its first argument says (fractions allowed), in as many equal
//! steps as its second argument says (one, if absent), then says so.

use std::{thread, time::Duration};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1.0);
    let steps: u32 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let step = Duration::from_secs_f64(seconds) / steps.max(1);
    for _ in 0..steps {
        thread::sleep(step);
    }
    println!("slept {seconds} s in {steps} steps");
}
