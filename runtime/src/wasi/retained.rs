//! Output that is kept on the host: bounded, rotated, never in the guest's way.
//!
//! At most `max_bytes` lie on disk, in the current file and in one older beside it, which is named after
//! the offset of its first byte: so a reader knows which bytes of the output it has before it. The files,
//! and their directory, appear with the first byte written: most tasks never write to stderr, and making a
//! file is dear beside a short task.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A bounded, rotated file of output. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct RetainedOutput(Arc<Mutex<Rotation>>);

#[derive(Debug)]
struct Rotation {
    path: PathBuf,
    file: Option<File>,
    /// Bytes written before the current file began.
    offset: u64,
    /// Bytes in the current file.
    len: u64,
    /// The older file, if there is one.
    older: Option<PathBuf>,
    /// The current file is rotated out rather than made longer than this.
    max_file: u64,
}

impl RetainedOutput {
    /// Output into `path`, of which the last `max_bytes` or so are kept: half of them in `path` itself and
    /// as many, older ones, in `path` with their offset appended. Nothing is created before the first
    /// write.
    #[must_use]
    pub fn create(path: &Path, max_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Rotation {
            path: path.to_owned(),
            file: None,
            offset: 0,
            len: 0,
            older: None,
            max_file: max_bytes / 2,
        })))
    }

    /// The older files beside `path`, each with the offset of its first byte, in order. There may be two
    /// while one takes the place of the other; the file `path` itself, if it is there, goes on where the
    /// last one ends.
    pub fn older(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Vec::new());
        };
        let mut older = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let found = entry.file_name();
            let offset = found
                .as_encoded_bytes()
                .strip_prefix(name.as_encoded_bytes())
                .and_then(|rest| str::from_utf8(rest.strip_prefix(b".")?).ok()?.parse().ok());
            older.extend(offset.map(|offset| (offset, entry.path())));
        }
        older.sort_unstable();
        Ok(older)
    }

    /// Appends `bytes`; what would have been rotated out at once is not written at all.
    ///
    /// # Errors
    /// If the host cannot write.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(bytes)
    }
}

impl Rotation {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.max_file == 0 {
            return Ok(());
        }
        let max_file = usize::try_from(self.max_file).unwrap_or(usize::MAX);
        for part in bytes.chunks(max_file) {
            let len = part.len() as u64;
            if self.len + len > self.max_file {
                self.rotate()?;
            }
            self.file()?.write_all(part)?;
            self.len += len;
        }
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(create(&self.path)?)),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{}", self.offset));
        std::fs::rename(&self.path, &name)?;
        if let Some(oldest) = self.older.replace(name.into()) {
            std::fs::remove_file(oldest)?;
        }
        self.file = None;
        self.offset += self.len;
        self.len = 0;
        Ok(())
    }
}

/// Creates the file, and its directory if that is missing.
fn create(path: &Path) -> io::Result<File> {
    match (File::create(path), path.parent()) {
        (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory)?;
            File::create(path)
        }
        (created, _) => created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_bytes_in_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let output = RetainedOutput::create(&path, 8);
        assert!(!path.exists());
        for line in ["aaa", "bbb", "cc", "ddd"] {
            output.append(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ddd");
        let older = RetainedOutput::older(&path).unwrap();
        assert_eq!(older, [(6, dir.path().join("stdout.6"))]);
        assert_eq!(std::fs::read_to_string(&older[0].1).unwrap(), "cc");
    }

    #[test]
    fn a_flood_in_one_write_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/when/needed/stdout");
        RetainedOutput::create(&path, 64)
            .append(&[b'x'; 1000])
            .unwrap();
        let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(files.len(), 2);
        let total: u64 = files
            .iter()
            .map(|file| file.as_ref().unwrap().metadata().unwrap().len())
            .sum();
        assert!((32..=64).contains(&total), "{total} bytes kept");
    }
}
