//! Why a task has not been launched yet, asked of the master and told to the person who waits.

use nesos_api::v1::StatePart;
use nesos_sdk::Operator;
use nesos_types::ids::FrameworkId;
use nesos_types::resources::Resources;

use crate::views::{AgentView, StateView};

/// One line about why nothing fits, or `None` if the master does not answer.
pub(super) async fn why(
    operator: &mut Operator,
    framework: FrameworkId,
    wanted: &Resources,
) -> Option<String> {
    let state = operator.state(&[StatePart::Agents]).await.ok()?;
    let agents = StateView::new(state).ok()?.agents;
    if let Some(why) = impossible(&agents, wanted) {
        return Some(why);
    }
    let explanation = operator.explain(framework, Some(wanted)).await.ok()?;
    Some(format!(
        "waiting for an offer of {wanted}: {}",
        explanation.summary
    ))
}

/// Why no agent could ever run it, if that is so.
fn impossible(agents: &[AgentView], wanted: &Resources) -> Option<String> {
    if agents.is_empty() {
        return Some("waiting for an agent: the cluster has none yet".to_owned());
    }
    if agents
        .iter()
        .any(|agent| agent.info.resources.contains(wanted))
    {
        return None;
    }
    let largest = agents
        .iter()
        .max_by_key(|agent| agent.info.resources.cpu_milli)
        .map(|agent| agent.info.resources.to_string())?;
    Some(format!(
        "no agent has {wanted}; the one with most CPUs has {largest}. Waiting for a larger one"
    ))
}
