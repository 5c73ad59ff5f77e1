//! Reads its input to the end, and then spins for ever: an owner of CPU that does not need it yet.

use std::hint::black_box;
use std::io;

fn main() {
    io::copy(&mut io::stdin(), &mut io::sink()).expect("stdin can be read");
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
