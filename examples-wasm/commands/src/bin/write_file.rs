//! Writes its second argument to the file that its first argument names; exits with 1 and the reason
//! if it may not.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, text] = arguments.as_slice() else {
        eprintln!("usage: write_file PATH TEXT");
        return ExitCode::from(2);
    };
    match std::fs::write(path, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
