//! Sieve of Eratosthenes over the first four million numbers: byte stores at growing strides.
fn main() {}
