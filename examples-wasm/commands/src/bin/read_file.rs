//! Writes the files that its arguments name to standard output, one after another.

use std::{fs::File, io};

fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for path in std::env::args().skip(1) {
        io::copy(&mut File::open(path)?, &mut output)?;
    }
    Ok(())
}
