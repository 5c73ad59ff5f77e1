//! `nesos kill`: ends a task of any framework.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use nesos_api::v1::OperatorKillRequest;
use nesos_types::ids::{FrameworkId, TaskId};

use crate::amounts;
use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output;

/// Ends a task of any framework
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// The task's id, as `nesos tasks` lists it, or an executor's run, as `nesos state` does
    task: TaskId,
    /// The task's framework, needed if several have a task of that id
    #[arg(long, value_name = "ID")]
    framework: Option<FrameworkId>,
    /// How long the task has to end by itself
    #[arg(long, value_name = "TIME", value_parser = amounts::duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    master: MasterOptions,
}

impl Kill {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let request = OperatorKillRequest {
            framework_id: self.framework.map(|id| id.to_string()).unwrap_or_default(),
            task_id: self.task.to_string(),
            grace_us: self.grace.map(nesos_api::to_micros),
        };
        let key = client.operator().kill(request).await?;
        output::line(format_args!(
            "told task {} of framework {} to end",
            key.task_id, key.framework_id
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
