//! Frameworks: who is offered resources.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::constraints::OfferConstraints;
use crate::resources::Resources;
use crate::role::Role;

/// What a framework says of itself when it subscribes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkInfo {
    /// A name for people; need not be unique.
    pub name: String,
    /// The roles in which it wants offers; none means no offers.
    pub roles: BTreeSet<Role>,
    /// Who runs it, as far as anyone has checked; empty for nobody.
    pub principal: String,
    /// How long its tasks live on after its scheduler is gone. Default: 1 min.
    pub failover_timeout: Duration,
    /// Where it runs.
    pub hostname: String,
    /// A page about it, if it has one.
    pub webui_url: String,
    /// Carried along, not interpreted.
    pub labels: BTreeMap<String, String>,
    /// Which offers it wants to see, by role; a role that is not named sees all.
    #[serde(default)]
    pub offer_filters: BTreeMap<Role, OfferFilters>,
}

/// Which offers a framework wants to see in a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferFilters {
    /// Offers must contain one of these, in place of the master's own minimum. An empty list: anything
    /// goes.
    pub min_allocatable: Option<Vec<Resources>>,
    /// What agents must be like.
    pub constraints: Option<OfferConstraints>,
    /// Offers may hold revocable resources: what others have accepted and do not use. Tasks on them are
    /// slowed down and then ended when their owners use them again.
    pub revocable: bool,
}

impl FrameworkInfo {
    /// How long a framework's tasks live on after its scheduler is gone, if it does not say.
    pub const DEFAULT_FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);

    /// A framework of this name in the given roles; everything else at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            name: name.into(),
            roles: roles.into_iter().collect(),
            principal: String::new(),
            failover_timeout: Self::DEFAULT_FAILOVER_TIMEOUT,
            hostname: String::new(),
            webui_url: String::new(),
            labels: BTreeMap::new(),
            offer_filters: BTreeMap::new(),
        }
    }
}
