//! Writes a file (or the one that its second argument names) until the host refuses or it has 1 GiB (or
//! as many mebibytes as its first argument says), then says how far it came.

use std::{
    fs::File,
    io::{self, Write},
};

const MEBIBYTE: usize = 1 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let most: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1024);
    let path = arguments.next().unwrap_or_else(|| "/tmp/fill".to_owned());
    let mut file = File::create(path)?;
    let block = vec![0x5A; MEBIBYTE];
    for written in 0..most {
        if let Err(error) = file.write_all(&block) {
            println!("refused after {written} MiB: {error}");
            return Ok(());
        }
    }
    println!("wrote {most} MiB");
    Ok(())
}
