//! Output that is kept on the host: bounded, rotated, never in the guest's way.
//!
//! At most `max_bytes` lie on disk, in the current file and in one older beside it. The files appear with
//! the first byte written: most tasks never write to stderr, and making a file is dear beside a short task.

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
    /// Bytes in the current file.
    len: u64,
    /// The current file is rotated out rather than made longer than this.
    max_file: u64,
}

impl RetainedOutput {
    /// Output into `path`, of which the last `max_bytes` or so are kept: half of them in `path` itself and
    /// as many, older ones, in `path` with `.1` appended. Nothing is created before the first write.
    #[must_use]
    pub fn create(path: &Path, max_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Rotation {
            path: path.to_owned(),
            file: None,
            len: 0,
            max_file: max_bytes / 2,
        })))
    }

    /// The older file beside `path`.
    #[must_use]
    pub fn rotated(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".1");
        name.into()
    }

    /// Appends `bytes`; what would have been rotated out at once is not written at all.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
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
            none => Ok(none.insert(File::create(&self.path)?)),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, RetainedOutput::rotated(&self.path))?;
        self.file = None;
        self.len = 0;
        Ok(())
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
        let older = std::fs::read_to_string(RetainedOutput::rotated(&path)).unwrap();
        assert_eq!(older, "cc");
    }

    #[test]
    fn a_flood_in_one_write_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        RetainedOutput::create(&path, 64)
            .append(&[b'x'; 1000])
            .unwrap();
        let files = [path.clone(), RetainedOutput::rotated(&path)];
        let total: u64 = files.iter().map(|f| f.metadata().unwrap().len()).sum();
        assert!((32..=64).contains(&total), "{total} bytes kept");
    }
}
