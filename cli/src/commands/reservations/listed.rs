//! What is set apart, part by part, as it is listed.

use std::collections::{BTreeMap, BTreeSet};

use nesos_api::v1::StatePart;
use nesos_sdk::Operator;
use nesos_types::ids::{FrameworkId, VolumeId};
use nesos_types::reservation::{Claim, Owner, ReservationChange};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Table;
use crate::views::{AgentView, StateView};

/// Agents and frameworks: all that a look at reservations needs.
pub(super) async fn state(operator: &mut Operator) -> Result<StateView, Failure> {
    let parts = [StatePart::Agents, StatePart::Frameworks];
    Ok(StateView::new(operator.state(&parts).await?)?)
}

/// What one claim sets apart on one agent.
#[derive(Debug, Serialize)]
pub(super) struct PartView {
    pub(super) agent: String,
    pub(super) hostname: String,
    pub(super) role: Role,
    /// Who made the reservation, or the volume if it is one.
    owner: Owner,
    labels: BTreeMap<String, String>,
    volume: Option<VolumeId>,
    amounts: Resources,
    /// `used`, `offered` or `free`; what is used in part is used.
    pub(super) standing: &'static str,
    /// The framework that made it is over.
    pub(super) orphaned: bool,
    #[serde(skip)]
    claim: Claim,
}

impl PartView {
    /// Everything that is reserved, agent by agent.
    pub(super) fn all(state: &StateView) -> Vec<Self> {
        let live = Live::among(state);
        let agents = state.agents.iter();
        agents.flat_map(|agent| Self::of(agent, &live)).collect()
    }

    fn of(agent: &AgentView, live: &Live) -> Vec<Self> {
        let parts = agent.total.parts();
        parts
            .filter_map(|(claim, amounts)| {
                let reservation = claim.reservation()?;
                let volume = claim.volume.as_ref();
                Some(Self {
                    agent: agent.id.clone(),
                    hostname: agent.info.hostname.clone(),
                    role: reservation.role.clone(),
                    owner: volume
                        .map_or(&reservation.owner, |volume| &volume.owner)
                        .clone(),
                    labels: reservation.labels.clone(),
                    volume: volume.map(|volume| volume.id.clone()),
                    amounts: amounts.clone(),
                    standing: standing(agent, claim),
                    orphaned: live.is_over(&reservation.owner)
                        || volume.is_some_and(|volume| live.is_over(&volume.owner)),
                    claim: claim.clone(),
                })
            })
            .collect()
    }

    /// What gives back what nobody answers for any more.
    pub(super) fn cleanup(&self, state: &StateView) -> Vec<ReservationChange> {
        let live = Live::among(state);
        let mut changes = Vec::new();
        let mut bare = self.claim.clone();
        if let Some(volume) = &self.claim.volume {
            if !live.is_over(&volume.owner) {
                return changes;
            }
            bare.volume = None;
            changes.push(ReservationChange::DestroyVolume {
                volume: volume.id.clone(),
            });
        }
        if self
            .claim
            .reservation()
            .is_some_and(|by| live.is_over(&by.owner))
        {
            changes.push(ReservationChange::Unreserve {
                resources: Resources::claimed(bare, self.amounts.clone()),
            });
        }
        changes
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let amounts = self.amounts.words();
        match &self.volume {
            Some(volume) => format!(
                "volume {volume}, {amounts}, of role {} on {}",
                self.role, self.hostname
            ),
            None => format!("{amounts} reserved for {} on {}", self.role, self.hostname),
        }
    }

    /// Parts as a table.
    pub(super) fn table(parts: &[Self]) -> Table {
        let mut table = Table::new([
            "AGENT",
            "HOST",
            "ROLE",
            "RESOURCES",
            "VOLUME",
            "OWNER",
            "LABELS",
            "STATUS",
        ]);
        for part in parts {
            let labels = part
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let labels: Vec<_> = labels.collect();
            let orphaned = if part.orphaned { ", orphaned" } else { "" };
            table.row([
                part.agent.clone(),
                part.hostname.clone(),
                part.role.to_string(),
                part.amounts.words(),
                part.volume
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                part.owner.to_string(),
                if labels.is_empty() {
                    "-".to_owned()
                } else {
                    labels.join(",")
                },
                format!("{}{orphaned}", part.standing),
            ]);
        }
        table
    }
}

/// Who may still undo what was made at run time.
struct Live {
    frameworks: BTreeSet<FrameworkId>,
    principals: BTreeSet<String>,
}

impl Live {
    fn among(state: &StateView) -> Self {
        let live = || state.frameworks.iter().filter(|one| !one.completed);
        Self {
            frameworks: live().filter_map(|one| one.id.parse().ok()).collect(),
            principals: live().map(|one| one.info.principal.clone()).collect(),
        }
    }

    /// Whether neither the framework nor another of its principal is there any more.
    fn is_over(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Framework { id, principal } => {
                let others = !principal.is_empty() && self.principals.contains(principal);
                !self.frameworks.contains(id) && !others
            }
            Owner::Agent | Owner::Operator => false,
        }
    }
}

fn standing(agent: &AgentView, claim: &Claim) -> &'static str {
    let holds = |resources: &Resources| resources.parts().any(|(held, _)| held == claim);
    if holds(&agent.allocated) {
        "used"
    } else if holds(&agent.offered) {
        "offered"
    } else {
        "free"
    }
}
