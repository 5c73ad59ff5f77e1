//! Hierarchical weighted dominant resource fairness (Ghodsi et al., NSDI 2011; Bhattacharya et al.,
//! 2013; Mesos' `sorter/drf`): siblings in the tree of roles are compared by dominant share over
//! weight, the lowest is served first, and a node's share is that of its whole subtree.
//!
//! Under [`Order::Priority`] priorities come before shares: the higher role is always served first, and
//! shares divide only what roles of equal priority want. One tree does both, because strict priority is
//! fair sharing within each rank.
//!
//! Ties go to whoever was served longest ago, so that equals alternate. (Mesos counts allocations
//! instead, with which a newcomer wins each tie until its count has caught up.)
//!
//! Shares are kept with their node. A change marks the node, and marked nodes are put in order again
//! once, when somebody asks who is next. When the cluster grows or shrinks in proportion, as it does
//! agent by equal agent, every share is divided by the same number and the order stays: so shares are
//! kept against a basis that is proportional to the total, and worked out anew only when none is.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use nesos_types::resources::{Resources, Scalar};
use nesos_types::role::{Role, RoleSettings, Weight};

use super::policy::{Policy, Standing};
use super::quantities::Quantities;
use super::share::Share;
use crate::config::BuiltInPolicy;
use crate::snapshot::PolicyView;
use crate::table::{ClientSlot, NodeSlot, Slot, Table};

/// What comes first among siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The lowest dominant share over weight.
    Fair,
    /// The highest priority, and then the lowest share.
    Priority,
}

impl From<BuiltInPolicy> for Order {
    fn from(policy: BuiltInPolicy) -> Self {
        match policy {
            BuiltInPolicy::Drf => Self::Fair,
            BuiltInPolicy::Priority => Self::Priority,
        }
    }
}

/// Where a node stands among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank {
    priority: Reverse<i32>,
    share: Share,
    /// The turn at which it was served last.
    served: u64,
    node: NodeSlot,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority
            .cmp(&other.priority)
            .then(self.share.cmp(&other.share))
            .then(self.served.cmp(&other.served))
            .then(self.node.cmp(&other.node))
    }
}
impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a node of the tree stands for. A role with frameworks of its own has a node of kind `Own`
/// for them, a sibling of the roles below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Role(Box<str>),
    Own,
    Client(ClientSlot),
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    parent: Option<NodeSlot>,
    children: BTreeMap<Kind, NodeSlot>,
    weight: Weight,
    /// What its parent's order goes by first; zero where priorities do not count.
    priority: i32,
    held: Quantities,
    served: u64,
    /// How many clients below want offers. The node is in its parent's order if there are any.
    wanting: usize,
    rank: Option<Rank>,
    marked: bool,
    /// Children that want offers, the next to be served first.
    order: BTreeSet<Rank>,
}

impl Node {
    fn new(kind: Kind, parent: Option<NodeSlot>) -> Self {
        Self {
            kind,
            parent,
            children: BTreeMap::new(),
            weight: Weight::ONE,
            priority: 0,
            held: Quantities::default(),
            served: 0,
            wanting: 0,
            rank: None,
            marked: false,
            order: BTreeSet::new(),
        }
    }
}

/// The tree of roles and clients.
#[derive(Debug)]
pub(crate) struct Drf {
    nodes: Table<NodeSlot, Node>,
    root: NodeSlot,
    /// The leaf of each client, by slot.
    leaves: Vec<Option<NodeSlot>>,
    settings: BTreeMap<Role, (Weight, i32)>,
    order: Order,
    /// Kinds that count for no share.
    excluded: BTreeSet<Scalar>,
    total: Quantities,
    /// What shares are worked out against: proportional to the total, unless that has just changed.
    basis: Quantities,
    total_changed: bool,
    /// Nodes that may have to move among their siblings.
    marked: Vec<NodeSlot>,
    turn: u64,
    /// Every client that wants something, in order, as the last one found them who went through all and
    /// found no taker. The next can go along this list as long as nothing has changed.
    nobody_took: Option<Vec<ClientSlot>>,
}

impl Drf {
    pub(crate) fn new(order: Order, excluded: BTreeSet<Scalar>) -> Self {
        let mut nodes = Table::new();
        let root = nodes.insert(Node::new(Kind::Own, None));
        Self {
            nodes,
            root,
            leaves: Vec::new(),
            settings: BTreeMap::new(),
            order,
            excluded,
            total: Quantities::default(),
            basis: Quantities::default(),
            total_changed: false,
            marked: Vec::new(),
            turn: 0,
            nobody_took: None,
        }
    }

    fn leaf(&self, client: ClientSlot) -> NodeSlot {
        self.leaves
            .get(client.index())
            .copied()
            .flatten()
            .expect("the client was added")
    }

    fn child(&mut self, parent: NodeSlot, kind: Kind) -> NodeSlot {
        if let Some(child) = self.nodes[parent].children.get(&kind) {
            return *child;
        }
        let child = self.nodes.insert(Node::new(kind.clone(), Some(parent)));
        self.nodes[parent].children.insert(kind, child);
        child
    }

    /// The node that holds the frameworks of a role.
    fn own_node(&mut self, role: &Role) -> NodeSlot {
        let mut node = self.root;
        for (role, component) in role.path().zip(role.components()) {
            node = self.child(node, Kind::Role(component.into()));
            if let Some((weight, priority)) = self.settings.get(&role) {
                self.nodes[node].weight = *weight;
                self.nodes[node].priority = *priority;
            }
        }
        self.child(node, Kind::Own)
    }

    /// Removes a node, and whatever above it is left without children.
    fn prune(&mut self, mut slot: NodeSlot) {
        while self.nodes[slot].children.is_empty() {
            let Some(parent) = self.nodes[slot].parent else {
                return;
            };
            let node = self.nodes.remove(slot);
            self.nodes[parent].children.remove(&node.kind);
            slot = parent;
        }
    }

    /// Applies a change to a client's leaf and everything above it.
    fn change(&mut self, client: ClientSlot, mut change: impl FnMut(&mut Node)) {
        self.nobody_took = None;
        let mut next = Some(self.leaf(client));
        while let Some(slot) = next {
            let node = &mut self.nodes[slot];
            change(node);
            next = node.parent;
            if !node.marked {
                node.marked = true;
                self.marked.push(slot);
            }
        }
    }

    /// The node of a role, if somebody is in it or below it.
    fn role_node(&self, role: &Role) -> Option<NodeSlot> {
        role.components().try_fold(self.root, |node, component| {
            let kind = Kind::Role(component.into());
            self.nodes[node].children.get(&kind).copied()
        })
    }

    fn mark_all(&mut self) {
        for slot in self.nodes.slots().collect::<Vec<_>>() {
            let node = &mut self.nodes[slot];
            if !node.marked {
                node.marked = true;
                self.marked.push(slot);
            }
        }
    }

    /// Whether shares have to be worked out against another total.
    fn basis_is_stale(&self) -> bool {
        self.total_changed && !self.counted().is_proportional_to(&self.basis)
    }

    /// Where a node belongs among its siblings, with shares against this basis.
    fn rank(&self, slot: NodeSlot, basis: &Quantities) -> Rank {
        let node = &self.nodes[slot];
        Rank {
            priority: Reverse(node.priority),
            share: Share::dominant(&node.held, basis, node.weight),
            served: node.served,
            node: slot,
        }
    }

    /// The same, whether or not its siblings have been put in order since the last change.
    fn rank_now(&self, slot: NodeSlot) -> Rank {
        match self.basis_is_stale() {
            true => self.rank(slot, &self.counted()),
            false => self.rank(slot, &self.basis),
        }
    }

    /// Adds the clients below a node that want offers, in order.
    fn collect_in_order(&self, slot: NodeSlot, clients: &mut Vec<ClientSlot>) {
        let node = &self.nodes[slot];
        if let Kind::Client(client) = node.kind {
            clients.push(client);
        }
        let children = node.children.values();
        let wanting = children.filter(|child| self.nodes[**child].wanting > 0);
        let ranks: BTreeSet<_> = wanting.map(|child| self.rank_now(*child)).collect();
        for rank in ranks {
            self.collect_in_order(rank.node, clients);
        }
    }

    /// The nodes from the root to a client's leaf.
    fn way_to(&self, client: ClientSlot) -> Vec<NodeSlot> {
        let leaf = Some(self.leaf(client));
        let mut way: Vec<_> =
            std::iter::successors(leaf, |slot| self.nodes[*slot].parent).collect();
        way.reverse();
        way
    }

    /// The role that a node is, or that it is part of.
    fn role_of(&self, slot: NodeSlot) -> Role {
        let up = std::iter::successors(Some(slot), |slot| self.nodes[*slot].parent);
        let mut names: Vec<_> = up
            .filter_map(|slot| match &self.nodes[slot].kind {
                Kind::Role(name) => Some(name.as_ref()),
                Kind::Own | Kind::Client(_) => None,
            })
            .collect();
        names.reverse();
        names.join("/").parse().expect("it was made of a role")
    }

    fn standing(&self, slot: NodeSlot) -> Standing {
        // The basis may be a multiple of the total, which orders alike but is not what people expect.
        let rank = self.rank(slot, &self.counted());
        Standing {
            role: self.role_of(slot),
            priority: rank.priority.0,
            share: rank.share,
        }
    }

    /// Puts marked nodes where they belong among their siblings.
    fn settle(&mut self) {
        let stale = self.basis_is_stale();
        self.total_changed = false;
        if stale {
            self.nobody_took = None;
            self.basis = self.counted().into_owned();
            self.mark_all();
        }
        for slot in std::mem::take(&mut self.marked) {
            let Some(node) = self.nodes.get_mut(slot) else {
                continue;
            };
            node.marked = false;
            let Some(parent) = node.parent else { continue };
            let wanting = node.wanting > 0;
            let rank = wanting.then(|| self.rank(slot, &self.basis));
            let before = std::mem::replace(&mut self.nodes[slot].rank, rank);
            if before == rank {
                continue;
            }
            let order = &mut self.nodes[parent].order;
            before.map(|before| order.remove(&before));
            rank.map(|rank| order.insert(rank));
        }
    }

    /// Notes that a client is served now.
    pub(crate) fn serve(&mut self, client: ClientSlot) -> ClientSlot {
        self.turn += 1;
        let turn = self.turn;
        self.change(client, |node| node.served = turn);
        client
    }

    fn first_taker(
        &self,
        slot: NodeSlot,
        takes: &mut dyn FnMut(ClientSlot) -> bool,
    ) -> Option<ClientSlot> {
        let node = &self.nodes[slot];
        match node.kind {
            Kind::Client(client) => takes(client).then_some(client),
            Kind::Role(_) | Kind::Own => node
                .order
                .iter()
                .find_map(|rank| self.first_taker(rank.node, takes)),
        }
    }
}

impl Policy for Drf {
    fn grow(&mut self, agent: &Resources) {
        self.total.add(agent);
        self.total_changed = true;
    }

    fn shrink(&mut self, agent: &Resources) {
        self.total.sub(agent);
        self.total_changed = true;
    }

    fn configure(&mut self, role: &Role, settings: &RoleSettings) {
        let priority = match self.order {
            Order::Fair => 0,
            Order::Priority => settings.priority,
        };
        self.nobody_took = None;
        self.settings
            .insert(role.clone(), (settings.weight, priority));
        if let Some(slot) = self.role_node(role) {
            let node = &mut self.nodes[slot];
            node.weight = settings.weight;
            node.priority = priority;
            if !std::mem::replace(&mut node.marked, true) {
                self.marked.push(slot);
            }
        }
    }

    fn add(&mut self, client: ClientSlot, role: &Role) {
        let own = self.own_node(role);
        let leaf = self.child(own, Kind::Client(client));
        if self.leaves.len() <= client.index() {
            self.leaves.resize(client.index() + 1, None);
        }
        self.leaves[client.index()] = Some(leaf);
    }

    fn remove(&mut self, client: ClientSlot) {
        self.settle();
        let leaf = self.leaf(client);
        self.leaves[client.index()] = None;
        self.prune(leaf);
    }

    fn set_wanting(&mut self, client: ClientSlot, wanting: bool) {
        let before = self.nodes[self.leaf(client)].wanting > 0;
        if before == wanting {
            return;
        }
        self.change(client, |node| {
            if wanting {
                node.wanting += 1;
            } else {
                node.wanting -= 1;
            }
        });
    }

    fn anyone_wanting(&self) -> bool {
        self.nodes[self.root].wanting > 0
    }

    fn charge(&mut self, client: ClientSlot, resources: &Resources) {
        self.change(client, |node| node.held.add(resources));
    }

    fn refund(&mut self, client: ClientSlot, resources: &Resources) {
        self.change(client, |node| node.held.sub(resources));
    }

    fn next(&mut self, takes: &mut dyn FnMut(ClientSlot) -> bool) -> Option<ClientSlot> {
        self.settle();
        if let Some(all) = &self.nobody_took {
            let taker = all.iter().copied().find(|client| takes(*client))?;
            return Some(self.serve(taker));
        }
        let mut asked = Vec::new();
        let taker = self.first_taker(self.root, &mut |client| {
            asked.push(client);
            takes(client)
        });
        if taker.is_none() {
            self.nobody_took = Some(asked);
        }
        taker.map(|client| self.serve(client))
    }

    fn order(&self) -> Option<Vec<ClientSlot>> {
        let mut clients = Vec::new();
        self.collect_in_order(self.root, &mut clients);
        Some(clients)
    }

    fn parting(&self, one: ClientSlot, other: ClientSlot) -> (Standing, Standing) {
        let (one, other) = (self.way_to(one), self.way_to(other));
        let mut pairs = one.into_iter().zip(other);
        let (one, other) = pairs
            .find(|(one, other)| one != other)
            .expect("two clients have leaves of their own");
        (self.standing(one), self.standing(other))
    }

    fn held(&self, client: ClientSlot) -> &Quantities {
        &self.nodes[self.leaf(client)].held
    }

    fn total(&self) -> &Quantities {
        &self.total
    }

    fn counted(&self) -> Cow<'_, Quantities> {
        match self.excluded.is_empty() {
            true => Cow::Borrowed(&self.total),
            false => Cow::Owned(self.total.without(&self.excluded)),
        }
    }

    fn view(&self) -> PolicyView {
        let policy = match self.order {
            Order::Fair => BuiltInPolicy::Drf,
            Order::Priority => BuiltInPolicy::Priority,
        };
        PolicyView::built_in(policy)
    }

    fn check_invariants(&self) {
        let mut asked = Vec::new();
        self.first_taker(self.root, &mut |client| {
            asked.push(client);
            false
        });
        if self.marked.is_empty() && !self.total_changed {
            assert_eq!(self.order(), Some(asked.clone()), "the order as it is told");
            let list = self.nobody_took.as_ref();
            assert!(
                list.is_none_or(|all| *all == asked),
                "the list is that of the tree"
            );
        }
        for (slot, node) in self.nodes.iter() {
            let ranks = node.children.values().filter_map(|child| {
                let child = &self.nodes[*child];
                assert_eq!(child.parent, Some(slot), "a child knows its parent");
                child.rank
            });
            let ranks: BTreeSet<_> = ranks.collect();
            assert_eq!(ranks, node.order, "the order holds the children's ranks");
            let wanting: usize = node
                .children
                .values()
                .map(|child| self.nodes[*child].wanting)
                .sum();
            if !matches!(node.kind, Kind::Client(_)) {
                assert_eq!(wanting, node.wanting, "wanting clients are counted");
            }
            if !node.marked && !self.total_changed && node.parent.is_some() {
                let share = Share::dominant(&node.held, &self.basis, node.weight);
                assert_eq!(
                    node.rank.map(|rank| rank.share),
                    (node.wanting > 0).then_some(share),
                    "an unmarked node stands where its share puts it"
                );
            }
        }
    }
}
