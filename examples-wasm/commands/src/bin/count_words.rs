//! Counts the lines, words and bytes of standard input, as `wc` does.

use std::io::{self, BufRead};

fn main() -> io::Result<()> {
    let (mut lines, mut words, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut line = Vec::new();
    let mut input = io::stdin().lock();
    while input.read_until(b'\n', &mut line)? > 0 {
        lines += u64::from(line.ends_with(b"\n"));
        words += count_words(&line);
        bytes += line.len() as u64;
        line.clear();
    }
    println!("{lines} {words} {bytes}");
    Ok(())
}

fn count_words(line: &[u8]) -> u64 {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .count() as u64
}
