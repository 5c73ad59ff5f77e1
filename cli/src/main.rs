//! The nesos command line.
fn main() {}
