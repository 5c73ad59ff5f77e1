//! Filters: what a client turned down is not offered to it again for a while (behaviour of Mesos'
//! `RefusedOfferFilter`).

use std::collections::BTreeMap;

use nesos_types::resources::Resources;
use nesos_types::time::Time;

use crate::table::AgentSlot;

/// How many refusals of one client on one agent count at once. Beyond that the one that ends first
/// is dropped: the resources come back early, which does no harm.
const MAX_REFUSALS: usize = 16;

#[derive(Debug)]
struct Refusal {
    resources: Resources,
    until: Time,
}

impl Refusal {
    /// Whether everything that `other` blocks is blocked by this.
    fn covers(&self, other: &Self) -> bool {
        self.until >= other.until && self.resources.contains(&other.resources)
    }
}

/// The refusals of one client on one agent.
#[derive(Debug, Default)]
struct Refusals {
    list: Vec<Refusal>,
    /// When the set of deadlines wakes the allocator for this list.
    deadline: Option<Time>,
}

impl Refusals {
    fn first(&self) -> Option<Time> {
        self.list.iter().map(|refusal| refusal.until).min()
    }
}

/// The filters of one client: one framework in one role.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<AgentSlot, Refusals>);

impl Filters {
    /// Takes a refusal in. Answers the deadline to set, and the one that it replaces.
    pub(crate) fn refuse(
        &mut self,
        agent: AgentSlot,
        resources: Resources,
        until: Time,
    ) -> Option<(Option<Time>, Time)> {
        let refusals = self.0.entry(agent).or_default();
        let refusal = Refusal { resources, until };
        if refusals.list.iter().any(|old| old.covers(&refusal)) {
            return None;
        }
        refusals.list.retain(|old| !refusal.covers(old));
        refusals.list.push(refusal);
        if refusals.list.len() > MAX_REFUSALS {
            refusals.list.sort_by_key(|refusal| refusal.until);
            refusals.list.remove(0);
        }
        // A deadline that comes too early finds nothing to do and is set again, which costs less than
        // moving it with each refusal; one that comes too late would keep resources back.
        let first = refusals.first()?;
        if refusals.deadline.is_some_and(|set| set <= first) {
            return None;
        }
        Some((refusals.deadline.replace(first), first))
    }

    /// Until when `free` on this agent is refused; `None` if it is not. It is if it fits inside what
    /// was turned down: when more becomes free, the refusal no longer counts.
    pub(crate) fn blocks(&self, agent: AgentSlot, free: &Resources, now: Time) -> Option<Time> {
        self.0
            .get(&agent)?
            .list
            .iter()
            .filter(|refusal| refusal.until > now && refusal.resources.contains(free))
            .map(|refusal| refusal.until)
            .max()
    }

    /// The deadline for an agent has come: forgets what is over and answers the next deadline.
    pub(crate) fn expire(&mut self, agent: AgentSlot, now: Time) -> Option<Time> {
        let refusals = self.0.get_mut(&agent)?;
        refusals.list.retain(|refusal| refusal.until > now);
        refusals.deadline = refusals.first();
        if refusals.list.is_empty() {
            self.0.remove(&agent);
            return None;
        }
        refusals.deadline
    }

    /// Forgets the refusals on one agent; answers the deadline to take out.
    pub(crate) fn clear_agent(&mut self, agent: AgentSlot) -> Option<Time> {
        self.0.remove(&agent)?.deadline
    }

    /// Forgets everything; answers the deadlines to take out.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = (Time, AgentSlot)> + use<> {
        std::mem::take(&mut self.0)
            .into_iter()
            .filter_map(|(agent, refusals)| Some((refusals.deadline?, agent)))
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Time, AgentSlot)> {
        self.0
            .iter()
            .filter_map(|(agent, refusals)| Some((refusals.deadline?, *agent)))
    }
}
