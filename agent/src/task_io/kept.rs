//! A task's kept output, read from its first byte on, whatever is rotated out meanwhile.
//!
//! Reading is plain file I/O; who reads where waiting is not welcome reads on a thread for it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nesos_runtime::RetainedOutput;

/// How much is read at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// A reader of one stream of output.
#[derive(Debug)]
pub(super) struct KeptOutput {
    path: PathBuf,
    /// Of the next byte, counted from the task's first byte of output.
    offset: u64,
    file: Option<File>,
}

/// A file that holds a part of the output.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    offset: u64,
    bytes: u64,
    path: PathBuf,
}

impl KeptOutput {
    /// Of the output in `path` and in the older files beside it, which need not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            file: None,
        }
    }

    /// The next bytes with the offset of their first; `None` if there are none for now. Bytes that were
    /// rotated out before they were read are left out.
    pub(super) fn read(&mut self) -> io::Result<Option<(u64, Bytes)>> {
        loop {
            if let Some(file) = &mut self.file {
                let mut bytes = Vec::new();
                file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
                if !bytes.is_empty() {
                    let offset = self.offset;
                    self.offset += bytes.len() as u64;
                    return Ok(Some((offset, bytes.into())));
                }
            }
            // The end of this file, for now: whatever there is beyond it is in a newer one.
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }

    /// Opens the file that holds the next bytes. Whether there is one.
    fn open_next(&mut self) -> io::Result<bool> {
        loop {
            let before = parts(&self.path)?;
            let next = before
                .iter()
                .find(|part| part.offset + part.bytes > self.offset);
            let Some(next) = next else {
                return Ok(false);
            };
            let file = match File::open(&next.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            // Only if nothing was rotated meanwhile is this the file that was looked for.
            let after = parts(&self.path)?;
            if after
                .iter()
                .any(|part| part.offset == next.offset && part.path == next.path)
            {
                return self.enter(file, next.offset).map(|()| true);
            }
        }
    }

    fn enter(&mut self, mut file: File, begin: u64) -> io::Result<()> {
        self.offset = self.offset.max(begin);
        file.seek(SeekFrom::Start(self.offset - begin))?;
        self.file = Some(file);
        Ok(())
    }
}

/// The files that hold the output, in order.
fn parts(path: &Path) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut end = 0;
    let older = match RetainedOutput::older(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parts),
        older => older?,
    };
    for (offset, path) in older {
        if let Some(bytes) = size(&path)? {
            end = offset + bytes;
            parts.push(Part {
                offset,
                bytes,
                path,
            });
        }
    }
    if let Some(bytes) = size(path)? {
        parts.push(Part {
            offset: end,
            bytes,
            path: path.to_owned(),
        });
    }
    Ok(parts)
}

fn size(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything there is to read, as offsets and texts.
    fn drain(output: &mut KeptOutput) -> Vec<(u64, String)> {
        std::iter::from_fn(|| output.read().expect("readable"))
            .map(|(offset, bytes)| (offset, String::from_utf8(bytes.to_vec()).expect("text")))
            .collect()
    }

    fn written(text: &str) -> (u64, String) {
        (0, text.to_owned())
    }

    #[test]
    fn output_that_is_not_there_yet_is_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut output = KeptOutput::new(directory.path().join("no/such/stdout"));
        assert_eq!(drain(&mut output), []);
    }

    #[test]
    fn what_is_written_later_is_read_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("stdout");
        let mut output = KeptOutput::new(path.clone());
        std::fs::write(&path, "one").expect("written");
        assert_eq!(drain(&mut output), [written("one")]);
        std::fs::write(&path, "onetwo").expect("written");
        assert_eq!(drain(&mut output), [(3, "two".to_owned())]);
    }

    #[test]
    fn a_reader_goes_on_behind_a_rotation() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("stdout");
        let mut output = KeptOutput::new(path.clone());
        std::fs::write(&path, "one").expect("written");
        assert_eq!(drain(&mut output), [written("one")]);
        std::fs::write(&path, "onetwo").expect("written");
        std::fs::rename(&path, directory.path().join("stdout.0")).expect("rotated");
        std::fs::write(&path, "three").expect("written");
        let rest = [(3, "two".to_owned()), (6, "three".to_owned())];
        assert_eq!(drain(&mut output), rest);
    }

    #[test]
    fn what_was_rotated_out_is_a_gap() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("stdout");
        std::fs::write(directory.path().join("stdout.10"), "old").expect("written");
        std::fs::write(&path, "new").expect("written");
        let mut output = KeptOutput::new(path);
        let kept = [(10, "old".to_owned()), (13, "new".to_owned())];
        assert_eq!(drain(&mut output), kept);
    }
}
