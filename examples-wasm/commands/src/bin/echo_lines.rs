//! Echoes each line of its input with its number, at once, until the line `bye` or the end: for an interactive
//! session.

use std::io::{self, BufRead as _, Write as _};

fn main() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        writeln!(stdout, "{}: {line}", number + 1)?;
        stdout.flush()?;
        if line == "bye" {
            break;
        }
    }
    Ok(())
}
