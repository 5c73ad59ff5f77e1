//! Tables of dense handles: ids become slots on arrival, and everything behind the door is an index.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use slab::Slab;

/// The place of an entry in its [`Table`]. Slots are reused once their entry is removed, so whoever
/// keeps one removes it together with the entry.
pub(crate) trait Slot: Copy + Ord + fmt::Debug {
    /// The slot at an index.
    fn at(index: usize) -> Self;
    /// The slot's index.
    fn index(self) -> usize;
}

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(u32);

        impl Slot for $name {
            fn at(index: usize) -> Self {
                Self(u32::try_from(index).expect("a table holds fewer than 2^32 entries"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

slots! {
    /// An agent.
    AgentSlot
    /// A framework.
    FrameworkSlot
    /// A task.
    TaskSlot
    /// An offer.
    OfferSlot
    /// A framework in one of its roles.
    ClientSlot
    /// A node of the role tree.
    NodeSlot
}

/// Entries by slot. Iteration is in the order of slots, which is the same in every run.
#[derive(Debug)]
pub(crate) struct Table<S, V> {
    entries: Slab<V>,
    slots: PhantomData<S>,
}

impl<S: Slot, V> Table<S, V> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Slab::new(),
            slots: PhantomData,
        }
    }

    /// The slot that the next entry will have.
    pub(crate) fn next_slot(&self) -> S {
        S::at(self.entries.vacant_key())
    }

    pub(crate) fn insert(&mut self, value: V) -> S {
        S::at(self.entries.insert(value))
    }

    pub(crate) fn remove(&mut self, slot: S) -> V {
        self.entries.remove(slot.index())
    }

    pub(crate) fn get(&self, slot: S) -> Option<&V> {
        self.entries.get(slot.index())
    }

    pub(crate) fn get_mut(&mut self, slot: S) -> Option<&mut V> {
        self.entries.get_mut(slot.index())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (S, &V)> {
        self.entries
            .iter()
            .map(|(index, value)| (S::at(index), value))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = S> {
        self.entries.iter().map(|(index, _)| S::at(index))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<S: Slot, V> Index<S> for Table<S, V> {
    type Output = V;
    fn index(&self, slot: S) -> &V {
        &self.entries[slot.index()]
    }
}

impl<S: Slot, V> IndexMut<S> for Table<S, V> {
    fn index_mut(&mut self, slot: S) -> &mut V {
        &mut self.entries[slot.index()]
    }
}
