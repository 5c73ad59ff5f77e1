//! What happened last, for a person. Only a run that is known to fail writes it down.

use std::collections::VecDeque;

use nesos_types::time::Time;

/// How much is remembered.
const REMEMBERED: usize = 300_000;

/// The longest line.
const LINE: usize = 400;

/// Lines, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: VecDeque<(Time, String)>,
}

impl Trace {
    pub(crate) fn write(&mut self, at: Time, mut line: String) {
        if line.len() > LINE {
            let end = (0..=LINE).rev().find(|end| line.is_char_boundary(*end));
            line.truncate(end.unwrap_or(0));
            line.push('…');
        }
        if self.lines.len() == REMEMBERED {
            self.lines.pop_front();
        }
        self.lines.push_back((at, line));
    }

    /// The last lines in which one of the words stands, and all faults among them.
    pub(crate) fn last(&self, count: usize, words: &[String], began: Time) -> Vec<String> {
        let touches = |line: &str| {
            line.starts_with("fault") || words.iter().any(|word| line.contains(word.as_str()))
        };
        let all = self.lines.iter().rev();
        let picked = all.filter(|(_, line)| words.is_empty() || touches(line));
        let picked = picked.take(count);
        let mut lines: Vec<_> = picked
            .map(|(at, line)| format!("{:>12.6} s  {line}", at.since(began).as_secs_f64()))
            .collect();
        lines.reverse();
        lines
    }
}
