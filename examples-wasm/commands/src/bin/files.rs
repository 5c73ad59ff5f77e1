//! Creates, writes, reads, lists, renames, truncates and deletes files and directories in `/` and
//! in `/tmp`, and says `ok` when each step did what POSIX says.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

fn main() -> io::Result<()> {
    for directory in ["/", "/tmp"] {
        exercise(Path::new(directory))?;
        println!("{directory} ok");
    }
    Ok(())
}

/// Leaves `directory` as it was found.
fn exercise(directory: &Path) -> io::Result<()> {
    let home = directory.join("files-example");
    fs::create_dir(&home)?;
    write_and_read_back(&home.join("note"))?;
    append(&home.join("note"))?;
    seek_and_truncate(&home.join("note"))?;
    rename_and_list(&home)?;
    refuse_what_is_absent(&home)?;
    fs::remove_dir_all(&home)?;
    assert!(!home.exists(), "a removed directory is gone");
    Ok(())
}

fn write_and_read_back(path: &Path) -> io::Result<()> {
    fs::write(path, "one two three")?;
    assert_eq!(fs::read_to_string(path)?, "one two three");
    assert_eq!(fs::metadata(path)?.len(), 13);
    Ok(())
}

fn append(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(b" four")?;
    assert_eq!(fs::read_to_string(path)?, "one two three four");
    Ok(())
}

fn seek_and_truncate(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(4))?;
    file.write_all(b"TWO")?;
    file.set_len(7)?;
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    assert_eq!(text, "one TWO");
    Ok(())
}

fn rename_and_list(home: &Path) -> io::Result<()> {
    fs::create_dir(home.join("inner"))?;
    fs::rename(home.join("note"), home.join("inner/renamed"))?;
    File::create(home.join("second"))?;
    assert_eq!(names_in(home)?, ["inner", "second"]);
    assert_eq!(names_in(&home.join("inner"))?, ["renamed"]);
    Ok(())
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn refuse_what_is_absent(home: &Path) -> io::Result<()> {
    let absent = File::open(home.join("absent")).map(drop);
    assert_eq!(kind_of(absent), Some(io::ErrorKind::NotFound));
    let twice = fs::create_dir(home.join("inner"));
    assert_eq!(kind_of(twice), Some(io::ErrorKind::AlreadyExists));
    Ok(())
}

fn kind_of(result: io::Result<()>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}
