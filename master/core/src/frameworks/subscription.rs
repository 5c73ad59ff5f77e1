//! How frameworks subscribe, come back, and say what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::message::{Refusal, SchedulerEvent};
use nesos_types::offer::Demand;
use nesos_types::resources::Resources;
use nesos_types::role::Role;

use super::Framework;
use crate::allocator::wishes::Wishes;
use crate::deadlines::Deadline;
use crate::decision::{Decisions, Happening, Record};
use crate::event::ConnectionId;
use crate::master::{Master, Peer};
use crate::registry::FrameworkFact;
use crate::table::FrameworkSlot;
use crate::validate;

impl Master {
    /// A scheduler subscribes: as a new framework, as one that was away, or over an older stream of
    /// the same framework, which is then over.
    pub(crate) fn on_subscribe(
        &mut self,
        connection: ConnectionId,
        current: Option<FrameworkSlot>,
        id: Option<FrameworkId>,
        info: FrameworkInfo,
        suppressed: &BTreeSet<Role>,
        out: &mut Decisions,
    ) {
        let wishes = wishes_of("Subscribe", &info, suppressed);
        let framework =
            wishes.and_then(|wishes| Ok((self.find_subscriber(current, id, &info)?, wishes)));
        match framework {
            Ok((Some(framework), wishes)) => {
                let wanted = Wanted { suppressed, wishes };
                self.resume(framework, connection, info, wanted, out);
            }
            Ok((None, wishes)) => {
                let wanted = Wanted { suppressed, wishes };
                self.admit_framework(connection, info, wanted, out);
            }
            Err(refusal) => self.refuse_scheduler(connection, refusal, out),
        }
    }

    /// A framework changes what it says of itself: all of it, or nothing.
    pub(crate) fn on_update_framework(
        &mut self,
        slot: FrameworkSlot,
        info: FrameworkInfo,
        suppressed: &BTreeSet<Role>,
        out: &mut Decisions,
    ) {
        let framework = &self.frameworks[slot];
        let id = framework.id;
        let wishes = if framework.info.principal == info.principal {
            wishes_of("UpdateFramework", &info, suppressed)
        } else {
            let why = "the principal of a framework cannot change".to_owned();
            Err(invalid("UpdateFramework", why))
        };
        let wishes = match wishes {
            Ok(wishes) => wishes,
            Err(refusal) => return self.answer_refusal(slot, refusal, out),
        };
        if *framework.info != info {
            self.change_framework(slot, info, out);
        }
        let left = self.frameworks[slot].offers.clone();
        for offer in left {
            let role = &self.allocator.clients[self.offers[offer].client].role;
            if !self.frameworks[slot].info.roles.contains(role) {
                self.rescind(offer, out);
            }
        }
        self.set_roles(slot, Wanted { suppressed, wishes }, Filters::Kept);
        if let Some(connection) = self.frameworks[slot].connection {
            out.tell_scheduler(connection, SchedulerEvent::FrameworkUpdated);
        }
        out.observed(Happening::FrameworkUpdated(id));
    }

    /// A framework says what it waits for.
    pub(crate) fn on_request(
        &mut self,
        slot: FrameworkSlot,
        demands: Vec<Demand>,
        out: &mut Decisions,
    ) {
        let roles = &self.frameworks[slot].info.roles;
        if let Err(why) = validate::demands(&demands, roles) {
            return self.answer_refusal(slot, invalid("Request", why), out);
        }
        let mut by_role: BTreeMap<Role, Vec<(Resources, u32)>> = BTreeMap::new();
        for demand in demands {
            let of_role = by_role.entry(demand.role).or_default();
            of_role.push((demand.resources, demand.count));
        }
        for (role, client) in self.frameworks[slot].clients.clone() {
            let demand = by_role.remove(&role).unwrap_or_default();
            let wishes = &mut self.allocator.clients[client].wishes;
            wishes.set_demand(Some(demand));
            self.touch_client(client, true);
        }
    }

    fn answer_refusal(&mut self, slot: FrameworkSlot, refusal: Refusal, out: &mut Decisions) {
        if let Some(connection) = self.frameworks[slot].connection {
            self.refuse_scheduler(connection, refusal, out);
        }
    }

    /// Which framework it is that subscribes; `None` for a new one.
    fn find_subscriber(
        &self,
        current: Option<FrameworkSlot>,
        id: Option<FrameworkId>,
        info: &FrameworkInfo,
    ) -> Result<Option<FrameworkSlot>, Refusal> {
        let own = current.map(|slot| self.frameworks[slot].id);
        if let Some(own) = own.filter(|own| id != Some(*own)) {
            let why = format!("this stream is that of {own}; use its id, or another stream");
            return Err(invalid("Subscribe", why));
        }
        let Some(framework) = id else { return Ok(None) };
        let slot = match (
            self.registry.framework(framework),
            self.frameworks.find(framework),
        ) {
            (Some(FrameworkFact::Removed { .. }), _) => {
                return Err(Refusal::FrameworkRemoved { framework });
            }
            (Some(FrameworkFact::Live { .. }), Some(slot)) => slot,
            _ => return Err(Refusal::FrameworkUnknown { framework }),
        };
        if self.frameworks[slot].info.principal != info.principal {
            return Err(Refusal::PrincipalMismatch { framework });
        }
        Ok(Some(slot))
    }

    fn admit_framework(
        &mut self,
        connection: ConnectionId,
        info: FrameworkInfo,
        wanted: Wanted<'_>,
        out: &mut Decisions,
    ) {
        let (framework, info) = (self.ids.framework(), Arc::new(info));
        let subscribed = Record::FrameworkSubscribed {
            framework,
            info: Arc::clone(&info),
            since: self.now,
        };
        self.record(subscribed, out);
        out.observed(Happening::FrameworkAdded {
            framework,
            name: info.name.clone(),
        });
        let slot = self
            .frameworks
            .insert(Framework::new(framework, info, self.now));
        self.attach(slot, connection, wanted, out);
    }

    fn resume(
        &mut self,
        slot: FrameworkSlot,
        connection: ConnectionId,
        info: FrameworkInfo,
        wanted: Wanted<'_>,
        out: &mut Decisions,
    ) {
        match self.frameworks[slot].connection {
            Some(older) if older != connection => {
                self.detach(slot);
                self.refuse_scheduler(older, Refusal::FailedOver, out);
            }
            Some(_) => self.rescind_framework(slot, out),
            None => {}
        }
        if *self.frameworks[slot].info != info {
            self.change_framework(slot, info, out);
        }
        out.observed(Happening::FrameworkUpdated(self.frameworks[slot].id));
        self.attach(slot, connection, wanted, out);
    }

    fn change_framework(&mut self, slot: FrameworkSlot, info: FrameworkInfo, out: &mut Decisions) {
        let framework = &mut self.frameworks[slot];
        framework.info = Arc::new(info);
        let subscribed = Record::FrameworkSubscribed {
            framework: framework.id,
            info: Arc::clone(&framework.info),
            since: framework.since,
        };
        self.record(subscribed, out);
    }

    fn rescind_framework(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        for offer in self.frameworks[slot].offers.clone() {
            self.rescind(offer, out);
        }
    }

    /// Gives a framework its stream: it may be told of things from now on.
    fn attach(
        &mut self,
        slot: FrameworkSlot,
        connection: ConnectionId,
        wanted: Wanted<'_>,
        out: &mut Decisions,
    ) {
        self.connections.insert(connection, Peer::Scheduler(slot));
        let heartbeat = self.config.heartbeat_interval;
        let framework = &mut self.frameworks[slot];
        framework.connection = Some(connection);
        framework.last_heard = self.now;
        let subscribed = SchedulerEvent::Subscribed {
            framework: framework.id,
            heartbeat,
        };
        out.tell_scheduler(connection, subscribed);
        let later = self.now + heartbeat;
        self.deadlines
            .rearm(&mut framework.deadline, later, Deadline::Framework(slot));
        for client in self.frameworks[slot].clients.clone().into_values() {
            self.allocator.clients[client].wishes.set_demand(None);
        }
        self.set_roles(slot, wanted, Filters::Forgotten);
        self.repeat_pending(slot, out);
    }

    /// Makes a framework's clients those of its roles. Roles that it left keep what its tasks hold. A role
    /// that is no longer suppressed forgets its filters, as if it had been revived.
    fn set_roles(&mut self, slot: FrameworkSlot, mut wanted: Wanted<'_>, filters: Filters) {
        let roles = Arc::clone(&self.frameworks[slot].info);
        for role in &roles.roles {
            self.client_of(slot, role);
        }
        for (role, client) in self.frameworks[slot].clients.clone() {
            let state = &mut self.allocator.clients[client];
            state.connected = true;
            state.subscribed = roles.roles.contains(&role);
            let before =
                std::mem::replace(&mut state.suppressed, wanted.suppressed.contains(&role));
            if filters == Filters::Forgotten || (before && !state.suppressed) {
                self.clear_client_filters(client);
            }
            let wishes = wanted.wishes.remove(&role).unwrap_or_default();
            self.set_wishes(client, wishes);
            self.touch_client(client, true);
            self.drop_client_if_unused(client);
        }
    }

    /// Statuses that were held back, or whose acknowledgement never came, are told at once: the
    /// agents would repeat them, but only after a while.
    fn repeat_pending(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        let tasks = self.frameworks[slot].tasks.values();
        let pending: Vec<_> = tasks
            .filter_map(|task| self.tasks[*task].pending().cloned())
            .collect();
        for status in pending {
            self.tell_status(slot, status, out);
        }
    }

    /// A framework's scheduler is gone.
    pub(crate) fn on_scheduler_gone(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        self.detach(slot);
        let framework = &mut self.frameworks[slot];
        out.observed(Happening::FrameworkDisconnected(framework.id));
        let gone_at = self.now + framework.info.failover_timeout;
        self.deadlines
            .rearm(&mut framework.deadline, gone_at, Deadline::Framework(slot));
    }

    /// Takes a framework's stream away: its offers and filters go with it.
    pub(crate) fn detach(&mut self, slot: FrameworkSlot) {
        self.frameworks[slot].connection = None;
        for client in self.frameworks[slot].clients.clone().into_values() {
            self.clear_client_filters(client);
            self.allocator.clients[client].connected = false;
            self.touch_client(client, false);
        }
        for offer in self.frameworks[slot].offers.clone() {
            self.discard_offer(offer);
        }
    }

    /// A framework's deadline has come: it is to hear a heartbeat, or has been silent or away for too
    /// long.
    pub(crate) fn on_framework_deadline(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        let framework = &mut self.frameworks[slot];
        let Some(connection) = framework.connection else {
            self.remove_framework(slot, out);
            return;
        };
        let interval = self.config.heartbeat_interval;
        let silence = self.now.since(framework.last_heard);
        if silence >= interval.saturating_mul(self.config.ping_misses) {
            self.connections.remove(&connection);
            out.close(connection);
            self.on_scheduler_gone(slot, out);
            return;
        }
        out.tell_scheduler(connection, SchedulerEvent::Heartbeat);
        let later = self.now + interval;
        self.deadlines
            .rearm(&mut framework.deadline, later, Deadline::Framework(slot));
    }

    /// A framework wants offers again, and those that it turned down too.
    pub(crate) fn on_revive(
        &mut self,
        framework: FrameworkSlot,
        roles: &BTreeSet<Role>,
        out: &mut Decisions,
    ) {
        for client in self.clients_named("Revive", framework, roles, out) {
            self.clear_client_filters(client);
            self.allocator.clients[client].suppressed = false;
            self.touch_client(client, true);
        }
    }

    /// A framework wants no offers for now. What it was offered it keeps.
    pub(crate) fn on_suppress(
        &mut self,
        framework: FrameworkSlot,
        roles: &BTreeSet<Role>,
        out: &mut Decisions,
    ) {
        for client in self.clients_named("Suppress", framework, roles, out) {
            self.allocator.clients[client].suppressed = true;
            self.touch_client(client, false);
        }
    }

    /// The clients that a call names; all of the framework's if it names none, and none at all if it
    /// names a role that is not the framework's.
    fn clients_named(
        &mut self,
        call: &str,
        slot: FrameworkSlot,
        roles: &BTreeSet<Role>,
        out: &mut Decisions,
    ) -> Vec<crate::table::ClientSlot> {
        let framework = &self.frameworks[slot];
        if let Some(role) = roles.difference(&framework.info.roles).next() {
            let refusal = invalid(call, format!("{role} is not a role of this framework"));
            if let Some(connection) = framework.connection {
                self.refuse_scheduler(connection, refusal, out);
            }
            return Vec::new();
        }
        let named = if roles.is_empty() {
            &framework.info.roles
        } else {
            roles
        };
        named
            .iter()
            .filter_map(|role| framework.clients.get(role).copied())
            .collect()
    }
}

/// What a framework wants in its roles.
struct Wanted<'a> {
    /// Roles in which it wants no offers.
    suppressed: &'a BTreeSet<Role>,
    /// Which offers it wants to see; a role that is not named sees all.
    wishes: BTreeMap<Role, Wishes>,
}

/// What becomes of the filters of roles that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filters {
    Kept,
    Forgotten,
}

/// Reads the wishes out of what a framework says of itself, if all of it makes sense.
fn wishes_of(
    call: &str,
    info: &FrameworkInfo,
    suppressed: &BTreeSet<Role>,
) -> Result<BTreeMap<Role, Wishes>, Refusal> {
    validate::subscription(info, suppressed).map_err(|why| invalid(call, why))?;
    let wishes = info.offer_filters.iter().map(|(role, filters)| {
        let wishes = Wishes::new(filters);
        let wishes = wishes.map_err(|why| invalid(call, format!("role {role}: {why}")))?;
        Ok((role.clone(), wishes))
    });
    wishes.collect()
}

fn invalid(call: &str, why: String) -> Refusal {
    Refusal::InvalidCall {
        call: call.to_owned(),
        why,
    }
}
