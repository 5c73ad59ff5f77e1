//! A seat of a master: the place of one process, and its reign while it has one.

use std::collections::VecDeque;

use nesos_master_core::{Effect, Event, Master};
use nesos_types::time::Time;

use super::clock::{Clock, Oscillator};

/// The place of one master process.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Numbers processes: what was meant for one that is gone hits nobody.
    pub(crate) process: u32,
    pub(crate) up: bool,
    pub(crate) oscillator: Oscillator,
    pub(crate) clock: Clock,
    /// Nobody and no store hears of it until then.
    pub(crate) isolated_until: Time,
    pub(crate) reign: Option<Reign>,
}

/// What a master has while it leads.
#[derive(Debug)]
pub(crate) struct Reign {
    pub(crate) core: Master,
    pub(crate) term: u64,
    /// Until when it may speak, by its own clock: the lease cannot have run out before.
    pub(crate) fence: Time,
    /// What it hears while a commit is under way.
    pub(crate) inbox: VecDeque<Event>,
    /// What it does when the commit that is under way has succeeded.
    pub(crate) waiting: Option<Vec<Effect>>,
}

impl Seat {
    pub(crate) fn new(oscillator: Oscillator, now: Time) -> Self {
        Self {
            process: 0,
            up: false,
            oscillator,
            clock: oscillator.start(now),
            isolated_until: Time::ZERO,
            reign: None,
        }
    }

    /// A new process takes the place.
    pub(crate) fn start(&mut self, now: Time) {
        self.up = true;
        self.clock = self.oscillator.start(now);
    }

    /// The process dies, and takes with it what was not durable.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.process += 1;
        self.reign = None;
    }

    /// When its core wants to be woken, in true time, if it can be.
    pub(crate) fn due(&self) -> Option<Time> {
        let reign = self
            .reign
            .as_ref()
            .filter(|reign| reign.waiting.is_none())?;
        Some(self.clock.when(reign.core.next_deadline()?))
    }

    /// Whether it may speak, as far as it can tell.
    pub(crate) fn may_speak(&self, now: Time) -> bool {
        let own = self.clock.at(now);
        self.reign.as_ref().is_some_and(|reign| own < reign.fence)
    }
}
