//! Four threads, and the first one too, sleep for as many seconds as its first argument says (a day,
//! if absent), then it says so: threads that are all in a host call.

use std::{thread, time::Duration};

fn main() {
    let argument = std::env::args().nth(1);
    let seconds: f64 = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(86_400.0);
    let nap = Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || thread::sleep(nap)))
        .collect();
    thread::sleep(nap);
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    println!("slept {seconds} s");
}
