//! Reservations and persistent volumes: what is set apart on an agent at run time, by frameworks out of
//! what they accept and by operators out of what nobody uses.
//!
//! A change turns some resources of an agent into others of the same amounts. What is reserved counts as
//! consumption of its role, used or not, and is offered to that role and those below it alone. What is
//! set apart on an agent is one durable fact.

use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::message::{AgentCommand, Refusal, SchedulerEvent};
use nesos_types::reservation::{
    Claim, Owner, Reservation, ReservationChange, ReservationRefusal, Volume,
};
use nesos_types::resources::Resources;
use nesos_types::role::Role;

use crate::accept::Acceptance;
use crate::agents::Agent;
use crate::allocator::Allocator;
use crate::decision::{Decisions, Happening, OperatorReply, Record, Subject};
use crate::master::Master;
use crate::table::AgentSlot;

/// Who makes a change.
enum Actor<'a> {
    Operator,
    Framework {
        id: FrameworkId,
        principal: &'a str,
        /// The role of what it accepted.
        role: &'a Role,
    },
}

impl Actor<'_> {
    fn owner(&self) -> Owner {
        match self {
            Self::Operator => Owner::Operator,
            Self::Framework { id, principal, .. } => Owner::Framework {
                id: *id,
                principal: (*principal).to_owned(),
            },
        }
    }

    /// Whether it may undo what somebody made: a framework what it made itself, or what another of the
    /// same principal made.
    fn may_undo(&self, owner: &Owner, what: impl Fn() -> String) -> Result<(), ReservationRefusal> {
        let may = match (self, owner) {
            (Self::Operator, _) => true,
            (
                Self::Framework { id, principal, .. },
                Owner::Framework {
                    id: by,
                    principal: of,
                },
            ) => id == by || (!principal.is_empty() && principal == of),
            (Self::Framework { .. }, Owner::Operator | Owner::Agent) => false,
        };
        if may {
            return Ok(());
        }
        Err(ReservationRefusal::SomebodyElses {
            what: what(),
            owner: owner.clone(),
        })
    }
}

/// Some resources of an agent become others of the same amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Conversion {
    from: Resources,
    to: Resources,
}

impl Conversion {
    fn add(
        &mut self,
        amounts: &Resources,
        from: Claim,
        to: Claim,
    ) -> Result<(), ReservationRefusal> {
        let sum = |sum: &Resources, claim| {
            let part = Resources::claimed(claim, amounts.clone());
            sum.checked_add(&part).ok_or(ReservationRefusal::TooMuch)
        };
        self.from = sum(&self.from, from)?;
        self.to = sum(&self.to, to)?;
        Ok(())
    }

    fn applied_to(&self, resources: &Resources) -> Option<Resources> {
        resources.checked_sub(&self.from)?.checked_add(&self.to)
    }
}

impl Agent {
    /// What it has when this is set apart of what its configuration gives it; `None` if that is less.
    pub(crate) fn total_of(configured: &Resources, set_apart: &Resources) -> Option<Resources> {
        let mut parts = set_apart.parts();
        parts.try_fold(configured.clone(), |total, (claim, part)| {
            total
                .checked_sub(&Resources::claimed(claim.as_configured(), part.clone()))?
                .checked_add(&Resources::claimed(claim.clone(), part.clone()))
        })
    }

    fn convert(&mut self, conversion: &Conversion) {
        let total = conversion.applied_to(&self.total);
        self.total = total.expect("what is converted is the agent's");
        let at_run_time = |resources: &Resources| {
            resources
                .only_parts()
                .with_parts_if(|claim| *claim != claim.as_configured())
        };
        self.set_apart.resources = self
            .set_apart
            .resources
            .checked_sub(&at_run_time(&conversion.from))
            .and_then(|rest| rest.checked_add(&at_run_time(&conversion.to)))
            .expect("what was set apart at run time is known");
    }
}

impl Acceptance {
    fn convert(&mut self, conversion: &Conversion) {
        let remaining = conversion.applied_to(&self.remaining);
        self.remaining = remaining.expect("what is converted is available");
        self.fresh = conversion
            .applied_to(&self.fresh)
            .or_else(|| self.fresh.checked_add(&conversion.to))
            .unwrap_or_default();
    }
}

/// What a change comes to, if it may be made of what is available.
fn plan(
    change: &ReservationChange,
    actor: &Actor<'_>,
    available: &Resources,
    total: &Resources,
) -> Result<Conversion, ReservationRefusal> {
    let conversion = match change {
        ReservationChange::Reserve {
            resources,
            role,
            labels,
        } => {
            let reservation = Reservation {
                role: role.clone(),
                owner: actor.owner(),
                labels: labels.clone(),
            };
            reserve(resources, &reservation, actor)?
        }
        ReservationChange::Unreserve { resources } => unreserve(resources, actor)?,
        ReservationChange::CreateVolume { volume, disk } => {
            if total.volumes().any(|(known, _)| known.id == *volume) {
                return Err(ReservationRefusal::VolumeExists(volume.clone()));
            }
            let volume = Volume {
                id: volume.clone(),
                owner: actor.owner(),
            };
            create_volume(disk, volume)?
        }
        ReservationChange::DestroyVolume { volume } => {
            let mut parts = total.parts();
            let (claim, part) = parts
                .find(|(claim, _)| claim.volume.as_ref().is_some_and(|it| it.id == *volume))
                .ok_or_else(|| ReservationRefusal::VolumeUnknown(volume.clone()))?;
            let conversion = destroy_volume(claim, part, actor)?;
            if !available.contains(&conversion.from) {
                return Err(ReservationRefusal::VolumeInUse(volume.clone()));
            }
            conversion
        }
    };
    if conversion.from.is_empty() {
        return Err(ReservationRefusal::Nothing);
    }
    if !available.contains(&conversion.from) {
        return Err(ReservationRefusal::NotThere {
            wanted: Box::new(conversion.from),
            available: Box::new(available.clone()),
        });
    }
    let after = conversion.applied_to(total);
    if after.is_some_and(|after| after.parts().count() > Claim::MAX_PARTS) {
        return Err(ReservationRefusal::TooManyParts);
    }
    Ok(conversion)
}

fn reserve(
    resources: &Resources,
    reservation: &Reservation,
    actor: &Actor<'_>,
) -> Result<Conversion, ReservationRefusal> {
    let role = &reservation.role;
    if *role == Role::default_role() {
        return Err(ReservationRefusal::DefaultRole);
    }
    let labels = reservation.labels.iter();
    let label_bytes = labels.map(|(name, value)| name.len() + value.len()).sum();
    if label_bytes > Reservation::MAX_LABEL_BYTES {
        return Err(ReservationRefusal::LabelsTooLong(label_bytes));
    }
    if let Actor::Framework { role: offered, .. } = actor
        && *offered != role
    {
        return Err(ReservationRefusal::OtherRole {
            role: role.clone(),
            offered: (*offered).clone(),
        });
    }
    let mut conversion = Conversion::default();
    for (claim, amounts) in resources.by_claim() {
        if claim.revocable {
            return Err(ReservationRefusal::Revocable);
        }
        if let Some(volume) = claim.volume {
            return Err(ReservationRefusal::HoldsVolume(volume.id));
        }
        if let Some(holder) = claim.reservation().map(|held| &held.role)
            && (holder == role || !holder.holds(role))
        {
            return Err(ReservationRefusal::NotBelow {
                holder: holder.clone(),
                role: role.clone(),
                resources: Box::new(amounts),
            });
        }
        let mut refined = claim.clone();
        refined.reservations.push(reservation.clone());
        conversion.add(&amounts, claim, refined)?;
    }
    Ok(conversion)
}

fn unreserve(resources: &Resources, actor: &Actor<'_>) -> Result<Conversion, ReservationRefusal> {
    let mut conversion = Conversion::default();
    for (claim, amounts) in resources.by_claim() {
        if let Some(volume) = claim.volume {
            return Err(ReservationRefusal::HoldsVolume(volume.id));
        }
        let mut popped = claim.clone();
        let Some(undone) = popped.reservations.pop() else {
            return Err(ReservationRefusal::NotReserved(Box::new(amounts)));
        };
        if undone.owner == Owner::Agent {
            return Err(ReservationRefusal::Static(Box::new(amounts)));
        }
        actor.may_undo(&undone.owner, || {
            format!(
                "resources: the reservation of {} for {}",
                amounts.words(),
                undone.role
            )
        })?;
        conversion.add(&amounts, claim, popped)?;
    }
    Ok(conversion)
}

fn create_volume(disk: &Resources, volume: Volume) -> Result<Conversion, ReservationRefusal> {
    let mut parts: Vec<_> = disk.by_claim().collect();
    let not_disk = || ReservationRefusal::NotDisk(Box::new(disk.clone()));
    let (claim, amounts) = parts.pop().ok_or(ReservationRefusal::Nothing)?;
    let only_disk = amounts == Resources::default().with_disk(amounts.disk_bytes);
    if !parts.is_empty() || !only_disk || claim.volume.is_some() || claim.revocable {
        return Err(not_disk());
    }
    if claim.reservation().is_none() {
        return Err(ReservationRefusal::NotReserved(Box::new(amounts)));
    }
    let mut as_volume = claim.clone();
    as_volume.volume = Some(volume);
    let mut conversion = Conversion::default();
    conversion.add(&amounts, claim, as_volume)?;
    Ok(conversion)
}

fn destroy_volume(
    claim: &Claim,
    disk: &Resources,
    actor: &Actor<'_>,
) -> Result<Conversion, ReservationRefusal> {
    let mut bare = claim.clone();
    if let Some(volume) = bare.volume.take() {
        actor.may_undo(&volume.owner, || format!("volume: {}", volume.id))?;
    }
    let mut conversion = Conversion::default();
    conversion.add(disk, claim.clone(), bare)?;
    Ok(conversion)
}

impl Master {
    /// A framework sets apart, or gives back, some of what it has accepted.
    pub(crate) fn change_accepted(
        &mut self,
        acceptance: &mut Acceptance,
        change: &ReservationChange,
        out: &mut Decisions,
    ) {
        match self.plan_accepted(acceptance, change) {
            Ok(conversion) => {
                acceptance.convert(&conversion);
                self.convert(acceptance.agent, &conversion, out);
            }
            Err(refusal) => {
                let refusal = Refusal::InvalidCall {
                    call: change.name().to_owned(),
                    why: refusal.to_string(),
                };
                if let Some(connection) = self.frameworks[acceptance.framework].connection {
                    out.tell_scheduler(connection, SchedulerEvent::Refused(refusal));
                }
            }
        }
    }

    /// What a change comes to, with the quotas as they are after it.
    fn plan_accepted(
        &mut self,
        acceptance: &Acceptance,
        change: &ReservationChange,
    ) -> Result<Conversion, ReservationRefusal> {
        let framework = &self.frameworks[acceptance.framework];
        let client = &self.allocator.clients[acceptance.client];
        let actor = Actor::Framework {
            id: framework.id,
            principal: &framework.info.principal,
            role: &client.role,
        };
        let total = &self.agents[acceptance.agent].total;
        let conversion = plan(change, &actor, &acceptance.remaining, total)?;
        // What was accepted is consumption already, but for what is reserved for a role above.
        let quotas = &mut self.allocator.quotas;
        let before = quotas.excess(&client.quotas);
        quotas.convert(&client.quotas, &conversion.from, &conversion.to);
        if let Some(full) = quotas.excess(&client.quotas).beyond(&before) {
            quotas.convert(&client.quotas, &conversion.to, &conversion.from);
            return Err(ReservationRefusal::QuotaLimit(full));
        }
        Ok(conversion)
    }

    /// An operator sets apart, or gives back, some of what no task uses. Offers of it are taken back.
    pub(crate) fn on_change_reservations(
        &mut self,
        agent: AgentId,
        change: &ReservationChange,
        out: &mut Decisions,
    ) -> OperatorReply {
        let Some(slot) = self.agents.find(agent) else {
            return OperatorReply::ReservationRefused(ReservationRefusal::AgentUnknown(agent));
        };
        if !self.agents[slot].is_counted() {
            return OperatorReply::ReservationRefused(ReservationRefusal::AgentAway(agent));
        }
        match self.plan_for_operator(slot, change) {
            Ok((_, Some(full))) => {
                OperatorReply::ReservationRefused(ReservationRefusal::QuotaLimit(full))
            }
            Ok((conversion, None)) => {
                self.free_up(slot, &conversion.from, out);
                let free = conversion.applied_to(&self.agents[slot].free);
                self.agents[slot].free = free.expect("what is converted is free");
                let quotas = &mut self.allocator.quotas;
                quotas.convert(&[], &conversion.from, &conversion.to);
                self.convert(slot, &conversion, out);
                self.rescind_beyond_limits(out);
                self.touch_agent(slot);
                OperatorReply::Done
            }
            Err(refusal) => OperatorReply::ReservationRefused(refusal),
        }
    }

    /// What a change comes to, and the role whose limit it would exceed.
    fn plan_for_operator(
        &mut self,
        slot: AgentSlot,
        change: &ReservationChange,
    ) -> Result<(Conversion, Option<Role>), ReservationRefusal> {
        let agent = &self.agents[slot];
        let offers = agent.offers.iter();
        let offers = offers.map(|offer| &self.offers[*offer].resources);
        let available = offers.fold(agent.free.clone(), |sum, offered| {
            sum.checked_add(offered)
                .expect("offered and free are parts of one agent")
        });
        let conversion = plan(change, &Actor::Operator, &available, &agent.total)?;
        let full = match change {
            ReservationChange::Reserve { role, .. } => self.exceeded_by(slot, &conversion, role),
            _ => None,
        };
        Ok((conversion, full))
    }

    /// The role on the way to this one whose limit a conversion would exceed even if all offers of the
    /// agent were taken back.
    fn exceeded_by(
        &mut self,
        slot: AgentSlot,
        conversion: &Conversion,
        role: &Role,
    ) -> Option<Role> {
        let Allocator {
            clients, quotas, ..
        } = &mut self.allocator;
        let offers = self.agents[slot].offers.iter();
        let offers: Vec<_> = offers.map(|offer| &self.offers[*offer]).collect();
        for offer in &offers {
            quotas.refund_one(&clients[offer.client].quotas, &offer.resources);
        }
        let path = quotas.path(role);
        let before = quotas.excess(&path);
        quotas.convert(&[], &conversion.from, &conversion.to);
        let full = quotas.excess(&path).beyond(&before);
        quotas.convert(&[], &conversion.to, &conversion.from);
        for offer in &offers {
            quotas.charge_one(&clients[offer.client].quotas, &offer.resources);
        }
        full
    }

    /// Takes back offers of an agent, the newest first, until this is free.
    fn free_up(&mut self, slot: AgentSlot, wanted: &Resources, out: &mut Decisions) {
        while !self.agents[slot].free.contains(wanted) {
            let newest = self.agents[slot].offers.last().copied();
            let Some(newest) = newest else {
                return;
            };
            self.rescind(newest, out);
        }
    }

    /// Makes a conversion of what an agent has durable, and tells the agent.
    fn convert(&mut self, slot: AgentSlot, conversion: &Conversion, out: &mut Decisions) {
        let agent = &mut self.agents[slot];
        agent.convert(conversion);
        let incarnations = &mut agent.set_apart.incarnations;
        for (volume, _) in conversion.from.volumes() {
            incarnations.remove(&volume.id);
        }
        for (volume, _) in conversion.to.volumes() {
            incarnations.insert(volume.id.clone(), self.ids.incarnation());
        }
        let (id, connection) = (agent.id, agent.connection());
        let set_apart = agent.set_apart.clone();
        let record = Record::SetApart {
            agent: id,
            set_apart: set_apart.clone(),
        };
        self.record(record, out);
        if let Some(connection) = connection {
            out.tell_agent(connection, AgentCommand::SetApart(set_apart));
        }
        out.observed(Happening::ReservationsChanged(id));
    }

    /// Nothing is set apart any more on an agent that is gone for good.
    pub(crate) fn forget_set_apart(&mut self, agent: AgentId, out: &mut Decisions) {
        if self.registry.set_apart(agent).is_some() {
            self.record(Record::Forgotten(Subject::SetApart(agent)), out);
        }
    }
}
