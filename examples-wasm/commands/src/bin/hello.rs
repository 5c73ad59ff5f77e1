//! Greets the world, or whomever its first argument names.

fn main() {
    let whom = std::env::args().nth(1);
    println!("Hello, {}!", whom.as_deref().unwrap_or("world"));
}
