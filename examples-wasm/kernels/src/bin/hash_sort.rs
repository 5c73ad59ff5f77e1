//! Counts numbers in a hash table, then sorts what came out: hashing, probing, branches that cannot
//! be foretold. A round is 50,000 numbers.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use nesos_kernels::{Numbers, mix, run};

const NUMBERS_PER_ROUND: usize = 50_000;
const DISTINCT: usize = 20_000;

fn main() {
    run("hash_sort", 100, |rounds| {
        let mut numbers = Numbers::new(7);
        (0..rounds).fold(0, |sum, _| mix(sum, round(&mut numbers)))
    });
}

fn round(numbers: &mut Numbers) -> u64 {
    let mut counts: HashMap<u64, u64, BuildHasherDefault<Mixer>> = HashMap::default();
    for _ in 0..NUMBERS_PER_ROUND {
        *counts.entry(numbers.below(DISTINCT) as u64).or_default() += 1;
    }
    let mut ranking: Vec<(u64, u64)> = counts.into_iter().map(|(key, n)| (n, key)).collect();
    ranking.sort_unstable();
    ranking
        .into_iter()
        .fold(0, |sum, (n, key)| mix(mix(sum, n), key))
}

/// A hasher without a random seed: the same work on each run.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0, value);
    }
}
