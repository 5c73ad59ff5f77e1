//! Revocable resources: CPU that tasks have accepted and do not use, as their agents tell.
//!
//! An agent's total grows and shrinks with what it tells. Offers of what is no longer there are taken
//! back; tasks stay until the agent, which sees who needs what, slows them down or ends them.

use nesos_types::reservation::Claim;
use nesos_types::resources::Resources;

use crate::decision::Decisions;
use crate::master::Master;
use crate::table::{AgentSlot, OfferSlot};

/// These resources with exactly so much revocable CPU.
fn with_revocable(resources: &Resources, cpu_milli: u64) -> Resources {
    let rest = resources.with_parts_if(|claim| !claim.revocable);
    let revocable = Resources::claimed(Claim::revocable(), Resources::new(cpu_milli, 0));
    rest.checked_add(&revocable)
        .expect("there is nothing revocable besides")
}

impl Master {
    /// An agent says how much of what its tasks have accepted nobody uses.
    pub(crate) fn on_slack(&mut self, slot: AgentSlot, cpu_milli: u64, out: &mut Decisions) {
        // More than all of it cannot be unused.
        let most = self.agents[slot].info.resources.flattened().cpu_milli;
        self.set_slack(slot, cpu_milli.min(most), out);
    }

    pub(crate) fn set_slack(&mut self, slot: AgentSlot, cpu_milli: u64, out: &mut Decisions) {
        if self.agents[slot].slack_milli == cpu_milli {
            return;
        }
        self.agents[slot].slack_milli = cpu_milli;
        while self.held_revocable(slot) > cpu_milli {
            let Some(newest) = self.newest_revocable_offer(slot) else {
                break;
            };
            self.rescind(newest, out);
        }
        self.fit_revocable(slot);
        if self.agents[slot].overcommitted {
            self.recount(slot);
        }
        self.touch_agent(slot);
    }

    /// Makes the agent's books go with its slack: it has that much, and what tasks hold beyond it.
    pub(crate) fn fit_revocable(&mut self, slot: AgentSlot) {
        let held = self.held_revocable(slot);
        let agent = &mut self.agents[slot];
        let total = agent.slack_milli.max(held);
        agent.total = with_revocable(&agent.total, total);
        if !agent.overcommitted {
            agent.free = with_revocable(&agent.free, total - held);
        }
    }

    /// How much of it tasks and offers of an agent hold.
    fn held_revocable(&self, slot: AgentSlot) -> u64 {
        self.held_on(slot)
            .map(Resources::revocable_cpu_milli)
            .fold(0, u64::saturating_add)
    }

    fn newest_revocable_offer(&self, slot: AgentSlot) -> Option<OfferSlot> {
        let offers = self.agents[slot].offers.iter().rev().copied();
        offers
            .into_iter()
            .find(|offer| self.offers[*offer].resources.revocable_cpu_milli() > 0)
    }
}
