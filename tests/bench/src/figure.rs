//! A figure: what was measured, how, and whether it keeps its promise.

use std::fmt;

use serde::Serialize;

/// What one benchmark has to say.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The subcommand.
    pub(crate) name: &'static str,
    /// How it measured, for a person.
    pub(crate) method: String,
    /// The figures.
    pub(crate) figures: Vec<Figure>,
}

/// One number.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// The number.
    pub(crate) value: f64,
    /// Its unit; empty for a ratio.
    pub(crate) unit: &'static str,
    /// What was promised; `None` for a figure that is stated, not promised.
    pub(crate) bound: Option<Bound>,
}

/// A promise about a number.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// The number is at most this.
    AtMost(f64),
    /// The number is at least this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Report {
    /// A report with nothing in it yet.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            method: String::new(),
            figures: Vec::new(),
        }
    }

    /// Says how it is measured; each call adds a sentence.
    pub(crate) fn method(&mut self, sentence: &str) {
        if !self.method.is_empty() {
            self.method.push(' ');
        }
        self.method.push_str(sentence);
    }

    /// States a number.
    pub(crate) fn state(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.add(what, value, unit, None);
    }

    /// Holds a number against its promise.
    pub(crate) fn promise(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        bound: Bound,
    ) {
        self.add(what, value, unit, Some(bound));
    }

    fn add(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        bound: Option<Bound>,
    ) {
        self.figures.push(Figure {
            what: what.into(),
            value,
            unit,
            bound,
        });
    }

    /// Whether every promise of the report holds.
    pub(crate) fn holds(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }
}

impl Figure {
    fn holds(&self) -> bool {
        self.bound.is_none_or(|bound| bound.holds(self.value))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for line in wrapped(&self.method, 96) {
            writeln!(f, "  {line}")?;
        }
        self.figures
            .iter()
            .try_for_each(|figure| writeln!(f, "    {figure}"))
    }
}

/// The words of a text, in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<58} {:>9} {}",
            self.what,
            number(self.value),
            self.unit
        )?;
        match self.bound {
            None => Ok(()),
            Some(bound) => {
                let (sign, limit) = match bound {
                    Bound::AtMost(limit) => ("≤", limit),
                    Bound::AtLeast(limit) => ("≥", limit),
                };
                let verdict = if self.holds() { "holds" } else { "BROKEN" };
                write!(f, " ({sign} {}: {verdict})", number(limit))
            }
        }
    }
}

/// Three or four digits that matter, whatever the size.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_if_each_promise_does() {
        let mut report = Report::new("test");
        report.state("stated", 1e9, "");
        report.promise("cheap", 80.0, "µs", Bound::AtMost(80.0));
        report.promise("many", 10_000.0, "", Bound::AtLeast(10_000.0));
        assert!(report.holds());
        report.promise("slow", 0.51, "ms", Bound::AtMost(0.5));
        assert!(!report.holds());
        assert!(report.to_string().contains("(≤ 0.500: BROKEN)"));
    }

    #[test]
    fn a_promise_about_no_number_is_broken() {
        let mut report = Report::new("test");
        report.promise("nothing", f64::NAN, "", Bound::AtMost(1.0));
        assert!(!report.holds());
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("indivisible", 3), ["indivisible"]);
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        for (value, text) in [
            (1_234.5, "1234"),
            (56.78, "56.8"),
            (3.0, "3"),
            (0.020_4, "0.020"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
