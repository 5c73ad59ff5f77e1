//! When agents that are not heard of are taken for lost: each in its turn, and after a restart not too many.
//!
//! One agent that falls silent has failed. If a thousand do at once, they have not: the network has, or the master.
//! Operators can therefore say how many agents may be lost in a time, and how many of those that a master knew when it
//! restarted may be lost at all. Whoever is heard of while it waits for its turn stays. At the second limit nobody
//! else who was known then is lost: the master says so and goes on with those that are there; the rest may come back
//! whenever they can, or an operator says that they are gone.

use std::collections::BTreeSet;

use nesos_types::time::Time;

use super::Link;
use super::liveness::Fate;
use crate::deadlines::Deadline;
use crate::decision::{Decisions, Happening};
use crate::master::Master;
use crate::snapshot::Overdue;
use crate::table::AgentSlot;

/// Who is to be taken for lost and is not yet.
#[derive(Debug)]
pub(crate) struct Removals {
    /// Those that wait for their turn, in its order.
    pub(crate) waiting: BTreeSet<(Time, AgentSlot)>,
    /// Nobody is lost before this.
    next: Time,
    /// When it is the turn of the first that waits.
    pub(crate) deadline: Time,
    /// How many agents were known when the master restarted.
    pub(crate) known: usize,
    /// How many of those were taken for lost without having come back.
    lost: usize,
    /// How many of those are overdue: nobody waits for what they have.
    pub(crate) overdue: usize,
}

impl Removals {
    pub(crate) fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            next: Time::ZERO,
            deadline: Time::MAX,
            known: 0,
            lost: 0,
            overdue: 0,
        }
    }
}

impl Master {
    /// An agent is to be taken for lost: at once, in its turn, or not at all. Says whether it was.
    pub(super) fn give_up(&mut self, slot: AgentSlot, out: &mut Decisions) -> bool {
        if self.agents[slot].overdue.is_some() {
            return false;
        }
        if self.is_one_too_many(slot) {
            self.hold(slot, out);
            return false;
        }
        let is_its_turn = self.removals.waiting.is_empty() && self.now >= self.removals.next;
        if self.config.agent_removal_rate.is_some() && !is_its_turn {
            self.stats.removals_delayed += 1;
            self.make_overdue(slot, Overdue::Waits { since: self.now });
            return false;
        }
        self.lose(slot, out);
        true
    }

    /// It is somebody's turn.
    pub(crate) fn on_removal_due(&mut self, out: &mut Decisions) {
        self.removals.deadline = Time::MAX;
        while let Some((_, slot)) = self.removals.waiting.first().copied() {
            if !self.is_one_too_many(slot) {
                self.lose(slot, out);
                break;
            }
            self.end_waiting(slot);
            self.hold(slot, out);
        }
        self.arm_removals();
    }

    /// An agent was heard of.
    pub(crate) fn hear_of(&mut self, slot: AgentSlot) {
        if self.end_waiting(slot) {
            self.stats.removals_cancelled += 1;
        }
    }

    /// An agent is not overdue any more. Says whether it was.
    pub(super) fn end_waiting(&mut self, slot: AgentSlot) -> bool {
        let agent = &mut self.agents[slot];
        let Some(overdue) = agent.overdue.take() else {
            return false;
        };
        self.removals.overdue -= usize::from(agent.link == Link::Recovered);
        if let Overdue::Waits { since } = overdue {
            self.removals.waiting.remove(&(since, slot));
            self.arm_removals();
        }
        true
    }

    fn make_overdue(&mut self, slot: AgentSlot, overdue: Overdue) {
        let agent = &mut self.agents[slot];
        agent.overdue = Some(overdue);
        self.removals.overdue += usize::from(agent.link == Link::Recovered);
        if let Overdue::Waits { since } = overdue {
            self.removals.waiting.insert((since, slot));
            self.arm_removals();
        }
    }

    fn arm_removals(&mut self) {
        let at = match self.removals.waiting.is_empty() {
            true => Time::MAX,
            false => self.removals.next,
        };
        self.deadlines
            .rearm(&mut self.removals.deadline, at, Deadline::Removal);
    }

    /// Whether more of the agents that were known at the restart would be lost than may be.
    fn is_one_too_many(&self, slot: AgentSlot) -> bool {
        let most = usize::from(self.config.recovery_agent_removal_limit) * self.removals.known;
        self.agents[slot].link == Link::Recovered && (self.removals.lost + 1) * 100 > most
    }

    fn hold(&mut self, slot: AgentSlot, out: &mut Decisions) {
        if self.stats.removals_held == 0 {
            out.observed(Happening::RemovalLimitReached {
                removed: self.removals.lost,
                known: self.removals.known,
            });
        }
        self.stats.removals_held += 1;
        self.make_overdue(slot, Overdue::Held);
    }

    fn lose(&mut self, slot: AgentSlot, out: &mut Decisions) {
        let agent = &self.agents[slot];
        self.removals.lost += usize::from(agent.link == Link::Recovered);
        if let Some(rate) = self.config.agent_removal_rate {
            self.removals.next = self.now + rate.interval();
        }
        if let Some(connection) = agent.connection() {
            self.connections.remove(&connection);
            out.close(connection);
        }
        self.remove_agent(slot, Fate::Unreachable, out);
    }
}
