//! `nesos agents`.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::StatePart;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::OutputOptions;
use crate::views::{AgentView, StateView};

/// Lists agents: who runs tasks, and what they have left
#[derive(Debug, Args)]
pub(crate) struct Agents {
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Agents {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Agents]).await?;
        let agents = StateView::new(state)?.agents;
        self.output.list(&agents, &AgentView::table(&agents))
    }
}
