//! Opens a file again and again, closing none, until the host refuses or 100,000 are open, then says
//! how many it held.

use std::{fs::File, io};

const MOST: usize = 100_000;

fn main() -> io::Result<()> {
    File::create("/tmp/held")?;
    let mut held = Vec::new();
    let refusal = loop {
        match File::open("/tmp/held") {
            Ok(file) if held.len() < MOST => held.push(file),
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
    };
    match refusal {
        Some(error) => println!("held {} files: {error}", held.len()),
        None => println!("held {} files: never refused", held.len()),
    }
    Ok(())
}
