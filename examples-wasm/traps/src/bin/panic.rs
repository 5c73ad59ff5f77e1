//! Panics with a message, after some output: Rust prints the message to standard error and traps.

fn main() {
    println!("about to panic");
    panic!("the guest gave up");
}
