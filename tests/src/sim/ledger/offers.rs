//! Offers: no resource is given twice, no offer is taken back twice, and no role gets more than its limit.

use std::collections::BTreeSet;

use nesos_agent_core::Agent;
use nesos_master_core::ConnectionId;
use nesos_types::ids::{AgentId, OfferId, TaskKey};
use nesos_types::offer::Offer;
use nesos_types::resources::Resources;

use super::{Check, Ledger, OpenOffer, must};
use crate::sim::host::Host;

impl Ledger {
    /// An agent is told its name.
    pub(crate) fn names(
        &mut self,
        connection: ConnectionId,
        seat: usize,
        agent: AgentId,
        host: usize,
    ) {
        self.hosts.insert(agent, host);
        self.present.insert(connection, (agent, seat));
    }

    /// A master makes an offer. Together with all others and what guests hold it must fit on the agent.
    pub(crate) fn offers(
        &mut self,
        connection: ConnectionId,
        seat: usize,
        offer: &Offer,
        hosts: &[Host],
    ) -> Check {
        let id = offer.id;
        let open = OpenOffer {
            connection,
            seat,
            agent: offer.agent,
            role: offer.role.clone(),
            resources: offer.resources.clone(),
        };
        let twice = self.offers.insert(id, open).is_some();
        self.offers_on.entry(offer.agent).or_default().insert(id);
        self.offers_over.entry(connection).or_default().insert(id);
        must(!twice, &[&id], || format!("offer {id} was made twice"))?;
        self.check_fit(seat, offer.agent, hosts)?;
        self.check_limit(seat, offer, hosts)
    }

    /// Nothing of an agent is given twice: offers and guests together are no more than there is.
    fn check_fit(&self, seat: usize, agent: AgentId, hosts: &[Host]) -> Check {
        let Some(&i) = self.hosts.get(&agent) else {
            return must(false, &[&agent], || {
                format!("agent {agent} is offered and was never told its name")
            });
        };
        let host = &hosts[i];
        if host.agent.as_ref().and_then(Agent::id) != Some(agent) {
            // It died, or gave up, before it knew that it had this name: nothing reaches it under that.
            return Ok(());
        }
        let offered = self.offers_on.get(&agent).into_iter().flatten();
        let offered = offered.map(|id| &self.offers[id]);
        let offered = offered.filter(|offer| offer.seat == seat);
        let offered = sum(offered.map(|offer| &offer.resources));
        let live = host.live_guests();
        let wanted = live.filter(|(key, _)| !self.removed.contains(&key.framework));
        let held = sum(wanted.map(|(_, task)| &task.resources));
        let total = &host.config.info.resources;
        let (cpu, mem) = (offered.0 + held.0, offered.1 + held.1);
        must(
            cpu <= total.cpu_milli && mem <= total.mem_bytes,
            &[&agent, &format!("agent {i} ")],
            || {
                format!(
                    "agent {i} ({agent}) has {} thousandths of a core and {} bytes; {} and {} are offered, \
                     guests hold {} and {}: something was given twice",
                    total.cpu_milli, total.mem_bytes, offered.0, offered.1, held.0, held.1
                )
            },
        )
    }

    /// A role with a limit is not offered more than that, with what its guests have where that is known.
    fn check_limit(&self, seat: usize, offer: &Offer, hosts: &[Host]) -> Check {
        // What is reserved is offered whatever the limit is, and so is what no limit is about.
        let Some(&limit) = self
            .limits
            .get(&offer.role)
            .filter(|_| offer.resources.cpu_milli > 0)
        else {
            return Ok(());
        };
        let role = &offer.role;
        let offers = self.offers.values();
        let offers = offers.filter(|offer| offer.seat == seat && offer.role == *role);
        let offered: u64 = offers.map(|offer| offer.resources.cpu_milli).sum();
        let present = self.present.values().filter(|(_, of)| *of == seat);
        let known: BTreeSet<_> = present.map(|(id, _)| self.hosts[id]).collect();
        let guests = known.iter().flat_map(|i| hosts[*i].live_guests_of(role));
        let wanted = guests.filter(|(key, _)| !self.removed.contains(&key.framework));
        let held = sum(wanted.map(|(_, task)| &task.resources)).0;
        must(offered + held <= limit, &[role], || {
            format!(
                "{role} may have {limit} thousandths of a core; its guests have {held}, and {offered} are offered"
            )
        })
    }

    /// A master takes an offer back.
    pub(crate) fn rescinds(&mut self, connection: ConnectionId, id: OfferId) -> Check {
        let open = self.forget_offer(id);
        let own = open.is_some_and(|open| open.connection == connection);
        must(own, &[&id], || {
            format!("offer {id} was taken back and is not open")
        })
    }

    /// A master takes an answer in.
    pub(crate) fn answered(&mut self, offers: &[OfferId]) {
        for id in offers {
            self.forget_offer(*id);
        }
    }

    fn forget_offer(&mut self, id: OfferId) -> Option<OpenOffer> {
        let open = self.offers.remove(&id)?;
        if let Some(on) = self.offers_on.get_mut(&open.agent) {
            on.remove(&id);
        }
        if let Some(over) = self.offers_over.get_mut(&open.connection) {
            over.remove(&id);
        }
        Some(open)
    }

    /// Nobody will hear of the offers on a connection any more.
    pub(crate) fn closed(&mut self, connection: ConnectionId) {
        if self.kept {
            let over = self.offers_over.remove(&connection).unwrap_or_default();
            for id in over {
                self.forget_offer(id);
            }
            self.present.remove(&connection);
        }
    }

    /// A guest starts, on top of what there is.
    pub(crate) fn fits(&self, i: usize, key: &TaskKey, host: &Host) -> Check {
        let live = host.live_guests();
        let wanted = live.filter(|(key, _)| !self.removed.contains(&key.framework));
        let held = sum(wanted.map(|(_, task)| &task.resources));
        let total = &host.config.info.resources;
        must(
            held.0 <= total.cpu_milli && held.1 <= total.mem_bytes,
            &[&key.task, &format!("agent {i} ")],
            || format!("guests on agent {i} hold {held:?} with {key}, and it has {total}"),
        )
    }
}

/// Thousandths of a core, and bytes of memory; what is revocable is lent, and counts for its owner.
fn sum<'a>(resources: impl Iterator<Item = &'a Resources>) -> (u64, u64) {
    let flat = resources.map(|one| one.flattened_if(|claim| !claim.revocable));
    flat.fold((0, 0), |(cpu, mem), one| {
        (cpu + one.cpu_milli, mem + one.mem_bytes)
    })
}
