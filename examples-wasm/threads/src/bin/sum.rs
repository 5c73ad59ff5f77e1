//! Threads
fn main() {}
