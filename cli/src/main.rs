//! The `nesos` command line: one file per subcommand in `commands`, what they share beside it.

mod amounts;
mod cluster;
mod commands;
mod connect;
mod demo;
mod failure;
mod output;
mod program;
mod project;
mod registry;
mod run;
mod scratch;
mod settings;
mod table;
mod views;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Master, agent and cell pass on small messages all day, which is what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs WebAssembly programs on a cluster, or on a cluster of their own.
#[derive(Debug, Parser)]
#[command(name = "nesos", version, about, long_about = LONG_ABOUT, max_term_width = 100)]
#[command(propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
Nesos is a cluster kernel for WebAssembly: frameworks are offered resources of agents, accept what they \
like, and launch tasks, each in a sandbox whose CPU and memory are what was accepted.

Begin with `nesos demo`, which shows how it works, or `nesos run FILE.wasm`, which runs a program.";

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match command.execute() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_and_option_is_described() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {} has no help",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for inner in command.get_subcommands() {
                assert!(
                    inner.get_about().is_some(),
                    "{} has no description",
                    inner.get_name()
                );
                check(inner);
            }
        }
        check(&Cli::command());
    }
}
