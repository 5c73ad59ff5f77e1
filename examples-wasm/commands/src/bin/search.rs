//! Prints the lines of its input that match the regular expression in its first argument, and exits with 1 if
//! there are none. With `--when` in place of it says, in nanoseconds since 1970, when its first
//! instructions ran.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;

fn main() -> io::Result<ExitCode> {
    let began = SystemTime::now();
    let pattern = std::env::args().nth(1).unwrap_or_default();
    let mut stdout = io::stdout().lock();
    if pattern == "--when" {
        let since = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(stdout, "{}", since.as_nanos())?;
        return Ok(ExitCode::SUCCESS);
    }
    let pattern = match Regex::new(&pattern) {
        Ok(pattern) => pattern,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut found = ExitCode::FAILURE;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if pattern.is_match(&line) {
            writeln!(stdout, "{line}")?;
            found = ExitCode::SUCCESS;
        }
    }
    Ok(found)
}
