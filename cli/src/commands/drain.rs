//! `nesos drain`: ends an agent's tasks, and says what holds that up.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use nesos_api::v1::StatePart;
use nesos_api::v1::order_agent_request;
use tokio::time::sleep;

use super::agents::{agent_id, named_agent};
use crate::amounts;
use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output;
use crate::views::{AgentView, StateView};

/// How often it is looked whether it is drained.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends the tasks of an agent and offers nothing of it any more
///
/// Each task has the time to end by itself that it asks for, or --grace if that is less. The agent is drained when
/// it has no tasks any more and their schedulers know it; `nesos agents` shows that, and --follow waits for it. An
/// agent that is away is drained when it comes back. `nesos agents reactivate` offers it again.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The agent, by its id or its host's name
    #[arg(value_name = "AGENT")]
    agent: String,
    /// The most that a task has to end by itself
    #[arg(long, value_name = "TIME", value_parser = amounts::duration)]
    grace: Option<Duration>,
    /// Once it is drained the agent is told to stop, and is never taken back
    #[arg(long)]
    mark_gone: bool,
    /// Order nothing: say how far it is, and what it waits for
    #[arg(long, conflicts_with_all = ["grace", "mark_gone"])]
    status: bool,
    /// Wait until it is drained, and say what it waits for
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    master: MasterOptions,
}

impl Drain {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Agents]).await?;
        let agent = named_agent(StateView::new(state)?, &self.agent)?;
        if !self.status {
            let order = order_agent_request::Order::Drain(self.order());
            client
                .operator()
                .order_agent(agent_id(&agent.id)?, order)
                .await?;
        } else if agent.drain.is_none() {
            output::line(format_args!(
                "agent {} on {} is not being drained",
                agent.id, agent.info.hostname
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut said = String::new();
        loop {
            let parts = [StatePart::Agents, StatePart::Tasks, StatePart::Frameworks];
            let state = client.operator().state(&parts).await?;
            let progress = progress(&StateView::new(state)?, &agent);
            let (line, is_over) = match &progress {
                Progress::Drained => ("is drained".to_owned(), true),
                Progress::Gone => ("is gone".to_owned(), true),
                Progress::Waits(why) => (format!("is being drained; it waits for {why}"), false),
            };
            if line != said {
                output::line(format_args!(
                    "agent {} on {} {line}",
                    agent.id, agent.info.hostname
                ))?;
                said = line;
            }
            if is_over || !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn order(&self) -> order_agent_request::Drain {
        order_agent_request::Drain {
            grace_us: self.grace.map(nesos_api::to_micros),
            mark_gone: self.mark_gone,
        }
    }
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Drained,
    Gone,
    /// For whom or what.
    Waits(String),
}

fn progress(state: &StateView, agent: &AgentView) -> Progress {
    let Some(now) = state.agents.iter().find(|now| now.id == agent.id) else {
        return Progress::Gone;
    };
    if now.drain.is_some_and(|drain| drain.drained) {
        return Progress::Drained;
    }
    if now.status != "active" {
        return Progress::Waits(format!("the agent itself, which is {}", now.status));
    }
    let here = state.tasks.iter().filter(|task| task.agent == agent.id);
    let (ended, running): (Vec<_>, Vec<_>) = here.partition(|task| task.state.is_terminal());
    let mut waits = Vec::new();
    if !running.is_empty() {
        let ids = running.iter().map(|task| task.id.as_str());
        waits.push(format!("the end of {}", listed(ids)));
    }
    if !ended.is_empty() {
        let ids = ended.iter().map(|task| task.id.as_str());
        waits.push(format!(
            "schedulers to acknowledge the end of {}",
            listed(ids)
        ));
    }
    if waits.is_empty() {
        waits.push("executors to end".to_owned());
    }
    Progress::Waits(waits.join(", and for "))
}

/// The first few.
fn listed<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 5;
    let count = ids.len();
    let first: Vec<_> = ids.take(MOST).collect();
    match count.checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more tasks", first.join(", ")),
        _ => first.join(", "),
    }
}
