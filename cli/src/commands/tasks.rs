//! `nesos tasks`: what runs, and what has run.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::StatePart;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::OutputOptions;
use crate::views::{StateView, TaskView};

/// Lists tasks: what runs, and with --all what has ended
#[derive(Debug, Args)]
pub(crate) struct Tasks {
    /// Also those that have ended, as far as the master remembers
    #[arg(long, short)]
    all: bool,
    /// Only those of this framework
    #[arg(long, value_name = "ID")]
    framework: Option<String>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Tasks {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let mut parts = vec![StatePart::Tasks];
        parts.extend(self.all.then_some(StatePart::CompletedTasks));
        let state = StateView::new(client.operator().state(&parts).await?)?;
        let mut tasks = state.completed_tasks;
        tasks.extend(state.tasks);
        if let Some(framework) = &self.framework {
            tasks.retain(|task| task.framework == *framework);
        }
        self.output.list(&tasks, &TaskView::table(&tasks))
    }
}
