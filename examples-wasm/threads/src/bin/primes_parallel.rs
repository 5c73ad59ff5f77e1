//! Counts the primes below a limit (its first argument; four million, if absent) on several threads
//! (its second; two, if absent), and says what each found.

use std::thread;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        let argument = arguments.next();
        argument
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (limit, count): (u64, u64) = (number(4_000_000), number(2));
    let threads: Vec<_> = (0..count)
        .map(|first| thread::spawn(move || count_primes(first, limit, count)))
        .collect();
    let mut total = 0;
    for (index, thread) in threads.into_iter().enumerate() {
        let found = thread.join().expect("no thread panics");
        println!("thread {index}: {found} primes");
        total += found;
    }
    println!("{total} primes below {limit}");
}

/// Of `first`, `first + step`, … below `limit`: interleaved with the candidates of other threads, but
/// in blocks, so that none gets only even numbers.
fn count_primes(first: u64, limit: u64, step: u64) -> u64 {
    const BLOCK: u64 = 10_000;
    (0..limit.div_ceil(BLOCK))
        .filter(|block| block % step == first)
        .flat_map(|block| block * BLOCK..limit.min((block + 1) * BLOCK))
        .filter(|&number| is_prime(number))
        .count() as u64
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
