//! Prints its arguments in order and its environment sorted by name, one a line, quoted as Rust
//! quotes, so that spaces, quotes and empty strings can be told apart.

fn main() {
    for (index, argument) in std::env::args().enumerate() {
        println!("arg {index} {argument:?}");
    }
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("env {name}={value:?}");
    }
}
