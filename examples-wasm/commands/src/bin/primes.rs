//! Counts the primes below a limit (its first argument; four million, if absent) by trial division,
//! says how it gets on, and prints the count and the largest: visible work for half a second or so.

use std::io::{self, Write};

const STEPS: u64 = 4;

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    let limit: u64 = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(4_000_000);
    let (mut count, mut largest) = (0_u64, 0);
    for step in 0..STEPS {
        let candidates = limit * step / STEPS..limit * (step + 1) / STEPS;
        for candidate in candidates.filter(|&number| is_prime(number)) {
            count += 1;
            largest = candidate;
        }
        writeln!(
            io::stderr(),
            "{:3} %: {count} primes so far",
            (step + 1) * 100 / STEPS
        )?;
    }
    println!("{count} primes below {limit}, the largest is {largest}");
    Ok(())
}

fn is_prime(number: u64) -> bool {
    if number < 4 {
        return number >= 2;
    }
    if number.is_multiple_of(2) || number.is_multiple_of(3) {
        return false;
    }
    (5..)
        .step_by(6)
        .take_while(|divisor| divisor * divisor <= number)
        .all(|divisor| !number.is_multiple_of(divisor) && !number.is_multiple_of(divisor + 2))
}
