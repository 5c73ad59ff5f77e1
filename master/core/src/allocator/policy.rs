//! Policies: whom to serve next. Everything else about an allocation (which agents, filters, the
//! minimum) is the allocator's and the same under each policy.

use std::borrow::Cow;
use std::fmt;

use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::time::Time;

use super::plugin::PolicyFault;
use super::quantities::Quantities;
use super::share::Share;
use crate::snapshot::PolicyView;
use crate::table::ClientSlot;

/// What a policy that is not built in has done since somebody asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Turns that it was asked for.
    pub(crate) turns: u64,
    /// Fuel that it used.
    pub(crate) fuel: u64,
    /// Its first fault, if it was found since.
    pub(crate) fault: Option<PolicyFault>,
}

/// How a node of the tree of roles stands among its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The role that it is, or that it is part of.
    pub(crate) role: Role,
    pub(crate) priority: i32,
    pub(crate) share: Share,
}

/// Decides the order in which clients, that is frameworks in one of their roles, are served.
pub(crate) trait Policy: fmt::Debug + Send {
    /// An agent joined the cluster: shares are of the new total.
    fn grow(&mut self, agent: &Resources);

    /// An agent left the cluster.
    fn shrink(&mut self, agent: &Resources);

    /// Operators have decided something of a role.
    fn configure(&mut self, role: &Role, settings: &RoleSettings);

    /// A client appears. It wants nothing yet.
    fn add(&mut self, client: ClientSlot, role: &Role);

    /// A client that neither wants nor holds anything disappears.
    fn remove(&mut self, client: ClientSlot);

    /// Whether a client wants offers. One that does not is passed over but keeps what it holds.
    fn set_wanting(&mut self, client: ClientSlot, wanting: bool);

    /// Whether any client wants offers.
    fn anyone_wanting(&self) -> bool;

    /// A client holds more: an offer counts from when it is made.
    fn charge(&mut self, client: ClientSlot, resources: &Resources);

    /// A client holds less.
    fn refund(&mut self, client: ClientSlot, resources: &Resources);

    /// Everything that there is was told to this policy, which is new.
    fn catch_up(&mut self) {}

    /// An allocation over so many agents begins.
    fn begin(&mut self, _now: Time, _agents: usize) {}

    /// The first wanting client, in the order of this policy, that `takes` what there is to give.
    fn next(&mut self, takes: &mut dyn FnMut(ClientSlot) -> bool) -> Option<ClientSlot>;

    /// Every client that wants offers, the one that is asked first in front. `None` if that shows only
    /// when somebody asks in earnest.
    fn order(&self) -> Option<Vec<ClientSlot>>;

    /// Where the ways of two clients through the tree of roles part: how the first one's node stands
    /// there, and the second one's.
    fn parting(&self, one: ClientSlot, other: ClientSlot) -> (Standing, Standing);

    /// What a client holds.
    fn held(&self, client: ClientSlot) -> &Quantities;

    /// All that there is in the cluster.
    fn total(&self) -> &Quantities;

    /// What of it counts for shares.
    fn counted(&self) -> Cow<'_, Quantities>;

    /// What there is to tell of this policy since the last time.
    fn take_account(&mut self) -> Account {
        Account::default()
    }

    /// What operators see of it.
    fn view(&self) -> PolicyView;

    /// Asserts what must hold between two calls.
    fn check_invariants(&self);
}
