//! Sums squares on several threads (its first argument; four, if absent), joins them all and prints
//! the total: a program that more than one CPU makes faster.

use std::{hint::black_box, thread};

const NUMBERS: u64 = 100_000_000;

fn main() {
    let argument = std::env::args().nth(1);
    let count: u64 = argument.and_then(|text| text.parse().ok()).unwrap_or(4);
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let share = NUMBERS * index / count..NUMBERS * (index + 1) / count;
            thread::spawn(move || sum_of_squares(share))
        })
        .collect();
    let total = threads
        .into_iter()
        .map(|thread| thread.join().expect("no thread panics"))
        .fold(0_u64, u64::wrapping_add);
    println!("{total:016x}");
}

fn sum_of_squares(numbers: std::ops::Range<u64>) -> u64 {
    numbers.fold(0, |sum: u64, number| {
        sum.wrapping_add(black_box(number).wrapping_mul(number))
    })
}
