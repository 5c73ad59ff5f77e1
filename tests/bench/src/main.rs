//! `nesos-bench`: every figure that Nesos promises, each measured, compared and judged in one run.
//!
//! Each subcommand prints how it measured, the ratio or cost, the bound and whether it holds, and the
//! exit status is not zero if one does not. Machines are shared and noisy: what is compared is
//! measured in the same run, alternating. Build it optimised, together with what it measures:
//!
//! ```text
//! cargo build --release -p nesos -p nesos-bench
//! target/release/nesos-bench all
//! ```

mod cell;
mod cluster;
mod field;
mod figure;
mod figures;
mod framework;
mod machine;
mod processes;
mod statistics;
mod swarm;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::figure::Report;
use crate::figures::{BENCHMARKS, Benchmark};

/// The allocator of the binary whose parts are measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the command line asks of every benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Leave out what takes longest; the report says what.
    pub(crate) quick: bool,
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand_name() {
        Some("list") => list(),
        Some(name) => run(name, &matches),
        None => unreachable!("a subcommand is required"),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nesos-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let flag = |name, help| {
        Arg::new(name)
            .long(name)
            .global(true)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("nesos-bench")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Measures what Nesos promises")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(flag(
            "json",
            "Print JSON, one report a line, instead of text",
        ))
        .arg(flag("quick", "Leave out what takes longest"))
        .subcommand(Command::new("list").about("List the benchmarks"))
        .subcommand(Command::new("all").about("Run all of them"))
        .subcommands(
            BENCHMARKS
                .iter()
                .map(|benchmark| Command::new(benchmark.name).about(benchmark.about)),
        )
}

fn list() -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for benchmark in BENCHMARKS {
        writeln!(out, "{:<12} {}", benchmark.name, benchmark.about)?;
    }
    Ok(true)
}

/// Runs one benchmark or all of them; says whether every promise held.
fn run(name: &str, matches: &ArgMatches) -> Result<bool> {
    if cfg!(debug_assertions) {
        eprintln!("nesos-bench: this is a development build: its figures mean nothing");
    }
    let options = Options {
        quick: matches.get_flag("quick"),
    };
    let mut out = std::io::stdout();
    if !matches.get_flag("json") {
        writeln!(out, "{}", machine::describe())?;
    }
    let mut all_hold = true;
    for benchmark in BENCHMARKS
        .iter()
        .filter(|one| name == "all" || name == one.name)
    {
        match measure(benchmark, options) {
            Ok(report) => {
                all_hold &= report.holds();
                print(&mut out, &report, matches.get_flag("json"))?;
            }
            Err(error) => {
                all_hold = false;
                eprintln!("nesos-bench: {}: {error:#}", benchmark.name);
            }
        }
    }
    Ok(all_hold)
}

fn measure(benchmark: &Benchmark, options: Options) -> Result<Report> {
    let mut report = Report::new(benchmark.name);
    (benchmark.run)(options, &mut report)?;
    Ok(report)
}

fn print(out: &mut impl Write, report: &Report, json: bool) -> Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        writeln!(out, "\n{report}")?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
