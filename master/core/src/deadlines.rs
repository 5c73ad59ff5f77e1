//! Deadlines: the one ordered set of everything that happens because time passes.

use std::collections::BTreeSet;

use nesos_types::time::Time;

use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, OfferSlot};

/// What a deadline is about. Its owner knows its time, so that it can be taken out again; an old
/// timer can therefore never hit a newer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// An agent is to be pinged or given up.
    Agent(AgentSlot),
    /// A scheduler is to hear a heartbeat, or its framework to be removed.
    Framework(FrameworkSlot),
    /// An offer stood long enough.
    Offer(OfferSlot),
    /// The first refusal of a client on an agent is over.
    Filter(ClientSlot, AgentSlot),
    /// An agent that waits for its turn to be taken for lost has it.
    Removal,
    /// The next cycle of the allocator.
    Cycle,
}

/// Deadlines in order of time; deadlines of the same moment in the order of [`Deadline`].
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<(Time, Deadline)>);

impl Deadlines {
    /// Sets a deadline; `Time::MAX` is "never".
    pub(crate) fn insert(&mut self, at: Time, deadline: Deadline) {
        if at < Time::MAX {
            self.0.insert((at, deadline));
        }
    }

    pub(crate) fn remove(&mut self, at: Time, deadline: Deadline) {
        self.0.remove(&(at, deadline));
    }

    /// Moves a deadline whose owner remembers its time in `at`.
    pub(crate) fn rearm(&mut self, at: &mut Time, later: Time, deadline: Deadline) {
        self.remove(*at, deadline);
        *at = later;
        self.insert(later, deadline);
    }

    /// Takes the earliest deadline out if it has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Deadline> {
        let &(at, _) = self.0.first()?;
        (at <= now).then(|| self.0.pop_first())?.map(|(_, due)| due)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, Deadline)> {
        self.0.iter().copied()
    }
}
