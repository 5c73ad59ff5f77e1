//! Writes to standard output without end, or as many mebibytes as its first argument says.

use std::io::{self, Write};

const MEBIBYTE: usize = 1 << 20;

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    let most: usize = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(usize::MAX);
    let block = numbered_lines();
    let mut output = io::stdout().lock();
    for _ in 0..most {
        output.write_all(&block)?;
    }
    output.flush()
}

/// A mebibyte of lines of 64 bytes, so that what was kept of a flood can be told to be whole lines.
fn numbered_lines() -> Vec<u8> {
    let mut block = Vec::with_capacity(MEBIBYTE);
    for number in 0..MEBIBYTE / 64 {
        block.extend_from_slice(format!("{number:063}\n").as_bytes());
    }
    block
}
