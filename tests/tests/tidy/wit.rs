//! WIT as text: what is declared in it, and whether a description stands before.

/// What needs no description: it names what is described elsewhere, or ends something.
const PLAIN: [&str; 6] = ["use ", "import ", "export ", "package nesos:", "}", "///"];

/// The lines that declare something and follow no description.
pub(crate) fn without_description(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declares =
        |line: &str| !line.is_empty() && !PLAIN.iter().any(|plain| line.starts_with(plain));
    let described = |at: usize| at > 0 && lines[at - 1].starts_with("///");
    let bare = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| declares(line) && !described(*at));
    bare.map(|(_, line)| (*line).to_owned()).collect()
}

#[test]
fn a_declaration_without_a_description_is_found() {
    let text = "/// Said.\ninterface a {\n    use b.{c};\n\n    /// Said.\n    f: func();\n    g: func();\n}";
    assert_eq!(without_description(text), ["g: func();"]);
}
