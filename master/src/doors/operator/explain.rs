//! Explanations on the wire: a word for programs and a sentence for people.

use nesos_api::v1;
use nesos_master_core::{Blocked, BlockedGroup, Explanation, Precedence};
use nesos_types::time::Time;
use tonic::Status;

use super::framework_unknown;

/// The answer to `Explain` at the time `now`.
pub(super) fn response(
    explanation: &Explanation,
    now: Time,
) -> Result<v1::ExplainResponse, Status> {
    if explanation.overall == Some(Blocked::FrameworkUnknown) {
        return Err(framework_unknown(explanation.framework));
    }
    let overall = explanation
        .overall
        .iter()
        .map(|blocked| wire("", blocked, Vec::new(), now));
    let by_role = explanation.roles.iter().flat_map(|role| {
        let name = role.role.as_str();
        role.groups
            .iter()
            .map(move |group| group_wire(name, group, now))
    });
    Ok(v1::ExplainResponse {
        summary: summary(explanation, now),
        next_allocation_us: explanation.next_allocation.map(Time::as_micros),
        blocked: overall.chain(by_role).collect(),
    })
}

fn group_wire(role: &str, group: &BlockedGroup, now: Time) -> v1::Blocked {
    let agents = group.agents.iter().map(ToString::to_string).collect();
    wire(role, &group.blocked, agents, now)
}

fn wire(role: &str, blocked: &Blocked, agent_ids: Vec<String>, now: Time) -> v1::Blocked {
    let (rule, detail) = rule(blocked, now);
    v1::Blocked {
        role: role.to_owned(),
        rule: rule.to_owned(),
        detail,
        agent_ids,
    }
}

/// One line: what holds for all agents, else the rule that blocks most of them.
fn summary(explanation: &Explanation, now: Time) -> String {
    if let Some(blocked) = &explanation.overall {
        return rule(blocked, now).1;
    }
    let groups = || explanation.roles.iter().flat_map(|role| &role.groups);
    let agents: usize = groups().map(|group| group.agents.len()).sum();
    match groups().max_by_key(|group| group.agents.len()) {
        Some(group) => format!(
            "on {} of {agents} agents (counted per role): {}",
            group.agents.len(),
            rule(&group.blocked, now).1
        ),
        None => "nothing blocks".to_owned(),
    }
}

fn rule(blocked: &Blocked, now: Time) -> (&'static str, String) {
    match blocked {
        Blocked::FrameworkUnknown => ("framework_unknown", "the framework is not known".into()),
        Blocked::FrameworkDisconnected => (
            "framework_disconnected",
            "the framework's scheduler is not connected".into(),
        ),
        Blocked::NoRole => ("no_role", "the framework subscribes in no role".into()),
        Blocked::NoAgent => ("no_agent", "there is no agent".into()),
        Blocked::Suppressed => (
            "suppressed",
            "the framework suppressed offers in this role; it has to revive them".into(),
        ),
        Blocked::AgentRecovered => (
            "agent_recovered",
            "the agent has not come back since the master restarted".into(),
        ),
        Blocked::AgentHeld => (
            "agent_held",
            "the agent has not come back since the master restarted, and is kept because too many others were taken \
             for lost"
                .into(),
        ),
        Blocked::AgentDisconnected { since } => (
            "agent_disconnected",
            format!("the agent's connection broke {:.1?} ago", now.since(*since)),
        ),
        Blocked::AgentDeactivated => (
            "agent_deactivated",
            "an operator has deactivated the agent".into(),
        ),
        Blocked::AgentDraining => (
            "agent_draining",
            "an operator is having the agent drained, or has had it".into(),
        ),
        Blocked::OfferedToYou { since } => (
            "offered_to_you",
            format!(
                "the framework itself has held an offer of it for {:.1?}",
                now.since(*since)
            ),
        ),
        Blocked::OfferedTo { framework, since } => (
            "offered_to",
            format!(
                "{framework} has held an offer of it for {:.1?}",
                now.since(*since)
            ),
        ),
        Blocked::Allocated => ("allocated", "tasks use all of it".into()),
        Blocked::BelowMinimum => (
            "below_minimum",
            "what is left is below the minimum that is worth an offer".into(),
        ),
        Blocked::AgentTooSmall => (
            "agent_too_small",
            "the agent could not hold such a task even if it had nothing else to do".into(),
        ),
        Blocked::TooLittleFree => (
            "too_little_free",
            "such a task does not fit into what could be offered of it now".into(),
        ),
        Blocked::NoDemand => (
            "no_demand",
            "the framework has said that it waits for nothing in this role".into(),
        ),
        Blocked::NoSandbox => ("no_sandbox", "it holds as many sandboxes as it may".into()),
        Blocked::Constraint => (
            "constraint",
            "the agent is not what the framework's offer constraints want".into(),
        ),
        Blocked::NoDemandFits => (
            "no_demand_fits",
            "nothing that the framework has said to wait for fits into what is free".into(),
        ),
        Blocked::Reserved { role } => (
            "reserved",
            format!("what is free of it is reserved for role {role}"),
        ),
        Blocked::Revocable => (
            "revocable",
            "what is free of it is revocable, and the framework takes nothing revocable".into(),
        ),
        Blocked::Promised { role } => (
            "promised",
            format!("tasks are being ended on it to make room for role {role}"),
        ),
        Blocked::QuotaLimit { role } => {
            ("quota_limit", format!("role {role} has reached its limit"))
        }
        Blocked::QuotaUnknown => (
            "quota_unknown",
            "how much the role uses of its quota is not known before most agents are back".into(),
        ),
        Blocked::Headroom => (
            "headroom",
            "what is free is held back for the guarantees of other roles".into(),
        ),
        Blocked::Filtered { until } => (
            "filtered",
            format!(
                "the framework turned down as much or more, which holds for another {:.1?}",
                until.since(now)
            ),
        ),
        Blocked::Behind {
            framework,
            role,
            own_role,
            by,
        } => {
            let other = match role == own_role {
                true => format!("framework {framework} of the same role"),
                false => format!("role {role}"),
            };
            (
                "behind",
                format!("behind {other} in the order: {}", why(by)),
            )
        }
        Blocked::RankedByPlugin { plugin, others } => (
            "ranked_by_plugin",
            format!("{others} others would take it too, and the plug-in {plugin:?} ranks them"),
        ),
        Blocked::NextInLine => (
            "next_in_line",
            "nothing blocks and nobody comes first: it is about to be offered".into(),
        ),
    }
}

/// Why another comes first.
fn why(by: &Precedence) -> String {
    match by {
        Precedence::Guarantee => "it lacks what its role is guaranteed".to_owned(),
        Precedence::Priority { theirs, own } => {
            format!("its priority is {theirs}, this one's {own}")
        }
        Precedence::Share { theirs, own } => {
            let (theirs, own) = (percent(*theirs), percent(*own));
            format!("its share over weight is {theirs}, this one's {own}")
        }
        Precedence::Turn { share } => {
            let share = percent(*share);
            format!("both have a share over weight of {share}, and it was served longer ago")
        }
    }
}

fn percent(millionths: u64) -> String {
    format!("{}.{:04} %", millionths / 10_000, millionths % 10_000)
}

#[cfg(test)]
mod tests {
    use nesos_master_core::RoleExplanation;
    use nesos_types::ids::{AgentId, FrameworkId};

    use super::*;

    fn explanation(overall: Option<Blocked>, roles: Vec<RoleExplanation>) -> Explanation {
        Explanation {
            framework: FrameworkId(1),
            overall,
            next_allocation: None,
            roles,
        }
    }

    #[test]
    fn an_unknown_framework_is_not_found() {
        let status = response(
            &explanation(Some(Blocked::FrameworkUnknown), vec![]),
            Time::ZERO,
        )
        .unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
    }

    #[test]
    fn who_comes_first_is_named_with_both_shares() {
        let behind = |own_role: &str, by| {
            let blocked = Blocked::Behind {
                framework: FrameworkId(1),
                role: "web".parse().unwrap(),
                own_role: own_role.parse().unwrap(),
                by,
            };
            rule(&blocked, Time::ZERO).1
        };
        let (theirs, own) = (125_000, 1_500_001);
        assert_eq!(
            behind("batch", Precedence::Share { theirs, own }),
            "behind role web in the order: its share over weight is 12.5000 %, this one's 150.0001 %"
        );
        let same_role = behind("web", Precedence::Turn { share: 0 });
        assert!(
            same_role.contains(&FrameworkId(1).to_string()),
            "{same_role}"
        );
    }

    #[test]
    fn the_summary_names_what_blocks_most_agents() {
        let group = |blocked, agents: &[u128]| BlockedGroup {
            blocked,
            agents: agents.iter().copied().map(AgentId).collect(),
        };
        let role = RoleExplanation {
            role: "web".parse().unwrap(),
            groups: vec![
                group(Blocked::Suppressed, &[1]),
                group(Blocked::Allocated, &[2, 3]),
            ],
        };
        let response = response(&explanation(None, vec![role]), Time::ZERO).unwrap();
        assert_eq!(
            response.summary,
            "on 2 of 3 agents (counted per role): tasks use all of it"
        );
        let rules: Vec<_> = response
            .blocked
            .iter()
            .map(|blocked| (blocked.role.as_str(), blocked.rule.as_str()))
            .collect();
        assert_eq!(rules, [("web", "suppressed"), ("web", "allocated")]);
    }
}
