//! Answers each line of standard input at once with the same line in capitals: what is typed comes
//! back before the next line is.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(output, "{}", line?.to_uppercase())?;
        output.flush()?;
    }
    Ok(())
}
