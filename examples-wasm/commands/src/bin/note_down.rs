//! Waits as many milliseconds as its third argument says, then adds its second argument as a line to the file that
//! its first names, in one write: whoever counts the lines knows how often it ran to here.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, line, milliseconds] = arguments.as_slice() else {
        eprintln!("usage: note_down PATH LINE MILLISECONDS");
        return ExitCode::from(2);
    };
    std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0)));
    let file = File::options().create(true).append(true).open(path);
    match file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
