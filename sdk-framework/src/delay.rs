//! Delay scheduling: to wait a little for an offer near the data (Zaharia et al., "Delay Scheduling",
//! EuroSys 2010). A framework turns down offers on which none of its tasks is local until it has waited
//! for some time, counted from the first that it turned down since it last launched a local one; then it
//! takes what there is, until it launches a local task again.
//!
//! The policy decides and remembers one moment, nothing else: time is handed in, and the tasks that wait
//! stay with whoever owns them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nesos_types::ids::AgentId;
use nesos_types::offer::{Filters, Offer};
use nesos_types::resources::Resources;
use nesos_types::time::Time;

#[cfg(test)]
mod tests;

/// The shortest refusal of an offer that may become acceptable: one allocation cycle of a master.
const SHORT: Duration = Duration::from_secs(1);

/// Where a task would rather run: on one of some agents, or where an attribute has one of some values.
/// A task without a preference is local everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    agents: BTreeSet<AgentId>,
    attributes: BTreeMap<String, BTreeSet<String>>,
}

impl Preference {
    /// No preference.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One of these agents, for example those that hold a replica of the task's data.
    #[must_use]
    pub fn agents(agents: impl IntoIterator<Item = AgentId>) -> Self {
        Self {
            agents: agents.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same, or wherever this attribute has this value: `rack`, `r7`. Values that are no text are
    /// compared by their text, as in offer constraints.
    #[must_use]
    pub fn or_attribute(mut self, name: &str, value: &str) -> Self {
        let values = self.attributes.entry(name.to_owned()).or_default();
        values.insert(value.to_owned());
        self
    }

    /// Whether a task with this preference would be local on the agent of an offer.
    #[must_use]
    pub fn is_local(&self, offer: &Offer) -> bool {
        let anywhere = self.agents.is_empty() && self.attributes.is_empty();
        anywhere
            || self.agents.contains(&offer.agent)
            || self.attributes.iter().any(|(name, values)| {
                let value = offer.agent_info.attributes.get(name);
                value.is_some_and(|value| values.contains(&value.to_string()))
            })
    }
}

/// What to do with an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The tasks to launch, by their places in what was handed in: local ones first.
    pub tasks: Vec<usize>,
    /// How many of them are local.
    pub local: usize,
    /// How long to refuse what they leave, or all of it if there are none.
    pub filters: Filters,
}

/// Delay scheduling for one framework, or for one of its jobs.
#[derive(Clone, Debug)]
pub struct DelayPolicy {
    wait: Duration,
    /// When an offer was first of no use since something local was last launched.
    since: Option<Time>,
}

impl DelayPolicy {
    /// A policy that waits so long for a local offer. Zero takes whatever comes.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self { wait, since: None }
    }

    /// Chooses among the tasks that wait, oldest first, each with what it needs and where it would
    /// rather run. The clock starts with the first offer that is of no use, and stops with a local launch.
    pub fn choose<'a>(
        &mut self,
        now: Time,
        offer: &Offer,
        waiting: impl IntoIterator<Item = (&'a Resources, &'a Preference)>,
    ) -> Choice {
        let waiting: Vec<_> = waiting.into_iter().collect();
        if waiting.is_empty() {
            self.since = None;
        }
        let mut choosing = Choosing {
            rest: offer.resources.clone(),
            tasks: Vec::new(),
        };
        let is_local = |preference: &Preference| preference.is_local(offer);
        choosing.take(&waiting, is_local);
        let local = choosing.tasks.len();
        if local > 0 {
            self.since = None;
        } else if !waiting.is_empty() {
            self.since.get_or_insert(now);
        }
        if self.patience_left(now).is_zero() && self.has_waited() {
            choosing.take(&waiting, |preference| !is_local(preference));
        }
        let all_chosen = choosing.tasks.len() == waiting.len();
        Choice {
            tasks: choosing.tasks,
            local,
            filters: self.filters(now, all_chosen),
        }
    }

    fn has_waited(&self) -> bool {
        self.since.is_some() || self.wait.is_zero()
    }

    /// How much longer to wait for something local.
    #[must_use]
    pub fn patience_left(&self, now: Time) -> Duration {
        let waited = self.since.map_or(Duration::ZERO, |since| now.since(since));
        self.wait.saturating_sub(waited)
    }

    /// What is of no use now may be when patience has ended, and is wanted back then; no sooner, for
    /// nothing local will be found on the same agent before.
    fn filters(&self, now: Time, all_chosen: bool) -> Filters {
        if all_chosen {
            return Filters::default();
        }
        Filters::refuse_for(self.patience_left(now).max(SHORT))
    }
}

/// A choice under way.
struct Choosing {
    rest: Resources,
    tasks: Vec<usize>,
}

impl Choosing {
    fn take(
        &mut self,
        waiting: &[(&Resources, &Preference)],
        wanted: impl Fn(&Preference) -> bool,
    ) {
        for (at, (needs, preference)) in waiting.iter().enumerate() {
            if wanted(preference)
                && let Some(used) = self.rest.choose(needs)
                && let Some(rest) = self.rest.checked_sub(&used)
            {
                self.rest = rest;
                self.tasks.push(at);
            }
        }
    }
}
