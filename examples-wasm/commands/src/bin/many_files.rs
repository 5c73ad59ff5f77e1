//! Creates empty files until the host refuses or there are 30,000 (or as many as its first argument
//! says), then says how many there are.

use std::{
    fs::{self, File},
    io,
};

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    let most: u32 = argument
        .and_then(|text| text.parse().ok())
        .unwrap_or(30_000);
    fs::create_dir_all("/tmp/many")?;
    for created in 0..most {
        if let Err(error) = File::create(format!("/tmp/many/{created}")) {
            println!("refused after {created} files: {error}");
            return Ok(());
        }
    }
    println!("created {most} files");
    Ok(())
}
