//! Dominant resource fairness, hierarchical and weighted: the same decisions as the master's own, as a
//! plug-in.
//!
//! Roles form a tree with the clients as leaves; siblings are compared by what their subtrees hold of
//! the scarcest kind, over their weight, and the lowest is served first. Ties go to whoever was served
//! longest ago, and then to the node that came first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use nesos_policies::share::{Share, Sums};
use nesos_policies::{Amount, Change, ClientId, Policy, policy};

/// The weight of a role for which none was decided.
const ONE_MILLI: u32 = 1000;

/// Where a node is kept; places of nodes that are gone are used again, the latest first.
type Place = usize;

const ROOT: Place = 0;

/// What a node stands for. The clients of a role are below a node of their own, beside the roles below
/// the role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Role(String),
    Clients,
    Client(ClientId),
}

/// Where a node stands among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank {
    share: Share,
    served: u64,
    place: Place,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_share = self.share.cmp(&other.share);
        by_share
            .then(self.served.cmp(&other.served))
            .then(self.place.cmp(&other.place))
    }
}
impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    parent: Option<Place>,
    children: BTreeMap<Kind, Place>,
    weight_milli: u32,
    held: Sums,
    /// The turn in which it was served last.
    served: u64,
    /// How many clients below want offers.
    wanting: usize,
    rank: Option<Rank>,
    marked: bool,
    /// Children that want offers, the next to be served first.
    order: BTreeSet<Rank>,
}

impl Node {
    fn new(kind: Kind, parent: Option<Place>, weight_milli: u32) -> Self {
        Self {
            kind,
            parent,
            children: BTreeMap::new(),
            weight_milli,
            held: Sums::default(),
            served: 0,
            wanting: 0,
            rank: None,
            marked: false,
            order: BTreeSet::new(),
        }
    }
}

struct Drf {
    nodes: Vec<Node>,
    unused: Vec<Place>,
    /// The leaf of each client, by number.
    leaves: Vec<Option<Place>>,
    weights: BTreeMap<String, u32>,
    total: Sums,
    /// What shares are of: the total, or what the total is a multiple of.
    basis: Sums,
    total_changed: bool,
    /// Nodes that may have to move among their siblings.
    marked: Vec<Place>,
    turns: u64,
    /// From the root to the client that was named last: at each node, the child that was gone into.
    path: Vec<(Place, Option<Rank>)>,
}

impl Default for Drf {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(Kind::Clients, None, ONE_MILLI)],
            unused: Vec::new(),
            leaves: Vec::new(),
            weights: BTreeMap::new(),
            total: Sums::default(),
            basis: Sums::default(),
            total_changed: false,
            marked: Vec::new(),
            turns: 0,
            path: Vec::new(),
        }
    }
}

impl Drf {
    fn child(&mut self, parent: Place, kind: Kind, weight_milli: u32) -> Place {
        if let Some(child) = self.nodes[parent].children.get(&kind) {
            return *child;
        }
        let node = Node::new(kind.clone(), Some(parent), weight_milli);
        let place = match self.unused.pop() {
            Some(place) => {
                self.nodes[place] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(kind, place);
        place
    }

    fn leaf(&self, client: ClientId) -> Option<Place> {
        self.leaves.get(client as usize).copied().flatten()
    }

    fn put(&mut self, client: ClientId, role: &str) {
        let mut node = ROOT;
        let mut end = 0;
        for component in role.split('/') {
            end += component.len();
            let weight = self.weights.get(&role[..end]).copied();
            node = self.child(
                node,
                Kind::Role(component.to_owned()),
                weight.unwrap_or(ONE_MILLI),
            );
            end += 1;
        }
        let clients = self.child(node, Kind::Clients, ONE_MILLI);
        let leaf = self.child(clients, Kind::Client(client), ONE_MILLI);
        let index = client as usize;
        if self.leaves.len() <= index {
            self.leaves.resize(index + 1, None);
        }
        self.leaves[index] = Some(leaf);
    }

    /// Removes a leaf, and whatever above it is left without children.
    fn remove(&mut self, client: ClientId) {
        self.settle();
        let leaf = self.leaves.get_mut(client as usize);
        let mut next = leaf.and_then(Option::take);
        while let Some(place) = next.filter(|place| self.nodes[*place].children.is_empty()) {
            next = self.nodes[place].parent;
            if let Some(parent) = next {
                let kind = self.nodes[place].kind.clone();
                self.nodes[parent].children.remove(&kind);
                self.unused.push(place);
            }
        }
    }

    fn configure(&mut self, role: String, weight_milli: u32) {
        let node = role.split('/').try_fold(ROOT, |node, component| {
            let kind = Kind::Role(component.to_owned());
            self.nodes[node].children.get(&kind).copied()
        });
        if let Some(place) = node {
            self.nodes[place].weight_milli = weight_milli;
            self.mark(place);
        }
        self.weights.insert(role, weight_milli);
    }

    fn mark(&mut self, place: Place) {
        if !std::mem::replace(&mut self.nodes[place].marked, true) {
            self.marked.push(place);
        }
    }

    /// Changes a client's leaf and everything above it.
    fn update(&mut self, client: ClientId, change: impl Fn(&mut Node)) {
        let mut next = self.leaf(client);
        while let Some(place) = next {
            change(&mut self.nodes[place]);
            self.mark(place);
            next = self.nodes[place].parent;
        }
    }

    fn set_wanting(&mut self, client: ClientId, wanting: bool) {
        let leaf = self.leaf(client);
        if leaf.is_none_or(|leaf| (self.nodes[leaf].wanting > 0) == wanting) {
            return;
        }
        self.update(client, |node| {
            node.wanting = if wanting {
                node.wanting + 1
            } else {
                node.wanting - 1
            };
        });
    }

    fn change_total(&mut self, change: impl FnOnce(&mut Sums)) {
        change(&mut self.total);
        self.total_changed = true;
    }

    /// Puts marked nodes where they belong among their siblings.
    fn settle(&mut self) {
        if std::mem::take(&mut self.total_changed) && !self.total.is_multiple_of(&self.basis) {
            self.basis.clone_from(&self.total);
            (0..self.nodes.len()).for_each(|place| self.mark(place));
        }
        for place in std::mem::take(&mut self.marked) {
            let node = &mut self.nodes[place];
            node.marked = false;
            let Some(parent) = node.parent else { continue };
            let rank = (node.wanting > 0).then(|| Rank {
                share: Share::dominant(&node.held, &self.basis, node.weight_milli),
                served: node.served,
                place,
            });
            let before = std::mem::replace(&mut node.rank, rank);
            if before == rank {
                continue;
            }
            let order = &mut self.nodes[parent].order;
            before.map(|before| order.remove(&before));
            rank.map(|rank| order.insert(rank));
        }
    }

    /// The child to go into next, after the one that was gone into before.
    fn next_child(&self, node: Place, after: Option<Rank>) -> Option<Rank> {
        let order = &self.nodes[node].order;
        match after {
            None => order.first().copied(),
            Some(after) => {
                let rest = (Bound::Excluded(after), Bound::Unbounded);
                order.range(rest).next().copied()
            }
        }
    }

    fn hold(&mut self, client: ClientId, amount: &Amount, change: fn(&mut Sums, &Amount)) {
        self.update(client, |node| change(&mut node.held, amount));
    }
}

impl Policy for Drf {
    fn change(&mut self, change: Change) {
        match change {
            Change::Configure(settings) => self.configure(settings.role, settings.weight_milli),
            Change::Grow(agent) => self.change_total(|total| total.add(&agent)),
            Change::Shrink(agent) => self.change_total(|total| total.sub(&agent)),
            Change::PutClient(client) => self.put(client.id, &client.role),
            Change::RemoveClient(client) => self.remove(client),
            Change::SetWanting(wish) => self.set_wanting(wish.client, wish.wanting),
            Change::Charge(held) => self.hold(held.client, &held.amount, Sums::add),
            Change::Refund(held) => self.hold(held.client, &held.amount, Sums::sub),
            Change::Served(client) => {
                self.turns += 1;
                let turn = self.turns;
                self.update(client, |node| node.served = turn);
            }
        }
    }

    fn begin(&mut self, _: u64) {
        self.settle();
        self.path.clear();
        self.path.push((ROOT, None));
    }

    fn next(&mut self) -> Option<ClientId> {
        while let Some((node, after)) = self.path.pop() {
            let Some(rank) = self.next_child(node, after) else {
                continue;
            };
            self.path.push((node, Some(rank)));
            match self.nodes[rank.place].kind {
                Kind::Client(client) => return Some(client),
                Kind::Role(_) | Kind::Clients => self.path.push((rank.place, None)),
            }
        }
        None
    }
}

policy!(Drf);
