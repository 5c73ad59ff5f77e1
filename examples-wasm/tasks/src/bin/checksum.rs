//! Sums up the files of a volume with SHA-256, like `sha256sum`. The volume is where its first argument says,
//! `/data` if there is none; progress is the number of files, and the result is the sum of all lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nesos_guest::Task;
use sha2::{Digest, Sha256};

#[nesos_guest::task]
fn main(task: Task) -> Result<String, Failure> {
    let volume = std::env::args().nth(1).unwrap_or("/data".to_owned());
    let mut files = files_below(Path::new(&volume))?;
    files.sort();
    let mut all = Sha256::new();
    for (done, file) in files.iter().enumerate() {
        if task.stop_requested().is_some() {
            return Err(Failure::Stopped(done));
        }
        let line = format!("{}  {}", sum(file)?, file.display());
        println!("{line}");
        all.update(line);
        task.progress(&format!("{} of {} files", done + 1, files.len()), &[])?;
    }
    Ok(hex(&all.finalize()))
}

/// Why there is no sum.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Report(nesos_guest::ReportError),
    Stopped(usize),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<nesos_guest::ReportError> for Failure {
    fn from(error: nesos_guest::ReportError) -> Self {
        Self::Report(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the volume: {error}"),
            Self::Report(error) => write!(f, "cannot report progress: {error}"),
            Self::Stopped(done) => write!(f, "stopped after {done} files"),
        }
    }
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn sum(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&sum.finalize())),
            count => sum.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
