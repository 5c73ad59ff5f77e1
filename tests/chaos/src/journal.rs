//! What the load generator remembers over its own death: a line for everything that must not be forgotten, written
//! before anybody is answered. It survives the death of its process, not that of its host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use nesos_types::ids::FrameworkId;

/// What became of an attempt at a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// In which volume it leaves its line.
    pub(crate) volume: String,
    /// It was sent on its way.
    pub(crate) launched: bool,
    /// Its last state, and why.
    pub(crate) end: Option<(String, String)>,
}

impl Attempt {
    /// Whether the scheduler was told that it ran to its end.
    pub(crate) fn finished(&self) -> bool {
        matches!(&self.end, Some((state, _)) if state == FINISHED)
    }
}

/// The state of a task that ran to its end.
pub(crate) const FINISHED: &str = "Finished";

/// All that was written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) framework: Option<FrameworkId>,
    /// By id: `NUMBER.ATTEMPT`.
    pub(crate) attempts: BTreeMap<String, Attempt>,
}

impl Remembered {
    /// Reads a journal; a last line without an end was not written.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut all = Self::default();
        for line in text.split_inclusive('\n') {
            if let Some(line) = line.strip_suffix('\n') {
                all.take(line)
                    .with_context(|| format!("the line {line:?}"))?;
            }
        }
        Ok(all)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let words: Vec<_> = line.split('\t').collect();
        match words.as_slice() {
            ["framework", id] => self.framework = Some(id.parse()?),
            ["submit", id, volume] => {
                self.attempts.entry((*id).to_owned()).or_default().volume = (*volume).to_owned();
            }
            ["launch", id] => self.attempts.entry((*id).to_owned()).or_default().launched = true,
            ["end", id, state, why] => {
                let end = ((*state).to_owned(), (*why).to_owned());
                let attempt = self.attempts.entry((*id).to_owned()).or_default();
                // The first word counts; what follows is said again.
                attempt.end.get_or_insert(end);
            }
            _ => anyhow::bail!("is of no kind that is known"),
        }
        Ok(())
    }
}

/// The journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let journal = Self(file.with_context(|| path.display().to_string())?);
        let text = std::fs::read_to_string(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // Its writer was killed within a line, which then says nothing.
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            journal.0.set_len(whole as u64)?;
        }
        Ok(journal)
    }

    /// Writes a line in one piece.
    pub(crate) fn note(&mut self, words: &[&str]) -> Result<()> {
        let clean = words.iter().map(|word| word.replace(['\t', '\n'], " "));
        let line = clean.collect::<Vec<_>>().join("\t") + "\n";
        Ok(self.0.write_all(line.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_half_a_line_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.note(&["submit", "1.1", "v0"]).unwrap();
        journal.note(&["launch", "1.1"]).unwrap();
        journal
            .note(&["end", "1.1", FINISHED, "well\tdone"])
            .unwrap();
        journal.note(&["end", "1.1", "Gone", "said again"]).unwrap();
        journal.0.write_all(b"launch\t2.").unwrap();
        let read = Remembered::read(&path).unwrap();
        assert_eq!(read.attempts.len(), 1);
        assert!(read.attempts["1.1"].finished());
        Journal::open(&path)
            .unwrap()
            .note(&["submit", "3.1", "v1"])
            .unwrap();
        assert_eq!(Remembered::read(&path).unwrap().attempts.len(), 2);
    }
}
