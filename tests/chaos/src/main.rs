//! `nesos-chaos`: a real cluster under a steady load, whose processes are killed, paused and cut off from one
//! another in an order that a seed decides. Every task leaves a line in a volume; in the end the lines are counted
//! against what the scheduler was told.
//!
//! ```text
//! cargo build -p nesos -p nesos-chaos
//! target/debug/nesos-chaos run --seconds 60
//! ```

mod cluster;
mod faults;
mod journal;
mod load;
mod nemesis;
mod ports;
mod process;
mod proxy;
mod report;
mod verdict;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Breaks a cluster in every way that machines know, and counts what became of its tasks
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(nemesis::Run),
    #[command(hide = true)]
    Load(load::Load),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nesos-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether nothing was lost.
fn execute(command: Command) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match command {
        Command::Run(run) => runtime.block_on(run.execute()),
        Command::Load(load) => runtime.block_on(load.execute()).map(|()| true),
    }
}
