//! Offers: free resources of one agent, held for one framework until it answers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::AgentInfo;
use crate::bundle::Digest;
use crate::ids::{AgentId, FrameworkId, OfferId};
use crate::reservation::ReservationChange;
use crate::resources::Resources;
use crate::role::Role;
use crate::task::SharedTask;

/// Free resources of exactly one agent, for exactly one framework and one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Names the offer in an answer.
    pub id: OfferId,
    /// Whom it is for.
    pub framework: FrameworkId,
    /// The role that the resources are allocated to.
    pub role: Role,
    /// Whose resources they are.
    pub agent: AgentId,
    /// What the agent says of itself: its host, its address, its attributes, all that it has.
    pub agent_info: Arc<AgentInfo>,
    /// The resources.
    pub resources: Resources,
    /// How many more sandboxes the agent could hold when the offer was made; [`u32::MAX`] where it does
    /// not count them.
    pub free_sandboxes: u32,
    /// Which of the bundles that the framework launched lately the agent has compiled already: a task of
    /// one of these starts at once.
    pub compiled_bundles: Vec<Digest>,
}

/// Something that a framework waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// In which role.
    pub role: Role,
    /// What one task wants.
    pub resources: Resources,
    /// How many such tasks wait.
    pub count: u32,
}

/// How long what a framework turns down is not offered to it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// `None` is the default of 5 s; zero is "offer it again at once"; above 365 days is clamped.
    pub refuse: Option<Duration>,
}

impl Filters {
    /// How long a refusal lasts when the framework does not say (Mesos: 5 s).
    pub const DEFAULT_REFUSE: Duration = Duration::from_secs(5);
    /// The longest refusal (Mesos: 365 days).
    pub const MAX_REFUSE: Duration = Duration::from_secs(365 * 24 * 3600);

    /// A filter of exactly this length.
    #[must_use]
    pub const fn refuse_for(duration: Duration) -> Self {
        Self {
            refuse: Some(duration),
        }
    }

    /// No filter: what is turned down may be offered again at once.
    #[must_use]
    pub const fn none() -> Self {
        Self::refuse_for(Duration::ZERO)
    }

    /// The length in force, after default and clamp.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.refuse
            .unwrap_or(Self::DEFAULT_REFUSE)
            .min(Self::MAX_REFUSE)
    }
}

/// What to do with accepted resources. Operations are applied in order to what the earlier ones left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Start tasks, each on its own: one that is invalid does not hold back the others.
    Launch(Vec<SharedTask>),
    /// Start tasks together: if one is invalid, none starts.
    LaunchGroup(Vec<SharedTask>),
    /// Set resources apart, or give them back. What comes of it can be used by the operations behind.
    Reservation(ReservationChange),
}
