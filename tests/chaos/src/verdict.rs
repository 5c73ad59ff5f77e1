//! What the lines in the volumes say, against what the scheduler was told.

use std::collections::BTreeMap;

use crate::journal::Remembered;

/// The count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Tasks, however often they were tried.
    pub(crate) submitted: usize,
    /// Attempts that ran to their end, as the scheduler was told.
    pub(crate) finished: usize,
    /// Attempts that ended otherwise, by how.
    pub(crate) otherwise: BTreeMap<String, usize>,
    /// Those of them that had left their line before.
    pub(crate) after_their_line: usize,
    /// Finished, and left no line; or never ended; or left a line that nobody was told of.
    pub(crate) lost: Vec<String>,
    /// Left more than one line.
    pub(crate) doubled: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(told: &Remembered, lines: &[String]) -> Self {
        let mut written = BTreeMap::<&str, usize>::new();
        for line in lines {
            *written.entry(line).or_default() += 1;
        }
        let mut verdict = Self::default();
        for (id, attempt) in &told.attempts {
            let lines = written.remove(id.as_str()).unwrap_or(0);
            verdict.submitted += usize::from(id.ends_with(".1"));
            if lines > 1 {
                verdict.doubled.push(id.clone());
            }
            match &attempt.end {
                Some(_) if attempt.finished() => {
                    verdict.finished += 1;
                    if lines == 0 {
                        verdict
                            .lost
                            .push(format!("{id}: finished, and left no line"));
                    }
                }
                // Nobody ever knew of it: it cannot have run.
                Some((state, _))
                    if matches!(state.as_str(), "Unknown" | "Dropped") && lines > 0 =>
                {
                    verdict.lost.push(format!("{id}: {state}, and left a line"));
                }
                Some((state, why)) => {
                    let reason = why.split(' ').next().unwrap_or_default();
                    let how = format!("{state} {reason}");
                    *verdict.otherwise.entry(how.trim().to_owned()).or_default() += 1;
                    verdict.after_their_line += usize::from(lines > 0);
                }
                None => verdict.lost.push(format!("{id}: never ended")),
            }
        }
        let unknown = written.into_keys();
        verdict
            .lost
            .extend(unknown.map(|line| format!("{line}: nobody submitted it")));
        verdict
    }

    /// Whether nothing was lost and nothing done twice.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.finished == self.submitted
    }

    /// Attempts beyond the first.
    pub(crate) fn retried(&self) -> usize {
        self.otherwise.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Attempt, FINISHED};

    fn attempts(ends: &[(&str, &str)]) -> Remembered {
        let attempt = |state: &str| Attempt {
            end: (!state.is_empty()).then(|| (state.to_owned(), String::new())),
            ..Attempt::default()
        };
        let attempts = ends
            .iter()
            .map(|(id, state)| ((*id).to_owned(), attempt(state)));
        Remembered {
            framework: None,
            attempts: attempts.collect(),
        }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_line_for_each_that_finished_is_clean() {
        let told = attempts(&[("1.1", "Failed"), ("1.2", FINISHED), ("2.1", FINISHED)]);
        for written in [&["1.2", "2.1"][..], &["1.1", "2.1", "1.2"]] {
            let verdict = Verdict::of(&told, &lines(written));
            assert!(verdict.is_clean(), "{verdict:?}");
            assert_eq!((verdict.submitted, verdict.retried()), (2, 1));
        }
    }

    #[test]
    fn whatever_does_not_add_up_is_found() {
        let told = attempts(&[("1.1", FINISHED)]);
        for written in [&[][..], &["1.1", "1.1"], &["1.1", "7.1"]] {
            assert!(
                !Verdict::of(&told, &lines(written)).is_clean(),
                "{written:?}"
            );
        }
        for state in ["", "Unknown", "Dropped", "Gone"] {
            let told = attempts(&[("1.1", state)]);
            assert!(!Verdict::of(&told, &lines(&["1.1"])).is_clean(), "{state}");
        }
    }
}
