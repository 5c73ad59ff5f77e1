//! Roles as operators shape them: weights, priorities, guarantees and limits, changed at run time and
//! kept in the registry. A request changes all that it names or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nesos_types::resources::{Amounts, Scalar};
use nesos_types::role::{Role, RoleChange, RoleRefusal, RoleSettings};

use crate::allocator::quantities::Quantities;
use crate::allocator::quota::Quotas;
use crate::decision::{Decisions, Happening, OperatorReply, Record, Subject};
use crate::master::Master;
use crate::table::OfferSlot;

impl Master {
    /// What is decided of a role.
    pub(crate) fn role_settings(&self, role: &Role) -> RoleSettings {
        let decided = self.registry.roles().get(role).cloned();
        decided.unwrap_or_else(|| self.config.role_settings(role))
    }

    /// Whose signature bundles of this role must have: what is decided of it, or of the nearest role above it
    /// of which something is.
    pub(crate) fn signers_of(&self, role: &Role) -> Arc<[String]> {
        let decided = self.registry.roles();
        let mut above = Some(role.clone());
        while let Some(role) = above {
            let signers = decided.get(&role).map(|settings| &settings.signers);
            if let Some(signers) = signers.filter(|signers| !signers.is_empty()) {
                return signers.clone().into();
            }
            above = role.parent();
        }
        Arc::default()
    }

    /// An operator changes roles.
    pub(crate) fn on_change_roles(
        &mut self,
        changes: &[RoleChange],
        force: bool,
        out: &mut Decisions,
    ) -> OperatorReply {
        match self.validate_changes(changes, force) {
            Ok(settings) => {
                self.apply_settings(settings, out);
                OperatorReply::Done
            }
            Err(refusal) => OperatorReply::RolesRefused(refusal),
        }
    }

    /// The settings that the changes come to, if they may be made.
    fn validate_changes(
        &self,
        changes: &[RoleChange],
        force: bool,
    ) -> Result<BTreeMap<Role, RoleSettings>, RoleRefusal> {
        let mut changed = BTreeMap::new();
        for change in changes {
            let settings = self.role_settings(&change.role).changed(change);
            check_limit(&change.role, &settings)?;
            if changed.insert(change.role.clone(), settings).is_some() {
                return Err(RoleRefusal::Twice(change.role.clone()));
            }
        }
        let mut all = self.registry.roles().clone();
        all.extend(
            changed
                .iter()
                .map(|(role, settings)| (role.clone(), settings.clone())),
        );
        let guaranteed = check_tree(&all)?;
        if !force {
            self.check_cluster(&guaranteed)?;
            for (role, settings) in &changed {
                self.check_use(role, &settings.limit)?;
            }
        }
        Ok(changed)
    }

    fn check_cluster(&self, guaranteed: &BTreeMap<Scalar, u64>) -> Result<(), RoleRefusal> {
        for (kind, guaranteed) in guaranteed {
            let total = self.allocator.policy.total().get(kind);
            if u128::from(*guaranteed) > total {
                return Err(RoleRefusal::ExceedsCluster {
                    kind: kind.clone(),
                    guaranteed: *guaranteed,
                    total: u64::try_from(total).unwrap_or(u64::MAX),
                });
            }
        }
        Ok(())
    }

    /// A limit must leave room for what tasks use and what is reserved already; offers can be taken back.
    fn check_use(&self, role: &Role, limit: &Amounts) -> Result<(), RoleRefusal> {
        if limit.is_empty() {
            return Ok(());
        }
        let mut used = Quantities::default();
        for (_, task) in self.tasks.iter() {
            if task.holds() && role.holds(&task.role) {
                used.add_unclaimed(&task.info.resources);
            }
        }
        for (_, agent) in self.agents.iter().filter(|(_, agent)| agent.is_counted()) {
            let reserved = agent.total.parts().filter(|(claim, _)| {
                let reservation = claim.reservation();
                reservation.is_some_and(|reservation| role.holds(&reservation.role))
            });
            reserved.for_each(|(_, part)| used.add_unclaimed(part));
        }
        for (kind, limit) in limit.iter() {
            if used.get(kind) > u128::from(limit) {
                return Err(RoleRefusal::LimitBelowUse {
                    role: role.clone(),
                    kind: kind.clone(),
                    used: u64::try_from(used.get(kind)).unwrap_or(u64::MAX),
                    limit,
                });
            }
        }
        Ok(())
    }

    fn apply_settings(&mut self, settings: BTreeMap<Role, RoleSettings>, out: &mut Decisions) {
        for (role, settings) in settings {
            self.allocator.policy.configure(&role, &settings);
            let record = if settings == self.config.role_settings(&role) {
                Record::Forgotten(Subject::Role(role.clone()))
            } else {
                let role = role.clone();
                Record::RoleChanged { role, settings }
            };
            self.record(record, out);
            out.observed(Happening::RoleChanged(role));
        }
        self.rebuild_quotas();
        self.rescind_beyond_limits(out);
        self.rescind_for_guarantees(out);
        self.allocate_afresh();
    }

    /// Works out every quota from the registry and from what clients hold.
    pub(crate) fn rebuild_quotas(&mut self) {
        let quotas = self.quotas_anew();
        for slot in self.allocator.clients.slots().collect::<Vec<_>>() {
            let path = quotas.path(&self.allocator.clients[slot].role);
            self.allocator.clients[slot].quotas = path;
        }
        self.allocator.quotas = quotas;
    }

    /// Every quota as it follows from everything else.
    pub(crate) fn quotas_anew(&self) -> Quotas {
        let mut quotas = Quotas::new(self.registry.roles());
        if quotas.is_empty() {
            return quotas;
        }
        let tasks = self.tasks.iter().map(|(_, task)| task);
        let tasks = tasks.filter(|task| task.holds());
        let by_tasks = tasks.map(|task| (task.client, &task.info.resources));
        let by_offers = self.offers.iter();
        let by_offers = by_offers.map(|(_, offer)| (offer.client, &offer.resources));
        for (client, resources) in by_tasks.chain(by_offers) {
            let path = quotas.path(&self.allocator.clients[client].role);
            quotas.charge_one(&path, resources);
        }
        for (_, agent) in self.agents.iter().filter(|(_, agent)| agent.is_counted()) {
            quotas.count_reservations(&agent.total, true);
        }
        for agent in self.allocator.idle() {
            quotas.count_free(agent, Some(&self.agents[agent].free));
        }
        quotas
    }

    /// Takes back offers, the newest first, until no limit is exceeded by them.
    pub(crate) fn rescind_beyond_limits(&mut self, out: &mut Decisions) {
        for offer in self.newest_offers() {
            let client = &self.allocator.clients[self.offers[offer].client];
            if !self.allocator.quotas.excess(&client.quotas).is_empty() {
                self.rescind(offer, out);
            }
        }
    }

    /// Takes back offers of those who lack nothing, the newest first, until the guarantees can be met.
    fn rescind_for_guarantees(&mut self, out: &mut Decisions) {
        for offer in self.newest_offers() {
            let Some((kind, _)) = self.allocator.quotas.shortfall() else {
                return;
            };
            let offered = &self.offers[offer];
            let client = &self.allocator.clients[offered.client];
            let helps = offered.resources.scalar(kind) > 0;
            if helps && !self.allocator.quotas.lacks(&client.quotas, kind) {
                self.rescind(offer, out);
            }
        }
    }

    fn newest_offers(&self) -> Vec<OfferSlot> {
        let mut offers: Vec<_> = self
            .offers
            .iter()
            .map(|(slot, offer)| (offer.since, slot))
            .collect();
        offers.sort_unstable();
        offers.into_iter().rev().map(|(_, slot)| slot).collect()
    }

    /// Roles that somebody has decided something about, or that somebody uses.
    pub(crate) fn known_roles(&self) -> BTreeSet<Role> {
        let decided = self.registry.roles().keys().cloned();
        let clients = self.allocator.clients.iter();
        let used = clients.flat_map(|(_, client)| client.role.path());
        decided.chain(used).collect()
    }
}

fn check_limit(role: &Role, settings: &RoleSettings) -> Result<(), RoleRefusal> {
    for (kind, limit) in settings.limit.iter() {
        let guarantee = settings.guarantee.get(kind).unwrap_or(0);
        if limit < guarantee {
            return Err(RoleRefusal::LimitBelowGuarantee {
                role: role.clone(),
                kind: kind.clone(),
                limit,
                guarantee,
            });
        }
    }
    Ok(())
}

/// No role may be sure of less than what the roles below it are sure of. Answers what the roles at the
/// top are sure of together.
fn check_tree(all: &BTreeMap<Role, RoleSettings>) -> Result<BTreeMap<Scalar, u64>, RoleRefusal> {
    let mut below: BTreeMap<Option<Role>, BTreeMap<Scalar, u64>> = BTreeMap::new();
    // From the leaves up: a role sorts before those below it.
    for (role, settings) in all.iter().rev() {
        let children = below.remove(&Some(role.clone())).unwrap_or_default();
        for (kind, guaranteed) in &children {
            let bounds = [
                ("guarantee", settings.guarantee.get(kind)),
                ("limit", settings.limit.get(kind)),
            ];
            for (what, own) in bounds {
                if let Some(own) = own.filter(|own| own < guaranteed) {
                    return Err(RoleRefusal::ChildrenExceedParent {
                        role: role.clone(),
                        kind: kind.clone(),
                        guaranteed: *guaranteed,
                        what,
                        own,
                    });
                }
            }
        }
        let mut own = children;
        own.extend(
            settings
                .guarantee
                .iter()
                .map(|(kind, amount)| (kind.clone(), amount)),
        );
        let above = role
            .path()
            .filter(|above| above != role && all.contains_key(above))
            .last();
        let sum = below.entry(above).or_default();
        for (kind, amount) in own {
            let entry = sum.entry(kind).or_default();
            *entry = entry.saturating_add(amount);
        }
    }
    Ok(below.remove(&None).unwrap_or_default())
}
