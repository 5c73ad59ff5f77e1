//! `nesos cell`: the process that an agent starts for the sandboxes of a role.

use std::process::ExitCode;

use clap::Args;
use nesos_agent::cell::{self, CellArgs};

/// Holds the sandboxes of one role; started by agents
#[derive(Debug, Args)]
pub(crate) struct Cell {
    #[command(flatten)]
    args: CellArgs,
}

impl Cell {
    pub(crate) fn execute(self) -> ExitCode {
        cell::main(self.args)
    }
}
