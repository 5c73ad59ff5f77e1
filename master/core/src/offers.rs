//! Offers: resources of one agent that one framework holds until it answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nesos_types::ids::{AgentId, FrameworkId, OfferId};
use nesos_types::message::SchedulerEvent;
use nesos_types::offer::{self, Offer};
use nesos_types::resources::Resources;
use nesos_types::task::TaskReason;
use nesos_types::time::Time;

use crate::allocator::quota::Portion;
use crate::deadlines::Deadline;
use crate::decision::Decisions;
use crate::ids::offer_slot;
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, OfferSlot, Table};

/// How many offers that were lost with their agent are remembered, so that an acceptance that
/// crossed the loss is answered with its cause.
const MAX_LOST: usize = 4096;

/// An offer that has not been answered.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) id: OfferId,
    pub(crate) framework: FrameworkSlot,
    pub(crate) client: ClientSlot,
    pub(crate) agent: AgentSlot,
    pub(crate) resources: Resources,
    /// When it was made.
    pub(crate) since: Time,
    /// When it is rescinded; [`Time::MAX`] for never.
    pub(crate) expires: Time,
}

/// All outstanding offers, and some of those that were lost with their agent.
#[derive(Debug)]
pub(crate) struct Offers {
    table: Table<OfferSlot, Outstanding>,
    lost: BTreeMap<OfferId, LostOffer>,
    lost_order: VecDeque<OfferId>,
}

/// An offer that went with its agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostOffer {
    pub(crate) framework: FrameworkId,
    pub(crate) agent: AgentId,
    pub(crate) reason: TaskReason,
}

impl Offers {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            lost: BTreeMap::new(),
            lost_order: VecDeque::new(),
        }
    }

    /// The offer of this id, if it is this framework's: nobody can touch the offers of another, not
    /// even with its id.
    pub(crate) fn find(&self, id: OfferId, framework: FrameworkSlot) -> Option<OfferSlot> {
        let slot = offer_slot(id);
        let offer = self.table.get(slot)?;
        (offer.id == id && offer.framework == framework).then_some(slot)
    }

    /// How an offer of this framework was lost, if it went with its agent.
    pub(crate) fn find_lost(&self, id: OfferId, framework: FrameworkId) -> Option<LostOffer> {
        self.lost
            .get(&id)
            .filter(|lost| lost.framework == framework)
            .copied()
    }

    fn remember_lost(&mut self, id: OfferId, lost: LostOffer) {
        self.lost.insert(id, lost);
        self.lost_order.push_back(id);
        if self.lost_order.len() > MAX_LOST {
            let oldest = self.lost_order.pop_front();
            oldest.map(|oldest| self.lost.remove(&oldest));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OfferSlot, &Outstanding)> {
        self.table.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

impl std::ops::Index<OfferSlot> for Offers {
    type Output = Outstanding;
    fn index(&self, slot: OfferSlot) -> &Outstanding {
        &self.table[slot]
    }
}

impl Master {
    /// Makes an offer of what is free on an agent, or of a part of it.
    pub(crate) fn make_offer(
        &mut self,
        client: ClientSlot,
        agent: AgentSlot,
        portion: Portion,
    ) -> Offer {
        let holder = &self.allocator.clients[client];
        let (framework, role) = (holder.framework, holder.role.clone());
        let free = &mut self.agents[agent].free;
        let resources = match portion {
            Portion::All => std::mem::take(free),
            Portion::Part(part) => {
                *free = free.checked_sub(&part).expect("a part of what is free");
                part
            }
        };
        let slot = self.offers.table.next_slot();
        let expires = self
            .config
            .offer_timeout
            .map_or(Time::MAX, |timeout| self.now + timeout);
        let outstanding = Outstanding {
            id: self.ids.offer(slot),
            framework,
            client,
            agent,
            resources: resources.clone(),
            since: self.now,
            expires,
        };
        let from = &self.agents[agent];
        let offer = Offer {
            id: outstanding.id,
            framework: self.frameworks[framework].id,
            role,
            agent: from.id,
            agent_info: Arc::clone(&from.info),
            resources,
            free_sandboxes: from.free_sandboxes(),
            compiled_bundles: self.frameworks[framework].bundles.among(&from.compiled),
        };
        self.deadlines.insert(expires, Deadline::Offer(slot));
        self.allocator.charge(client, &outstanding.resources);
        self.allocator.clients[client].holdings += 1;
        self.offers.table.insert(outstanding);
        self.agents[agent].offers.push(slot);
        self.frameworks[framework].offers.insert(slot);
        self.touch_agent(agent);
        self.stats.offers_made += 1;
        offer
    }

    /// Takes an offer out. What it held is still charged to its client: the caller decides.
    pub(crate) fn remove_offer(&mut self, slot: OfferSlot) -> Outstanding {
        let offer = self.offers.table.remove(slot);
        self.deadlines.remove(offer.expires, Deadline::Offer(slot));
        self.agents[offer.agent].offers.retain(|held| *held != slot);
        self.frameworks[offer.framework].offers.remove(&slot);
        offer
    }

    /// Takes an offer out and its resources back, without a filter and without a word.
    pub(crate) fn discard_offer(&mut self, slot: OfferSlot) -> Outstanding {
        let offer = self.remove_offer(slot);
        self.release(offer.client, offer.agent, &offer.resources);
        offer
    }

    /// Takes an offer back and tells its framework.
    pub(crate) fn rescind(&mut self, slot: OfferSlot, out: &mut Decisions) {
        let offer = self.discard_offer(slot);
        self.stats.offers_rescinded += 1;
        if let Some(connection) = self.frameworks[offer.framework].connection {
            out.tell_scheduler(connection, SchedulerEvent::Rescind(offer.id));
        }
    }

    /// Takes back all offers of an agent that went or changed.
    pub(crate) fn rescind_agent(
        &mut self,
        agent: AgentSlot,
        reason: TaskReason,
        out: &mut Decisions,
    ) {
        for slot in self.agents[agent].offers.clone() {
            let lost = LostOffer {
                framework: self.frameworks[self.offers[slot].framework].id,
                agent: self.agents[agent].id,
                reason,
            };
            self.offers.remember_lost(self.offers[slot].id, lost);
            self.rescind(slot, out);
        }
    }

    /// An offer stood long enough.
    pub(crate) fn on_offer_timeout(&mut self, slot: OfferSlot, out: &mut Decisions) {
        self.rescind(slot, out);
    }

    /// A framework turns offers down. Those that are gone, or not its own, are skipped.
    pub(crate) fn on_decline(
        &mut self,
        framework: FrameworkSlot,
        offers: &[OfferId],
        filters: offer::Filters,
    ) {
        for id in offers {
            if let Some(slot) = self.offers.find(*id, framework) {
                let offer = self.remove_offer(slot);
                self.stats.offers_declined += 1;
                let refusal = filters.duration().max(self.config.allocation_interval);
                self.refuse(offer.client, offer.agent, &offer.resources, refusal);
                self.release(offer.client, offer.agent, &offer.resources);
            }
        }
    }
}
