//! Does nothing: what is left is what starting a Rust command costs.

fn main() {}
