//! Exits with the status that its first argument says.
//!
//! WASI 0.2 knows only success and failure: a component's statuses beyond 0 all become 1.

fn main() {
    let code = std::env::args().nth(1).and_then(|code| code.parse().ok());
    let Some(code) = code else {
        eprintln!("usage: exit_code STATUS");
        std::process::exit(2);
    };
    std::process::exit(code);
}
