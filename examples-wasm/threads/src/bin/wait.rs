//! Starts as many threads as its first argument says (three, if absent), all of which, the first one
//! too, wait on an atomic for a wake that nobody sends: only a kill ends them.

use std::{
    sync::{Arc, Barrier},
    thread,
};

fn main() {
    let argument = std::env::args().nth(1);
    let count: usize = argument.and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("{count} threads wait");
    // One place more than there will ever be threads to fill it.
    let barrier = Arc::new(Barrier::new(count + 2));
    for _ in 0..count {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || barrier.wait());
    }
    barrier.wait();
}
