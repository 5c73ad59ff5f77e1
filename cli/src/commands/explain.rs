//! `nesos explain`: why a framework waits.

use std::process::ExitCode;

use clap::Args;
use nesos_types::ids::FrameworkId;
use nesos_types::resources::Resources;
use serde::Serialize;

use crate::amounts;
use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, Format, OutputOptions, Style};
use crate::table::Table;

/// Says why a framework waits: agent by agent, the first rule that blocked
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The framework's id, as `nesos frameworks` lists it
    framework: FrameworkId,
    /// Ask for a task that wants so many CPUs: agents that it does not fit are told apart
    #[arg(long, value_name = "NUMBER", value_parser = amounts::cpus)]
    cpus: Option<u64>,
    /// Ask for a task that wants so much memory
    #[arg(long, value_name = "SIZE", value_parser = amounts::size)]
    mem: Option<u64>,
    /// Ask for a task that wants so much disk
    #[arg(long, value_name = "SIZE", value_parser = amounts::size)]
    disk: Option<u64>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Serialize)]
struct Explanation {
    summary: String,
    blocked: Vec<Blocked>,
}

#[derive(Debug, Serialize)]
struct Blocked {
    role: String,
    rule: String,
    detail: String,
    agents: Vec<String>,
}

impl Explain {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let shape = self.shape();
        let answer = client
            .operator()
            .explain(self.framework, shape.as_ref())
            .await?;
        let blocked = answer.blocked.into_iter().map(|group| Blocked {
            role: group.role,
            rule: group.rule,
            detail: group.detail,
            agents: group.agent_ids,
        });
        let explanation = Explanation {
            summary: answer.summary,
            blocked: blocked.collect(),
        };
        match self.output.output {
            Format::Json => output::json(&explanation)?,
            Format::Table => output::line(render(&explanation, Style::of_stdout()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    /// The task that is asked for, if one is.
    fn shape(&self) -> Option<Resources> {
        let shape = Resources::new(self.cpus.unwrap_or(0), self.mem.unwrap_or(0))
            .with_disk(self.disk.unwrap_or(0));
        (!shape.is_empty()).then_some(shape)
    }
}

fn render(explanation: &Explanation, style: Style) -> String {
    let mut table = Table::new(["ROLE", "AGENTS", "RULE", "WHY"]);
    for group in &explanation.blocked {
        table.row([
            group.role.clone(),
            group.agents.len().to_string(),
            group.rule.clone(),
            group.detail.clone(),
        ]);
    }
    if table.is_empty() {
        return explanation.summary.clone();
    }
    format!("{}\n\n{}", explanation.summary, table.render(style, 0))
}
