//! The page that names a test for each rule of behaviour, read as rows of tables.

use std::{fs, path::Path};

/// Where a file lies that is named without its folder.
const FOLDER: &str = "master/core/tests/core";

/// A rule, and the tests that hold it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) rule: String,
    pub(crate) tests: Vec<NamedTest>,
}

/// A test, as the page names it: `file::test`.
#[derive(Debug)]
pub(crate) struct NamedTest {
    file: String,
    name: String,
}

/// The rows of all tables, without their heads.
pub(crate) fn rows(root: &Path) -> Vec<Row> {
    let page = root.join("docs/conformance.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let lines: Vec<_> = page.lines().collect();
    let is_head = |at: usize| {
        lines
            .get(at + 1)
            .is_some_and(|next| next.starts_with("|--"))
    };
    let rows = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with("| ") && !is_head(*at));
    rows.map(|(_, line)| Row::read(line)).collect()
}

impl Row {
    fn read(line: &str) -> Self {
        let (rule, tests) = line.rsplit_once(" | ").expect("a row has two cells");
        // What stands between two backticks is every other piece.
        let quoted = tests.split('`').skip(1).step_by(2);
        Self {
            rule: rule.to_owned(),
            tests: quoted.filter_map(NamedTest::read).collect(),
        }
    }
}

impl NamedTest {
    fn read(text: &str) -> Option<Self> {
        let (file, name) = text.split_once("::")?;
        let folder = if file.contains('/') { "" } else { FOLDER };
        let file = Path::new(folder).join(file).display().to_string();
        let name = name.to_owned();
        Some(Self { file, name })
    }

    /// Whether the file has a test of this name, and not merely a function.
    pub(crate) fn is_in(&self, root: &Path) -> bool {
        let text = fs::read_to_string(root.join(&self.file)).unwrap_or_default();
        let function = format!("fn {}(", self.name);
        text.match_indices(&function).any(|(at, _)| {
            let before = text[..at].trim_end().trim_end_matches("async").trim_end();
            let attributes = before.lines().rev().map(str::trim);
            let mut attributes = attributes.take_while(|line| line.starts_with("#["));
            attributes.any(|attribute| attribute.contains("test"))
        })
    }
}
