//! `nesos logs`: what a task wrote, straight from its agent.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::{OutputStream, StatePart};
use nesos_sdk::{MasterClient, TaskIo};
use nesos_types::ids::{FrameworkId, TaskId, TaskKey};

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output;
use crate::views::{StateView, TaskView};

/// Prints what a task wrote to stdout or stderr, as far as its agent has kept it
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task's id, as `nesos tasks` lists it, or an executor's run, as `nesos state` does
    task: TaskId,
    /// Goes on until the task has ended
    #[arg(long, short)]
    follow: bool,
    /// stderr instead of stdout
    #[arg(long)]
    stderr: bool,
    /// The task's framework, needed if several have a task of that id
    #[arg(long, value_name = "ID")]
    framework: Option<FrameworkId>,
    #[command(flatten)]
    master: MasterOptions,
}

impl Logs {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let task = self.find(&client).await?;
        let key = TaskKey {
            framework: task
                .framework
                .parse()
                .map_err(|error| Failure::new("the master's answer was not understood", error))?,
            task: self.task.clone(),
        };
        if task.agent_url.is_empty() {
            let gone = format!("the agent of task {} is not connected", self.task);
            return Err(Failure::said(gone));
        }
        let stream = if self.stderr {
            OutputStream::Stderr
        } else {
            OutputStream::Stdout
        };
        let mut io = TaskIo::new(&task.agent_url)?;
        let mut chunks = io.logs(&key, stream, self.follow).await?;
        while let Some(chunk) = chunks.message().await? {
            output::bytes(&chunk.data)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The task of that id: the only one that lives, else the one that ended last.
    async fn find(&self, client: &MasterClient) -> Result<TaskView, Failure> {
        let parts = [StatePart::Tasks, StatePart::CompletedTasks];
        let state = StateView::new(client.operator().state(&parts).await?)?;
        let is_meant = |task: &TaskView| {
            let of_framework = |id: FrameworkId| task.framework == id.to_string();
            task.id == self.task.as_str() && self.framework.is_none_or(of_framework)
        };
        let runs = state.executors.into_iter().map(|executor| executor.run);
        let live = state.tasks.into_iter().chain(runs);
        let mut live: Vec<_> = live.filter(is_meant).collect();
        if live.len() > 1 {
            let owners: Vec<_> = live.iter().map(|task| task.framework.as_str()).collect();
            return Err(Failure::said(format!(
                "{} frameworks have a task {}; say which one is meant with --framework: {}",
                live.len(),
                self.task,
                owners.join(", ")
            )));
        }
        let ended = state.completed_tasks.into_iter().filter(is_meant);
        live.pop()
            .or_else(|| ended.max_by_key(|task| task.launched_us))
            .ok_or_else(|| Failure::said(format!("no task {} is known to the master", self.task)))
    }
}
