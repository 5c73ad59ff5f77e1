//! Tables for people: columns as wide as they must be, nothing else.

use std::fmt::Write;

use crate::output::Style;

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            headings: headings.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Appends a row. Cells beyond the headings are dropped, missing ones are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<_> = cells.into_iter().map(printable).collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, each line indented by `indent` columns, without a last line break.
    pub(crate) fn render(&self, style: Style, indent: usize) -> String {
        let widths: Vec<_> = (0..self.headings.len()).map(|at| self.width(at)).collect();
        let headings = line(&widths, self.headings.iter().copied());
        let mut text = format!("{:indent$}{}", "", style.bold(headings));
        for row in &self.rows {
            let cells = line(&widths, row.iter().map(String::as_str));
            // Writing to a String does not fail.
            let _ = write!(text, "\n{:indent$}{cells}", "");
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        let heading = self.headings[column].chars().count();
        cells.chain([heading]).max().unwrap_or_default()
    }
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
    let padded: Vec<_> = cells
        .zip(widths)
        .map(|(cell, &width)| format!("{cell:<width$}"))
        .collect();
    padded.join("  ").trim_end().to_owned()
}

/// Names and messages come from strangers: they shall not move anybody's cursor.
fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        return text.escape_debug().to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["a".to_owned(), "running".to_owned()]);
        table.row(["été-longer".to_owned()]);
        table.row([
            "tricky\x1b[2J".to_owned(),
            "x".to_owned(),
            "lost".to_owned(),
        ]);
        expect![[r#"
            NAME             STATE
            a                running
            été-longer
            tricky\u{1b}[2J  x"#]]
        .assert_eq(&table.render(Style::plain(), 0));
        let indented = table.render(Style::plain(), 2);
        assert!(indented.lines().all(|line| line.starts_with("  ")));
    }
}
