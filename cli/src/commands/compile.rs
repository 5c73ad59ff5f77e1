//! `nesos compile`: the process that an agent starts to compile a bundle within limits.

use std::process::ExitCode;

use clap::Args;
use nesos_agent::compile::{self, CompileArgs};

/// Compiles one bundle within limits; started by agents
#[derive(Debug, Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    args: CompileArgs,
}

impl Compile {
    pub(crate) fn execute(self) -> ExitCode {
        compile::main(self.args)
    }
}
