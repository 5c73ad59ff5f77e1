//! The allocator: which agents' free resources go to whom.
//!
//! Two-level scheduling in the manner of Mesos: all that is free on an agent goes to the first client
//! in the policy's order that does not refuse it. The allocator keeps the set of agents that have
//! something to offer (`idle`), and of those the ones for which something has changed since nobody
//! took them (`candidates`); a run looks at candidates only.

use std::borrow::Cow;
use std::collections::BTreeSet;

use nesos_types::reservation::Claim;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::time::Time;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::agents::{Agent, Link};
use crate::config::MasterConfig;
use crate::explain::Blocked;
use crate::offers::Offers;
use crate::snapshot::Overdue;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, Table};

pub(crate) mod drf;
pub(crate) mod filters;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod quantities;
pub(crate) mod quota;
mod run;
pub(crate) mod share;
pub(crate) mod wishes;

use filters::{Epoch, Filters};
use policy::Policy;
use quota::{Pass, Portion, QuotaBlocked, Quotas};
use wishes::Wishes;

/// How many idle agents one cycle looks at again although nothing is known to have changed.
const CYCLE_AGENTS: usize = 1024;

/// A framework in one of its roles.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) framework: FrameworkSlot,
    pub(crate) role: Role,
    /// Its framework's scheduler is connected.
    pub(crate) connected: bool,
    /// Its framework subscribes in this role still.
    pub(crate) subscribed: bool,
    pub(crate) suppressed: bool,
    /// Tells the refusals that it stands by from older ones.
    pub(crate) epoch: Epoch,
    /// How many tasks and offers hold resources in its name. While there are any it is kept, even
    /// when the framework has left the role.
    pub(crate) holdings: usize,
    /// Which offers it wants to see.
    pub(crate) wishes: Wishes,
    /// The quotas that its role is under.
    pub(crate) quotas: Vec<usize>,
    /// How many promises agents have for it.
    pub(crate) promises: usize,
}

impl Client {
    pub(crate) fn new(framework: FrameworkSlot, role: Role, epoch: Epoch) -> Self {
        Self {
            framework,
            role,
            connected: false,
            subscribed: false,
            suppressed: false,
            epoch,
            holdings: 0,
            wishes: Wishes::default(),
            quotas: Vec::new(),
            promises: 0,
        }
    }

    /// What keeps all offers from this client.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        if !self.connected {
            Some(Blocked::FrameworkDisconnected)
        } else if !self.subscribed {
            Some(Blocked::NoRole)
        } else if self.suppressed {
            Some(Blocked::Suppressed)
        } else if self.wishes.wants_nothing() {
            Some(Blocked::NoDemand)
        } else {
            None
        }
    }
}

/// Clients, agents with something to offer, and the policy between them.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(crate) clients: Table<ClientSlot, Client>,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) filters: Filters,
    pub(crate) quotas: Quotas,
    /// How many clients have a minimum of their own.
    own_minima: usize,
    /// Agents with something to offer.
    idle: BTreeSet<AgentSlot>,
    /// Idle agents that the next run looks at.
    candidates: BTreeSet<AgentSlot>,
    /// When the next run is due.
    due: Option<Time>,
    /// When the next cycle is due.
    cycle_at: Option<Time>,
    /// Where the next cycle goes on.
    cycle_from: Option<AgentSlot>,
    /// Shuffles agents, so that no framework gets the same machines each time.
    rng: ChaCha8Rng,
}

impl Allocator {
    pub(crate) fn new(policy: Box<dyn Policy>, seed: [u8; 32]) -> Self {
        Self {
            clients: Table::new(),
            policy,
            filters: Filters::default(),
            quotas: Quotas::default(),
            own_minima: 0,
            idle: BTreeSet::new(),
            candidates: BTreeSet::new(),
            due: None,
            cycle_at: None,
            cycle_from: None,
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    pub(crate) fn cycle_at(&self) -> Option<Time> {
        self.cycle_at
    }

    pub(crate) fn is_idle(&self, agent: AgentSlot) -> bool {
        self.idle.contains(&agent)
    }

    pub(crate) fn is_candidate(&self, agent: AgentSlot) -> bool {
        self.candidates.contains(&agent)
    }

    /// Whether some client may want so little.
    pub(crate) fn is_worth_it(&self, free: &Resources, config: &MasterConfig) -> bool {
        config.is_allocatable(free) || (self.own_minima > 0 && !free.is_empty())
    }

    /// Changes a client's wishes. Answers whether agents that were not worth a look may be now.
    pub(crate) fn set_wishes(&mut self, client: ClientSlot, wishes: Wishes) -> bool {
        let own = &mut self.clients[client].wishes;
        let (had, has) = (own.has_minimum(), wishes.has_minimum());
        let before = std::mem::replace(own, wishes);
        own.keep_demand_of(before);
        self.own_minima += usize::from(has);
        self.own_minima -= usize::from(had);
        has && !had && self.own_minima == 1
    }

    /// Agents with something to offer, in order.
    pub(crate) fn idle(&self) -> impl Iterator<Item = AgentSlot> {
        self.idle.iter().copied()
    }

    /// An agent changed: it is a candidate if it has anything to offer.
    fn touch(&mut self, slot: AgentSlot, free: Option<&Resources>) {
        self.quotas.count_free(slot, free);
        if free.is_some() {
            self.idle.insert(slot);
            self.candidates.insert(slot);
        } else {
            self.idle.remove(&slot);
            self.candidates.remove(&slot);
        }
    }

    /// A run is done with an agent.
    fn set_aside(&mut self, slot: AgentSlot) {
        self.candidates.remove(&slot);
    }

    /// A client holds more.
    pub(crate) fn charge(&mut self, client: ClientSlot, resources: &Resources) {
        self.policy.charge(client, resources);
        self.quotas
            .charge_one(&self.clients[client].quotas, resources);
    }

    /// A client holds less.
    pub(crate) fn refund(&mut self, client: ClientSlot, resources: &Resources) {
        self.policy.refund(client, resources);
        self.quotas
            .refund_one(&self.clients[client].quotas, resources);
    }

    /// Somebody wants offers who did not before: every idle agent is a candidate.
    fn touch_all(&mut self) {
        self.candidates.clone_from(&self.idle);
    }

    /// The candidates in random order; none are left behind.
    fn take_candidates(&mut self) -> Vec<AgentSlot> {
        let mut agents: Vec<_> = std::mem::take(&mut self.candidates).into_iter().collect();
        agents.shuffle(&mut self.rng);
        agents
    }

    pub(crate) fn has_candidates(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// No run is due until something changes.
    pub(crate) fn put_off(&mut self) {
        self.due = None;
    }

    /// Makes some idle agents candidates, others each time.
    fn next_cycle(&mut self) {
        let from = self.cycle_from.take();
        let mut agents = match from {
            Some(from) => self.idle.range(from..),
            None => self.idle.range(..),
        };
        self.candidates.extend(agents.by_ref().take(CYCLE_AGENTS));
        self.cycle_from = agents.next().copied();
    }
}

/// What keeps an agent's resources from everybody, whoever asks.
pub(crate) fn agent_blocked(
    agent: &Agent,
    offers: &Offers,
    is_worth_it: impl FnOnce(&Resources) -> bool,
) -> Option<AgentBlocked> {
    match agent.link {
        Link::Recovered if agent.overdue == Some(Overdue::Held) => return Some(AgentBlocked::Held),
        Link::Recovered => return Some(AgentBlocked::Recovered),
        Link::Disconnected { since } => return Some(AgentBlocked::Disconnected { since }),
        Link::Connected(_) => {}
    }
    if !agent.orders.allow_offers() {
        return Some(match agent.orders.drain {
            Some(_) => AgentBlocked::Draining,
            None => AgentBlocked::Deactivated,
        });
    }
    if is_worth_it(&agent.free) {
        return (agent.free_sandboxes() == 0).then_some(AgentBlocked::NoSandbox);
    }
    let held = agent.offers.iter().map(|slot| &offers[*slot]);
    let oldest = held.min_by_key(|offer| offer.since);
    Some(match oldest {
        Some(offer) => AgentBlocked::Offered {
            framework: offer.framework,
            since: offer.since,
        },
        None if agent.free.is_empty() => AgentBlocked::Allocated,
        None => AgentBlocked::BelowMinimum,
    })
}

/// What keeps an agent's resources from everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentBlocked {
    Recovered,
    Held,
    Disconnected {
        since: Time,
    },
    Deactivated,
    Draining,
    Offered {
        framework: FrameworkSlot,
        since: Time,
    },
    Allocated,
    BelowMinimum,
    NoSandbox,
}

impl Allocator {
    /// What a client may have of one agent's free resources, or what keeps them from it when nothing
    /// keeps them from everybody.
    pub(crate) fn portion(
        &self,
        client: ClientSlot,
        slot: AgentSlot,
        agent: &Agent,
        rules: &Rules<'_>,
    ) -> Result<Portion, Blocked> {
        portion(
            &self.clients[client],
            &self.quotas,
            &self.filters,
            (client, slot, agent),
            rules,
        )
    }
}

/// What an allocation goes by beside its own state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) config: &'a MasterConfig,
    pub(crate) now: Time,
    pub(crate) pass: Pass,
    /// What roles hold is not known, because too many agents have not come back.
    pub(crate) holdings_unknown: bool,
}

impl From<QuotaBlocked> for Blocked {
    fn from(blocked: QuotaBlocked) -> Self {
        match blocked {
            QuotaBlocked::Limit(role) => Self::QuotaLimit { role },
            QuotaBlocked::HeldBack | QuotaBlocked::Met => Self::Headroom,
            QuotaBlocked::Unknown => Self::QuotaUnknown,
        }
    }
}

/// What of an agent's free resources a client may use at all: not what is reserved for others, nor what
/// is revocable if it wants none of that.
fn suited<'a>(client: &Client, free: &'a Resources) -> Result<Cow<'a, Resources>, Blocked> {
    let is_suited = |claim: &Claim| claim.is_open_to(&client.role) && client.wishes.takes(claim);
    let Some((other, _)) = free.parts().find(|(claim, _)| !is_suited(claim)) else {
        return Ok(Cow::Borrowed(free));
    };
    let suited = free.with_parts_if(is_suited);
    if !suited.is_empty() {
        return Ok(Cow::Owned(suited));
    }
    Err(match other.reservation() {
        Some(reservation) => Blocked::Reserved {
            role: reservation.role.clone(),
        },
        None => Blocked::Revocable,
    })
}

fn portion(
    client: &Client,
    quotas: &Quotas,
    filters: &Filters,
    (client_slot, slot, agent): (ClientSlot, AgentSlot, &Agent),
    rules: &Rules<'_>,
) -> Result<Portion, Blocked> {
    if let Some(blocked) = client.wishes.agent_blocked(&agent.info) {
        return Err(blocked);
    }
    if let Some(promise) = agent.promised_to_others(client_slot) {
        let role = promise.role.clone();
        return Err(Blocked::Promised { role });
    }
    let suited = suited(client, &agent.free)?;
    let by_quota = if rules.holdings_unknown && !client.quotas.is_empty() {
        Err(QuotaBlocked::Unknown)
    } else {
        quotas.portion(&client.quotas, &suited, rules.pass)
    };
    let portion = match (by_quota, suited) {
        (Ok(Portion::All), Cow::Owned(suited)) => Portion::Part(suited),
        (Ok(portion), _) => portion,
        // What is set apart is no quota's business.
        (Err(_), suited) if suited.has_parts() && rules.pass == Pass::Everybody => {
            Portion::Part(suited.only_parts())
        }
        (Err(blocked), _) => return Err(blocked.into()),
    };
    let resources = portion.of(&agent.free);
    if let Some(blocked) = client.wishes.resources_blocked(resources, rules.config) {
        return Err(blocked);
    }
    match filters.blocks(client_slot, client.epoch, slot, resources, rules.now) {
        Some(until) => Err(Blocked::Filtered { until }),
        None => Ok(portion),
    }
}
