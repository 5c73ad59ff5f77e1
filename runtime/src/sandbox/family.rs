//! An executor and its children: who of them may use which part of the CPU, and what the children used.
//!
//! An executor's total is parted among its children, each with what it asked for, and the executor, which
//! has the rest and always keeps a little. If the total shrinks below that, everybody's part shrinks in
//! proportion; nobody is ended for it. Memory is not parted here: children draw on the executor's ledger.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Control;
use crate::awaitable::Awaitable;

/// Thousandths of a CPU that an executor cannot give to its children: it has to be able to hear of them.
pub(crate) const OWN_CPU_MILLI: u64 = 10;

/// The children of one sandbox.
#[derive(Debug)]
pub(crate) struct Family {
    members: Awaitable<Members>,
}

#[derive(Debug)]
struct Members {
    total_cpu_milli: u64,
    children: BTreeMap<u64, Member>,
    next_id: u64,
    /// CPU time of children that have ended.
    ended_cpu_ns: u64,
    /// There are to be no more children.
    closed: bool,
}

#[derive(Debug)]
struct Member {
    cpu_milli: u64,
    /// None until it is launched.
    control: Weak<Control>,
}

impl Family {
    pub(super) fn new(total_cpu_milli: u64) -> Self {
        Self {
            members: Awaitable::new(Members {
                total_cpu_milli,
                children: BTreeMap::new(),
                next_id: 1,
                ended_cpu_ns: 0,
                closed: false,
            }),
        }
    }

    /// The whole family may use so much CPU. Says what of it is left to the executor itself.
    pub(super) fn set_total(&self, cpu_milli: u64) -> u64 {
        let mut members = self.members.lock();
        members.total_cpu_milli = cpu_milli;
        members.set_children();
        members.own()
    }

    /// What the whole family may use.
    pub(crate) fn total_cpu_milli(&self) -> u64 {
        self.members.lock().total_cpu_milli
    }

    /// What could be given to one more child.
    pub(crate) fn left_cpu_milli(&self) -> u64 {
        let members = self.members.lock();
        let total = members.total_cpu_milli.saturating_sub(OWN_CPU_MILLI);
        total.saturating_sub(members.given())
    }

    /// Takes a child in: its id, and what the executor itself has from now on; none if there is not so much
    /// CPU, or if there are to be no more children.
    pub(crate) fn admit(&self, cpu_milli: u64) -> Option<(u64, u64)> {
        let mut members = self.members.lock();
        let room = members.total_cpu_milli.saturating_sub(OWN_CPU_MILLI);
        if members.closed || members.given().saturating_add(cpu_milli) > room {
            return None;
        }
        let id = members.next_id;
        members.next_id += 1;
        let control = Weak::new();
        members.children.insert(id, Member { cpu_milli, control });
        Some((id, members.own()))
    }

    /// A child that was taken in has been launched. It is ended at once if the family has come to its end.
    pub(crate) fn joined(&self, id: u64, control: &Arc<Control>) {
        let mut members = self.members.lock();
        let closed = members.closed;
        if let Some(member) = members.children.get_mut(&id) {
            member.control = Arc::downgrade(control);
        }
        drop(members);
        if closed {
            control.drop_guest();
        }
    }

    /// A child has ended, having used so much CPU time. Says what the executor itself has from now on.
    pub(crate) fn leave(&self, id: u64, cpu_ns: u64) -> u64 {
        self.members.change(|members| {
            members.children.remove(&id);
            members.ended_cpu_ns += cpu_ns;
            members.set_children();
            members.own()
        })
    }

    /// CPU time that the children have used.
    pub(super) fn cpu_ns(&self) -> u64 {
        let members = self.members.lock();
        let live = members.children.values().filter_map(|member| {
            let control = member.control.upgrade()?;
            Some(control.meter.cpu_ns.load(Ordering::Relaxed))
        });
        members.ended_cpu_ns + live.sum::<u64>()
    }

    /// Ends all children; there are to be no more.
    pub(super) fn close(&self) {
        let mut members = self.members.lock();
        members.closed = true;
        let controls = members.children.values();
        let children: Vec<_> = controls
            .filter_map(|member| member.control.upgrade())
            .collect();
        // Not under the lock, which whoever ends needs.
        drop(members);
        children.iter().for_each(|child| child.drop_guest());
    }

    /// Waits until no child is left.
    pub(super) async fn gone(&self) {
        self.members
            .until(|members| members.children.is_empty())
            .await;
    }
}

impl Members {
    /// What children have asked for.
    fn given(&self) -> u64 {
        self.children.values().map(|member| member.cpu_milli).sum()
    }

    /// What is left to the executor.
    fn own(&self) -> u64 {
        let least = OWN_CPU_MILLI.min(self.total_cpu_milli).max(1);
        self.total_cpu_milli.saturating_sub(self.given()).max(least)
    }

    /// Tells the children what they may use now.
    fn set_children(&self) {
        let room = self.total_cpu_milli.saturating_sub(OWN_CPU_MILLI);
        let given = self.given();
        for member in self.children.values() {
            let part = part(member.cpu_milli, room, given);
            if let Some(control) = member.control.upgrade() {
                control.set_own_cpu(part);
            }
        }
    }
}

/// A part of what there is, for somebody who asked for `wanted` when all together asked for `given`.
fn part(wanted: u64, room: u64, given: u64) -> u64 {
    if given <= room {
        return wanted;
    }
    let part = u128::from(wanted) * u128::from(room) / u128::from(given);
    u64::try_from(part).unwrap_or(wanted).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executor_has_what_its_children_do_not_and_keeps_a_little() {
        let family = Family::new(1000);
        assert_eq!(family.left_cpu_milli(), 990);
        assert_eq!(family.admit(600), Some((1, 400)));
        assert_eq!(family.admit(391), None);
        assert_eq!(family.admit(390), Some((2, 10)));
        assert_eq!(family.left_cpu_milli(), 0);
        assert_eq!(family.leave(1, 7), 610);
        assert_eq!((family.left_cpu_milli(), family.cpu_ns()), (600, 7));
    }

    #[test]
    fn parts_shrink_in_proportion_and_grow_again() {
        let family = Family::new(1000);
        family.admit(900);
        assert_eq!(family.set_total(460), 10);
        assert_eq!((part(600, 450, 900), part(300, 450, 900)), (300, 150));
        assert_eq!((part(600, 900, 900), part(1, 0, 900)), (600, 1));
        assert_eq!(family.set_total(2000), 1100);
    }
}
