//! What is still to happen, in order of time; what happens at the same moment in the order in which it
//! was scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use nesos_types::time::Time;
use slab::Slab;

/// Scheduled happenings. The heap moves small keys about; the happenings stay where they are.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    happenings: Slab<T>,
    scheduled: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            happenings: Slab::new(),
            scheduled: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Time, happening: T) {
        self.scheduled += 1;
        let place = self.happenings.insert(happening);
        self.heap.push(Reverse((at, self.scheduled, place)));
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        Some((at, self.happenings.remove(place)))
    }
}
