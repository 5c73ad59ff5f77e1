//! The sieve of Eratosthenes over the first four million numbers: byte stores at growing strides. A
//! round is one sieve.

use nesos_kernels::{mix, run};

const LIMIT: usize = 4_000_000;

fn main() {
    run("sieve", 10, |rounds| {
        (0..rounds).fold(0, |sum, _| mix(sum, count_primes()))
    });
}

fn count_primes() -> u64 {
    let mut composite = vec![false; LIMIT];
    for number in 2.. {
        if number * number >= LIMIT {
            break;
        }
        if !composite[number] {
            for multiple in (number * number..LIMIT).step_by(number) {
                composite[multiple] = true;
            }
        }
    }
    composite
        .iter()
        .skip(2)
        .filter(|&&crossed| !crossed)
        .count() as u64
}
