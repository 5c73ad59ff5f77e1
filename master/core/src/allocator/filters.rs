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

/// The refusals of one client on one agent. There is nearly always one, which therefore lies right
/// here: an allocation looks at a great many.
#[derive(Debug)]
struct Refusals {
    epoch: Epoch,
    newest: Refusal,
    /// Earlier ones that the newest does not cover.
    others: Vec<Refusal>,
    /// When the set of deadlines wakes the allocator for this list.
    deadline: Option<Time>,
}

impl Refusals {
    fn new(epoch: Epoch, refusal: Refusal) -> Self {
        Self {
            epoch,
            newest: refusal,
            others: Vec::new(),
            deadline: None,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Refusal> {
        std::iter::once(&self.newest).chain(&self.others)
    }

    fn first(&self) -> Time {
        let others = self.others.iter().map(|refusal| refusal.until);
        others.fold(self.newest.until, Time::min)
    }

    fn add(&mut self, refusal: Refusal) {
        if self.iter().any(|old| old.covers(&refusal)) {
            return;
        }
        let before = std::mem::replace(&mut self.newest, refusal);
        self.others.push(before);
        let newest = &self.newest;
        self.others.retain(|old| !newest.covers(old));
        if self.others.len() >= MAX_REFUSALS {
            self.others.sort_by_key(|refusal| refusal.until);
            self.others.remove(0);
        }
    }

    /// The same, for a client that may have taken back what it refused before.
    fn take(&mut self, epoch: Epoch, refusal: Refusal) {
        if self.epoch == epoch {
            self.add(refusal);
        } else {
            self.epoch = epoch;
            self.others.clear();
            self.newest = refusal;
        }
    }

    /// Forgets what is over. Answers false if nothing is left.
    fn keep_after(&mut self, now: Time) -> bool {
        self.others.retain(|refusal| refusal.until > now);
        if self.newest.until > now {
            return true;
        }
        match self.others.pop() {
            Some(refusal) => self.newest = refusal,
            None => return false,
        }
        true
    }
}

/// The newest refusal of a client at a glance: what most questions can be answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Glance {
    epoch: Epoch,
    until: Time,
    cpu_milli: u64,
    mem_bytes: u64,
    disk_bytes: u64,
    /// There are no others.
    alone: bool,
}

impl Glance {
    fn of(refusals: &Refusals) -> Self {
        let resources = &refusals.newest.resources;
        Self {
            epoch: refusals.epoch,
            until: refusals.newest.until,
            cpu_milli: resources.cpu_milli,
            mem_bytes: resources.mem_bytes,
            disk_bytes: resources.disk_bytes,
            alone: refusals.others.is_empty(),
        }
    }

    /// Whether resources that are [basic](Resources::is_basic) fit inside what was turned down.
    fn contains(&self, basic: &Resources) -> bool {
        self.cpu_milli >= basic.cpu_milli
            && self.mem_bytes >= basic.mem_bytes
            && self.disk_bytes >= basic.disk_bytes
    }
}

/// The refusals on one agent: clients in order, and beside each what it refused. Clients and glances lie
/// apart so that a question about one touches little memory.
#[derive(Debug, Default)]
struct OfAgent {
    clients: Vec<ClientSlot>,
    glances: Vec<Glance>,
    refusals: Vec<Refusals>,
}

impl OfAgent {
    /// Takes a refusal in. Answers where its client is.
    fn take(&mut self, client: ClientSlot, epoch: Epoch, refusal: Refusal) -> usize {
        match self.clients.binary_search(&client) {
            Ok(at) => {
                self.refusals[at].take(epoch, refusal);
                self.glances[at] = Glance::of(&self.refusals[at]);
                at
            }
            Err(at) => {
                let refusals = Refusals::new(epoch, refusal);
                self.clients.insert(at, client);
                self.glances.insert(at, Glance::of(&refusals));
                self.refusals.insert(at, refusals);
                at
            }
        }
    }

    /// Forgets what is over. Answers false if nothing is left, and then the client is gone.
    fn keep_after(&mut self, at: usize, epoch: Option<Epoch>, now: Time) -> bool {
        let refusals = &mut self.refusals[at];
        let stays = epoch == Some(refusals.epoch) && refusals.keep_after(now);
        if stays {
            self.glances[at] = Glance::of(refusals);
        } else {
            self.clients.remove(at);
            self.glances.remove(at);
            self.refusals.remove(at);
        }
        stays
    }
}

/// All refusals.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// By slot of the agent.
    by_agent: Vec<OfAgent>,
    epochs: u64,
}

impl Filters {
    /// An epoch that no refusal belongs to yet.
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch(self.epochs)
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
        if self.by_agent.len() <= agent.index() {
            self.by_agent
                .resize_with(agent.index() + 1, OfAgent::default);
        }
        let of_agent = &mut self.by_agent[agent.index()];
        let refusal = Refusal { resources, until };
        let at = of_agent.take(client, epoch, refusal);
        // A deadline that comes too early finds nothing to do and is set again, which costs less than
        // moving it with each refusal; one that comes too late would keep resources back.
        let refusals = &mut of_agent.refusals[at];
        let first = refusals.first();
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
        let of_agent = self.by_agent.get(agent.index())?;
        let at = of_agent.clients.binary_search(&client).ok()?;
        let glance = &of_agent.glances[at];
        if glance.epoch != epoch {
            return None;
        }
        if glance.alone && free.is_basic() {
            return (glance.until > now && glance.contains(free)).then_some(glance.until);
        }
        of_agent.refusals[at]
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
        let of_agent = self.by_agent.get_mut(agent.index())?;
        let at = of_agent.clients.binary_search(&client).ok()?;
        if !of_agent.keep_after(at, epoch, now) {
            return None;
        }
        let refusals = &mut of_agent.refusals[at];
        refusals.deadline = Some(refusals.first());
        refusals.deadline
    }

    /// Forgets every refusal on an agent; answers the deadlines to take out.
    pub(crate) fn clear_agent(
        &mut self,
        agent: AgentSlot,
    ) -> impl Iterator<Item = (Time, ClientSlot)> + use<> {
        let of_agent = self.by_agent.get_mut(agent.index());
        let OfAgent {
            clients, refusals, ..
        } = of_agent.map(std::mem::take).unwrap_or_default();
        clients
            .into_iter()
            .zip(refusals)
            .filter_map(|(client, refusals)| Some((refusals.deadline?, client)))
    }

    /// Asserts that what is seen at a glance is what is there.
    pub(crate) fn check_invariants(&self) {
        for of_agent in &self.by_agent {
            let glances = of_agent.refusals.iter().map(Glance::of);
            assert!(glances.eq(of_agent.glances.iter().copied()), "glances");
            assert_eq!(of_agent.clients.len(), of_agent.refusals.len());
        }
    }

    /// The deadlines that are set.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Time, ClientSlot, AgentSlot)> {
        let agents = self.by_agent.iter().enumerate();
        agents.flat_map(|(at, of_agent)| {
            let refusals = of_agent.clients.iter().zip(&of_agent.refusals);
            refusals.filter_map(move |(client, refusals)| {
                Some((refusals.deadline?, *client, AgentSlot::at(at)))
            })
        })
    }
}
