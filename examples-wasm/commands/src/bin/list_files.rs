//! Lists all that lies below the directory that its first argument names (`/`, if absent), sorted,
//! directories with a slash at the end and files with their length.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = std::env::args().nth(1).unwrap_or_else(|| "/".to_owned());
    let mut lines = Vec::new();
    list(Path::new(&root), &mut lines)?;
    lines.sort();
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn list(directory: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            lines.push(format!("{}/", path.display()));
            list(&path, lines)?;
        } else {
            lines.push(format!("{} {}", path.display(), entry.metadata()?.len()));
        }
    }
    Ok(())
}
