//! Tries to make files that are far larger than what is in them: a byte written at 1 TiB, and a
//! length set to 4 TiB. Says what came of each.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

const TEBIBYTE: u64 = 1 << 40;

fn main() {
    report("write at 1 TiB", write_far_out());
    report("length of 4 TiB", set_great_length());
}

fn report(what: &str, result: io::Result<()>) {
    match result {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: refused: {error}"),
    }
}

fn write_far_out() -> io::Result<()> {
    let mut file = File::create("/tmp/far")?;
    file.seek(SeekFrom::Start(TEBIBYTE))?;
    file.write_all(b"x")
}

fn set_great_length() -> io::Result<()> {
    File::create("/tmp/long")?.set_len(4 * TEBIBYTE)
}
