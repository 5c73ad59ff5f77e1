//! `nesos agents`: who is there, and which of them take tasks.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use nesos_api::v1::StatePart;
use nesos_api::v1::order_agent_request::{Deactivate, Gone, Order, Reactivate};
use nesos_types::ids::{AgentId, IdError};

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, OutputOptions};
use crate::views::{AgentView, StateView};

/// Lists agents: who runs tasks, and what they have left; its subcommands say which of them take tasks
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Agents {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Offers nothing of an agent from now on; its tasks go on
    Deactivate(Ordered),
    /// Offers an agent again that was deactivated, or drained
    Reactivate(Ordered),
    /// Takes an agent for dead: its tasks are told to be gone, and it is never taken back
    Gone(Ordered),
}

/// An order about an agent.
#[derive(Debug, Args)]
struct Ordered {
    /// The agent, by its id or its host's name
    #[arg(value_name = "AGENT")]
    agent: String,
    #[command(flatten)]
    master: MasterOptions,
}

impl Agents {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        match self.change {
            Some(Change::Deactivate(to)) => {
                to.order(Order::Deactivate(Deactivate {}), "is deactivated")
                    .await
            }
            Some(Change::Reactivate(to)) => {
                to.order(Order::Reactivate(Reactivate {}), "is active again")
                    .await
            }
            Some(Change::Gone(to)) => to.order(Order::Gone(Gone {}), "is gone").await,
            None => self.list().await,
        }
    }

    async fn list(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Agents]).await?;
        let agents = StateView::new(state)?.agents;
        self.output.list(&agents, &AgentView::table(&agents))
    }
}

impl Ordered {
    async fn order(self, order: Order, done: &str) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Agents]).await?;
        let agent = named_agent(StateView::new(state)?, &self.agent)?;
        client
            .operator()
            .order_agent(agent_id(&agent.id)?, order)
            .await?;
        output::line(format_args!(
            "agent {} on {} {done}",
            agent.id, agent.info.hostname
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The agent of this id or, if it is the only one, on this host.
pub(crate) fn named_agent(state: StateView, name: &str) -> Result<AgentView, Failure> {
    let is_named = |agent: &AgentView| agent.id == name || agent.info.hostname == name;
    let mut found: Vec<_> = state.agents.into_iter().filter(is_named).collect();
    match (found.pop(), found.is_empty()) {
        (Some(agent), true) => Ok(agent),
        (Some(_), false) => Err(Failure::said(format!(
            "several agents have the host name {name}; name one by its id: see nesos agents"
        ))),
        (None, _) => Err(Failure::said(format!(
            "there is no agent {name}: see nesos agents"
        ))),
    }
}

/// An agent's id, from the master's answer.
pub(crate) fn agent_id(text: &str) -> Result<AgentId, Failure> {
    text.parse()
        .map_err(|error: IdError| Failure::new("the master's answer was not understood", error))
}
