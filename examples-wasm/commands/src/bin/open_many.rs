//! Opens a file 1,000 times, or as often as its first argument says, one after another, closing each
//! before the next: what a compiler does with its headers.

use std::{
    fs::{self, File},
    io::{self, Read},
};

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    let times: u32 = argument.and_then(|text| text.parse().ok()).unwrap_or(1_000);
    fs::write("/tmp/header", "x")?;
    let mut bytes = 0;
    for _ in 0..times {
        bytes += File::open("/tmp/header")?.read(&mut [0; 8])?;
    }
    fs::remove_file("/tmp/header")?;
    println!("opened {times} files, read {bytes} bytes");
    Ok(())
}
