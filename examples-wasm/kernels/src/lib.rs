//! What every kernel does around its work: take the number of rounds from the first argument, and
//! print a checksum, so that no optimiser may leave the work out and no two hosts may differ.

/// Runs `kernel` for as many rounds as the first argument says (`default` if there is none) and
/// prints `<name> <rounds> <checksum>`.
pub fn run(name: &str, default: u64, kernel: impl FnOnce(u64) -> u64) {
    let argument = std::env::args().nth(1);
    let rounds = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(default);
    println!("{name} {rounds} {:016x}", kernel(rounds));
}

/// A small generator of reproducible numbers (xorshift64*, Vigna 2016).
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts the sequence that belongs to `seed`, which must not be zero.
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0, "zero would stay zero");
        Self(seed)
    }

    /// The next of the sequence, over all 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next of the sequence, below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * bound as u128;
        (wide >> 64) as usize
    }
}

/// Mixes `value` into a checksum, so that order and every bit count.
pub fn mix(checksum: u64, value: u64) -> u64 {
    (checksum.rotate_left(5) ^ value).wrapping_mul(0x517C_C1B7_2722_0A95)
}
