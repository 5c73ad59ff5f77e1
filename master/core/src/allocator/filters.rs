//! Filters: what a client turned down is not offered to it again for a while (behaviour of Mesos'
//! `RefusedOfferFilter`).
//!
//! Refusals lie with their agent, because an allocation asks for all clients of one agent. Forgetting
//! all refusals of one client takes one step: the client gets a new epoch, and refusals of an older
//! one count no longer.

use nesos_types::resources::Resources;
use nesos_types::time::Time;

use crate::table::{AgentSlot, ClientSlot, Slot};

/// How many refusals of one client on one agent count at once. Beyond that the one that ends first
/// is dropped: the resources come back early, which does no harm.
const MAX_REFUSALS: usize = 16;

/// Tells the refusals that a client stands by from those that it took back. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

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
#[derive(Debug)]
struct Refusals {
    client: ClientSlot,
    epoch: Epoch,
    list: Vec<Refusal>,
    /// When the set of deadlines wakes the allocator for this list.
    deadline: Option<Time>,
}

impl Refusals {
    fn first(&self) -> Option<Time> {
        self.list.iter().map(|refusal| refusal.until).min()
    }

    fn add(&mut self, refusal: Refusal) {
        if self.list.iter().any(|old| old.covers(&refusal)) {
            return;
        }
        self.list.retain(|old| !refusal.covers(old));
        self.list.push(refusal);
        if self.list.len() > MAX_REFUSALS {
            self.list.sort_by_key(|refusal| refusal.until);
            self.list.remove(0);
        }
    }
}

/// All refusals.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// By slot of the agent; each agent's sorted by client.
    by_agent: Vec<Vec<Refusals>>,
    epochs: u64,
}

impl Filters {
    /// An epoch that no refusal belongs to yet.
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch(self.epochs)
    }

    fn of_agent(&self, agent: AgentSlot) -> &[Refusals] {
        self.by_agent.get(agent.index()).map_or(&[], Vec::as_slice)
    }

    fn find(&self, client: ClientSlot, agent: AgentSlot) -> Result<usize, usize> {
        self.of_agent(agent)
            .binary_search_by_key(&client, |refusals| refusals.client)
    }

    fn entry(&mut self, client: ClientSlot, epoch: Epoch, agent: AgentSlot) -> &mut Refusals {
        let at = self.find(client, agent);
        if self.by_agent.len() <= agent.index() {
            self.by_agent.resize_with(agent.index() + 1, Vec::new);
        }
        let of_agent = &mut self.by_agent[agent.index()];
        let at = at.unwrap_or_else(|at| {
            let refusals = Refusals {
                client,
                epoch,
                list: Vec::with_capacity(1),
                deadline: None,
            };
            of_agent.insert(at, refusals);
            at
        });
        &mut of_agent[at]
    }

    /// Takes a refusal in. Answers the deadline to set, and the one that it replaces.
    pub(crate) fn refuse(
        &mut self,
        client: ClientSlot,
        epoch: Epoch,
        agent: AgentSlot,
        resources: Resources,
        until: Time,
    ) -> Option<(Option<Time>, Time)> {
        let refusals = self.entry(client, epoch, agent);
        if refusals.epoch != epoch {
            refusals.epoch = epoch;
            refusals.list.clear();
        }
        refusals.add(Refusal { resources, until });
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
    pub(crate) fn blocks(
        &self,
        client: ClientSlot,
        epoch: Epoch,
        agent: AgentSlot,
        free: &Resources,
        now: Time,
    ) -> Option<Time> {
        let at = self.find(client, agent).ok()?;
        let refusals = &self.of_agent(agent)[at];
        if refusals.epoch != epoch {
            return None;
        }
        refusals
            .list
            .iter()
            .filter(|refusal| refusal.until > now && refusal.resources.contains(free))
            .map(|refusal| refusal.until)
            .max()
    }

    /// The deadline of a client on an agent has come: forgets what is over and answers the next
    /// deadline. `epoch` is the client's, if it is still there.
    pub(crate) fn expire(
        &mut self,
        client: ClientSlot,
        epoch: Option<Epoch>,
        agent: AgentSlot,
        now: Time,
    ) -> Option<Time> {
        let at = self.find(client, agent).ok()?;
        let of_agent = &mut self.by_agent[agent.index()];
        let refusals = &mut of_agent[at];
        let counts = epoch == Some(refusals.epoch);
        refusals
            .list
            .retain(|refusal| counts && refusal.until > now);
        refusals.deadline = refusals.first();
        if refusals.list.is_empty() {
            of_agent.remove(at);
            return None;
        }
        refusals.deadline
    }

    /// Forgets every refusal on an agent; answers the deadlines to take out.
    pub(crate) fn clear_agent(
        &mut self,
        agent: AgentSlot,
    ) -> impl Iterator<Item = (Time, ClientSlot)> + use<> {
        let refusals = self.by_agent.get_mut(agent.index());
        refusals
            .map(std::mem::take)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|refusals| Some((refusals.deadline?, refusals.client)))
    }

    /// The deadlines that are set.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Time, ClientSlot, AgentSlot)> {
        let agents = self.by_agent.iter().enumerate();
        agents.flat_map(|(at, of_agent)| {
            of_agent.iter().filter_map(move |refusals| {
                Some((refusals.deadline?, refusals.client, AgentSlot::at(at)))
            })
        })
    }
}
