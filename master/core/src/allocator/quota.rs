//! Quotas: what a role, with all roles below it, is sure to get (its guarantee) and may never exceed (its
//! limit). After Mesos' hierarchical allocator, with two differences: an offer counts as consumption, so
//! that a limit holds even if everything that was offered is accepted; and a role that may have no more
//! CPU or memory is not offered the rest of an agent without it.
//!
//! What the unmet guarantees still need is held back from everybody else: an allocation to others must
//! leave that much free in the cluster. It need not be free on any one agent.
//!
//! Everything is kept up to date step by step: a decision costs as much as the role is deep in the tree,
//! however many roles have a quota.

use std::collections::BTreeMap;

use nesos_types::resources::{Amounts, Resources, Scalar};
use nesos_types::role::{Role, RoleSettings};

use super::quantities::Quantities;
use crate::table::AgentSlot;

/// Where a role's quota lies in the table.
type Place = usize;

/// Amounts without zeros.
type Needs = BTreeMap<Scalar, u128>;

/// Whom a pass over the agents serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Roles whose guarantee is not met, with what they lack.
    Guarantees,
    /// Everybody, with what the guarantees leave.
    Everybody,
}

/// What a client may have of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    /// All that is free.
    All,
    /// This part of it.
    Part(Resources),
}

impl Portion {
    /// The resources, of those that are free.
    pub(crate) fn of<'a>(&'a self, free: &'a Resources) -> &'a Resources {
        match self {
            Self::All => free,
            Self::Part(part) => part,
        }
    }
}

/// Why a quota keeps an agent's resources from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuotaBlocked {
    /// This role has reached its limit.
    Limit(Role),
    /// What is free is held back for guarantees.
    HeldBack,
    /// The pass is for those whose guarantee is not met.
    Met,
    /// What the role holds is not known yet.
    Unknown,
}

#[derive(Debug)]
struct Node {
    role: Role,
    /// The next role above that has a quota.
    above: Option<Place>,
    guarantee: Amounts,
    limit: Amounts,
    /// What tasks and offers of the role and of those below it hold.
    consumed: Quantities,
    /// What the roles right below still need, in all.
    below: Needs,
    /// What this role still needs: for itself or for those below it, whichever is more.
    needs: Needs,
}

impl Node {
    fn unmet(&self, kind: &Scalar) -> u128 {
        let guarantee = u128::from(self.guarantee.get(kind).unwrap_or(0));
        guarantee.saturating_sub(self.consumed.get(kind))
    }

    fn work_out_needs(&self) -> Needs {
        let own = self.guarantee.iter().map(|(kind, _)| kind);
        own.chain(self.below.keys())
            .map(|kind| (kind.clone(), self.unmet(kind).max(of(&self.below, kind))))
            .filter(|(_, amount)| *amount > 0)
            .collect()
    }
}

fn of(needs: &Needs, kind: &Scalar) -> u128 {
    needs.get(kind).copied().unwrap_or(0)
}

/// Takes `before` out of a sum and puts `after` in.
fn shift(sum: &mut Needs, before: &Needs, after: &Needs) {
    for (kind, amount) in after {
        *sum.entry(kind.clone()).or_default() += amount;
    }
    for (kind, amount) in before {
        if let Some(rest) = sum.get_mut(kind) {
            *rest -= amount;
        }
    }
    sum.retain(|_, amount| *amount > 0);
}

/// By how much roles exceed their limits, kind by kind.
#[derive(Debug, Default)]
pub(crate) struct Excess(BTreeMap<(Role, Scalar), u128>);

impl Excess {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A role that exceeds its limit by more than before.
    pub(crate) fn beyond(self, before: &Self) -> Option<Role> {
        let mut now = self.0.into_iter();
        let worse = now.find(|(at, over)| before.0.get(at).is_none_or(|before| over > before));
        worse.map(|((role, _), _)| role)
    }
}

/// All quotas, and what is free in the cluster while there are guarantees.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    nodes: Vec<Node>,
    by_role: BTreeMap<Role, Place>,
    /// What all guarantees still need.
    required: Needs,
    has_guarantees: bool,
    /// What is free on agents that can be offered.
    free: Quantities,
    counted: BTreeMap<AgentSlot, Resources>,
}

impl Quotas {
    /// The quotas among what is decided of roles; nothing is consumed yet.
    pub(crate) fn new(settings: &BTreeMap<Role, RoleSettings>) -> Self {
        let mut quotas = Self::default();
        // Roles come in order, and a role comes after those above it.
        for (role, settings) in settings.iter().filter(|(_, settings)| settings.has_quota()) {
            let above = quotas.path(role).last().copied();
            quotas.has_guarantees |= !settings.guarantee.is_empty();
            quotas.by_role.insert(role.clone(), quotas.nodes.len());
            quotas.nodes.push(Node {
                role: role.clone(),
                above,
                guarantee: settings.guarantee.clone(),
                limit: settings.limit.clone(),
                consumed: Quantities::default(),
                below: Needs::new(),
                needs: Needs::new(),
            });
        }
        for place in (0..quotas.nodes.len()).rev() {
            quotas.settle(&[place]);
        }
        quotas
    }

    /// The quotas that a role is under, from the top down.
    pub(crate) fn path(&self, role: &Role) -> Vec<Place> {
        if self.by_role.is_empty() {
            return Vec::new();
        }
        let path = role.path();
        path.filter_map(|role| self.by_role.get(&role).copied())
            .collect()
    }

    /// Whether no role has a quota.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether any guarantee is not met.
    pub(crate) fn requires_anything(&self) -> bool {
        !self.required.is_empty()
    }

    /// A client on this path holds more. What is reserved counts for its role already, what is revocable
    /// for nobody.
    pub(crate) fn charge_one(&mut self, path: &[Place], resources: &Resources) {
        for place in path {
            self.nodes[*place].consumed.add_unclaimed(resources);
        }
        self.settle(path);
    }

    /// A client on this path holds less.
    pub(crate) fn refund_one(&mut self, path: &[Place], resources: &Resources) {
        for place in path {
            self.nodes[*place].consumed.sub_unclaimed(resources);
        }
        self.settle(path);
    }

    /// Counts what is reserved among some resources as consumption of its roles, or no more: whether
    /// anybody uses it or not.
    pub(crate) fn count_reservations(&mut self, resources: &Resources, more: bool) {
        for (claim, part) in resources.parts() {
            let Some(reservation) = claim.reservation() else {
                continue;
            };
            let path = self.path(&reservation.role);
            match more {
                true => self.charge_one(&path, part),
                false => self.refund_one(&path, part),
            }
        }
    }

    /// Resources that a client on this path holds, or nobody if there is none, become others: what
    /// nothing sets apart is the holder's consumption, what is reserved that of its role.
    pub(crate) fn convert(&mut self, path: &[Place], from: &Resources, to: &Resources) {
        self.refund_one(path, from);
        self.charge_one(path, to);
        self.count_reservations(from, false);
        self.count_reservations(to, true);
    }

    /// Works out anew what the roles of a path need.
    fn settle(&mut self, path: &[Place]) {
        for place in path.iter().rev() {
            let node = &mut self.nodes[*place];
            if node.guarantee.is_empty() && node.below.is_empty() && node.needs.is_empty() {
                continue;
            }
            let needs = node.work_out_needs();
            let before = std::mem::replace(&mut node.needs, needs.clone());
            let above = node.above;
            let sum = match above {
                Some(above) => &mut self.nodes[above].below,
                None => &mut self.required,
            };
            shift(sum, &before, &needs);
        }
    }

    /// Takes note of what is free on an agent; nothing if it cannot be offered.
    pub(crate) fn count_free(&mut self, agent: AgentSlot, free: Option<&Resources>) {
        if !self.has_guarantees {
            return;
        }
        if let Some(before) = self.counted.remove(&agent) {
            self.free.sub_unclaimed(&before);
        }
        if let Some(free) = free {
            self.free.add_unclaimed(free);
            self.counted.insert(agent, free.clone());
        }
    }

    /// What of an agent's free resources a client on this path may have.
    pub(crate) fn portion(
        &self,
        path: &[Place],
        free: &Resources,
        pass: Pass,
    ) -> Result<Portion, QuotaBlocked> {
        if path.is_empty() && self.required.is_empty() {
            return match pass {
                Pass::Everybody => Ok(Portion::All),
                Pass::Guarantees => Err(QuotaBlocked::Met),
            };
        }
        if pass == Pass::Guarantees && !self.lacks_anything(path) {
            return Err(QuotaBlocked::Met);
        }
        let mut part: Option<Resources> = None;
        let mut lacks_something = false;
        for (kind, have) in free.scalars() {
            let allowance = self.allowance(path, &kind);
            lacks_something |= allowance > 0;
            let (most, blocked) = self.most(path, &kind, allowance, pass);
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            if most < have {
                if most == 0 && matches!(kind, Scalar::Cpu | Scalar::Memory) {
                    return Err(blocked);
                }
                let whole = part.unwrap_or_else(|| free.clone());
                part = Some(whole.with_scalar(&kind, most));
            }
        }
        if pass == Pass::Guarantees && !lacks_something {
            return Err(QuotaBlocked::Met);
        }
        Ok(part.map_or(Portion::All, Portion::Part))
    }

    /// What would keep a task of this shape from a client on this path on every agent.
    pub(crate) fn shape_blocked(&self, path: &[Place], shape: &Resources) -> Option<QuotaBlocked> {
        shape.scalars().find_map(|(kind, wanted)| {
            let allowance = self.allowance(path, &kind);
            let (most, blocked) = self.most(path, &kind, allowance, Pass::Everybody);
            (most < u128::from(wanted)).then_some(blocked)
        })
    }

    /// The most of one kind that a client on this path may have now, and what would be to blame.
    fn most(
        &self,
        path: &[Place],
        kind: &Scalar,
        allowance: u128,
        pass: Pass,
    ) -> (u128, QuotaBlocked) {
        let required = of(&self.required, kind);
        let held_back = if required == 0 {
            u128::MAX
        } else if pass == Pass::Guarantees && allowance > 0 {
            allowance
        } else {
            self.free.get(kind).saturating_sub(required) + allowance
        };
        let limits = path.iter().filter_map(|place| {
            let node = &self.nodes[*place];
            let limit = u128::from(node.limit.get(kind)?);
            Some((limit.saturating_sub(node.consumed.get(kind)), node))
        });
        match limits.min_by_key(|(room, _)| *room) {
            Some((room, node)) if room <= held_back => {
                (room, QuotaBlocked::Limit(node.role.clone()))
            }
            _ => (held_back, QuotaBlocked::HeldBack),
        }
    }

    /// How much of one kind a client on this path may take of what is held back: what its roles lack,
    /// less what roles beside it are to have of that.
    fn allowance(&self, path: &[Place], kind: &Scalar) -> u128 {
        if self.required.is_empty() {
            return 0;
        }
        let allowances = path.iter().enumerate().map(|(at, place)| {
            let node = &self.nodes[*place];
            let next = path
                .get(at + 1)
                .map_or(0, |next| of(&self.nodes[*next].needs, kind));
            let others = of(&node.below, kind).saturating_sub(next);
            node.unmet(kind).saturating_sub(others)
        });
        allowances.max().unwrap_or(0)
    }

    /// How much more of one kind the guarantees need than is free.
    pub(crate) fn shortfall(&self) -> Option<(&Scalar, u128)> {
        let short = self.required.iter().map(|(kind, required)| {
            let missing = required.saturating_sub(self.free.get(kind));
            (kind, missing)
        });
        short.into_iter().find(|(_, missing)| *missing > 0)
    }

    /// Whether a role on this path needs anything: a cheap first look.
    fn lacks_anything(&self, path: &[Place]) -> bool {
        path.iter()
            .any(|place| !self.nodes[*place].needs.is_empty())
    }

    /// Whether a client on this path lacks something of this kind that it is guaranteed.
    pub(crate) fn lacks(&self, path: &[Place], kind: &Scalar) -> bool {
        self.allowance(path, kind) > 0
    }

    /// By how much the roles on this path exceed their limits.
    pub(crate) fn excess(&self, path: &[Place]) -> Excess {
        let nodes = path.iter().map(|place| &self.nodes[*place]);
        let excess = nodes.flat_map(|node| {
            let limits = node.limit.iter();
            limits.map(|(kind, limit)| {
                let over = node.consumed.get(kind).saturating_sub(u128::from(limit));
                ((node.role.clone(), kind.clone()), over)
            })
        });
        Excess(excess.filter(|(_, over)| *over > 0).collect())
    }

    /// Asserts that everything kept step by step is what would be worked out at once.
    pub(crate) fn check_invariants(&self, anew: &Self) {
        for (kept, anew) in self.nodes.iter().zip(&anew.nodes) {
            assert_eq!(kept.consumed, anew.consumed, "consumption of {}", kept.role);
            assert_eq!(kept.needs, anew.needs, "needs of {}", kept.role);
        }
        assert_eq!(self.nodes.len(), anew.nodes.len(), "every quota is known");
        assert_eq!(self.required, anew.required, "what guarantees need");
        assert_eq!(self.free, anew.free, "what is free");
    }
}
