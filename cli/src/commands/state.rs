//! `nesos state`: the whole cluster at one moment.

use std::process::ExitCode;

use clap::Args;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, Format, OutputOptions, Style};
use crate::table::Table;
use crate::views::{
    AgentView, ExecutorView, FrameworkView, OfferView, RoleView, StateView, TaskView, age,
};

/// Shows the whole cluster: agents, frameworks, roles, executors, tasks, offers
#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl State {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = StateView::new(client.operator().state(&[]).await?)?;
        match self.output.output {
            Format::Json => output::json(&state)?,
            Format::Table => output::line(render(&state, &client.url(), Style::of_stdout()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn render(state: &StateView, url: &str, style: Style) -> String {
    let master = &state.master;
    let mut sections = vec![format!(
        "{} {url}, version {}, up {}\n  {:<10}{}\n  {:<10}{}\n  {:<10}{}\n  {:<10}{}",
        style.bold("Master"),
        master.version,
        age(master.uptime()),
        "total",
        master.total,
        "used",
        master.allocated,
        "offered",
        master.offered,
        "policy",
        master.policy,
    )];
    let frameworks: Vec<_> = state
        .frameworks
        .iter()
        .filter(|one| !one.completed)
        .collect();
    let completed = state.frameworks.len() - frameworks.len();
    sections.push(section("Agents", &AgentView::table(&state.agents), style));
    sections.push(section(
        &format!("Frameworks ({completed} completed)"),
        &FrameworkView::table(frameworks),
        style,
    ));
    sections.push(section("Roles", &RoleView::table(&state.roles), style));
    if !state.executors.is_empty() {
        sections.push(section(
            "Executors",
            &ExecutorView::table(&state.executors),
            style,
        ));
    }
    sections.push(section("Tasks", &TaskView::table(&state.tasks), style));
    sections.push(section("Offers", &OfferView::table(&state.offers), style));
    sections.join("\n\n")
}

fn section(title: &str, table: &Table, style: Style) -> String {
    if table.is_empty() {
        return format!("{}\n  {}", style.bold(title), style.dim("none"));
    }
    format!("{}\n{}", style.bold(title), table.render(style, 2))
}
