//! Prints a numbered line at regular intervals: as many as its first argument says (ten, if absent),
//! as many milliseconds apart as its second says (100, if absent).

use std::{thread, time::Duration};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        let argument = arguments.next();
        argument
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (count, apart_ms): (u64, u64) = (number(10), number(100));
    for tick in 1..=count {
        println!("tick {tick}");
        thread::sleep(Duration::from_millis(apart_ms));
    }
}
