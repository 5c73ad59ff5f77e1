//! The play: a master, an agent and two frameworks do what the first paper on resource offers tells
//! of, and every line is printed when what it says has happened.

mod actor;
mod director;
mod part;

pub(crate) use director::Director;

use crate::output::Style;

/// What is said before the curtain rises.
pub(crate) fn prologue(style: Style) -> String {
    format!(
        "{}\n{}\n",
        style.bold("Resource offers, for real"),
        "The master offers the resources of agents to frameworks. A framework takes what it likes and\n\
         launches tasks on it: WebAssembly programs, each in a sandbox that holds it to the CPU and the\n\
         memory that were accepted. What is left, and what becomes free, is offered on."
    )
}

/// What is said when it has fallen.
pub(crate) fn epilogue(style: Style) -> String {
    let line =
        |command: &str, what: &str| format!("  {}  {what}", style.cyan(format!("{command:<32}")));
    format!(
        "\nEverything has ended, and nothing is left behind. Where to go from here:\n{}\n{}\n{}",
        line(
            "nesos run FILE.wasm [ARGS]...",
            "runs any WASI program, unmodified"
        ),
        line("nesos dev", "a cluster on this machine that lasts"),
        line("nesos help", "everything else"),
    )
}
