//! Prints every figure that Nesos promises.
fn main() {}
