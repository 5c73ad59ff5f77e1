//! Why a task has not been launched yet, asked of the master and told to the person who waits.

use nesos_api::v1::StatePart;
use nesos_sdk::Operator;
use nesos_types::ids::FrameworkId;
use nesos_types::role::Role;
use nesos_types::task::TaskInfo;

use crate::views::{AgentView, StateView};

/// One line about why nothing fits, or `None` if the master does not answer.
pub(super) async fn why(
    operator: &mut Operator,
    framework: FrameworkId,
    task: &TaskInfo,
    role: &Role,
) -> Option<String> {
    let wanted = &task.resources;
    let state = operator.state(&[StatePart::Agents]).await.ok()?;
    let agents = StateView::new(state).ok()?.agents;
    if let Some(why) = impossible(&agents, task, role) {
        return Some(why);
    }
    let explanation = operator.explain(framework, Some(wanted)).await.ok()?;
    Some(format!(
        "waiting for an offer of {wanted}: {}",
        explanation.summary
    ))
}

/// Why no agent could ever run it, if that is so.
fn impossible(agents: &[AgentView], task: &TaskInfo, role: &Role) -> Option<String> {
    if agents.is_empty() {
        return Some("waiting for an agent: the cluster has none yet".to_owned());
    }
    let wanted = &task.resources;
    let open = |agent: &AgentView| agent.total.with_parts_if(|claim| claim.is_open_to(role));
    // What is lent comes and goes.
    let revocable = wanted.revocable_cpu_milli() > 0;
    let could_lend = |agent: &AgentView| revocable && open(agent).covers(wanted);
    if agents
        .iter()
        .any(|agent| task.choose_from(&open(agent)).is_some() || could_lend(agent))
    {
        return None;
    }
    for mount in &task.volumes {
        let volume = &mount.volume;
        let is_there = |agent: &AgentView| open(agent).volumes().any(|(it, _)| it.id == *volume);
        if !agents.iter().any(is_there) {
            return Some(format!(
                "no agent has a volume {volume} for role {role}; waiting for one"
            ));
        }
    }
    let largest = agents
        .iter()
        .max_by_key(|agent| open(agent).flattened().cpu_milli)
        .map(|agent| open(agent).to_string())?;
    Some(format!(
        "no agent has {wanted}; the one with most CPUs has {largest}. Waiting for a larger one"
    ))
}
