//! What goes wrong, how often, and until when.

use std::time::Duration;

/// Faults strike at random moments, one about every `every`, until `until`. After that the network and
/// the processes behave, and the cluster has to find back to order by itself.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The mean time between two faults; `None` for no faults.
    pub every: Option<Duration>,
    /// When faults end, after the begin.
    pub until: Duration,
    /// The least and the most that a message takes.
    pub delay: (Duration, Duration),
    /// How many of a thousand messages that may be repeated arrive twice.
    pub duplicates_per_mille: u32,
    /// How many of a thousand tasks fail by their own fault.
    pub failures_per_mille: u32,
    /// How many of a thousand tasks their scheduler changes its mind about.
    pub kills_per_mille: u32,
    /// How many of a thousand tasks never end by themselves.
    pub endless_per_mille: u32,
    /// Of the list of faults, only those from here on and so many: all, unless a failure is being narrowed down.
    pub kinds: (usize, usize),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A scheduler's connection breaks; it comes back.
    SchedulerBreak,
    /// A scheduler and its master cannot reach each other for a while. Nobody is told.
    SchedulerSilence,
    /// A scheduler's process dies and is started again with its id.
    SchedulerCrash,
    /// A scheduler's process dies and is started again without its id.
    SchedulerForgets,
    /// A scheduler's process stands still for a while.
    SchedulerPause,
    /// An agent's connection breaks; it comes back.
    AgentBreak,
    /// An agent and its master cannot reach each other for a while. Nobody is told.
    AgentSilence,
    /// An agent hears nothing of its master for a while.
    AgentDeaf,
    /// A master hears nothing of an agent for a while.
    AgentMute,
    /// An agent process dies and is started again; its cells live on.
    AgentCrash,
    /// An agent's host is started again, with nothing but its disk.
    HostReboot,
    /// An agent's process stands still for a while.
    AgentPause,
    /// An agent's disk is slow for a while.
    DiskSlow,
    /// A cell dies with everything in it.
    CellCrash,
    /// A master dies and another one recovers from what was durable.
    MasterCrash,
    /// A master's process stands still for a while.
    MasterPause,
    /// A master reaches neither its store nor anybody else for a while.
    MasterIsolated,
    /// The store is slow for a while.
    StoreSlow,
    /// The store loses requests and answers for a while.
    StoreFails,
    /// Somebody sets a machine's clock.
    ClockJump,
}

impl Fault {
    /// Each as often as it stands here.
    const MIX: [Self; 32] = [
        Self::SchedulerBreak,
        Self::SchedulerBreak,
        Self::SchedulerBreak,
        Self::SchedulerSilence,
        Self::SchedulerCrash,
        Self::SchedulerCrash,
        Self::SchedulerForgets,
        Self::SchedulerPause,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentSilence,
        Self::AgentDeaf,
        Self::AgentMute,
        Self::AgentCrash,
        Self::AgentCrash,
        Self::AgentCrash,
        Self::HostReboot,
        Self::AgentPause,
        Self::DiskSlow,
        Self::CellCrash,
        Self::CellCrash,
        Self::CellCrash,
        Self::MasterCrash,
        Self::MasterCrash,
        Self::MasterPause,
        Self::MasterPause,
        Self::MasterIsolated,
        Self::StoreSlow,
        Self::StoreFails,
        Self::ClockJump,
    ];
}

impl Faults {
    /// Nothing goes wrong; messages take a millisecond.
    #[must_use]
    pub fn none() -> Self {
        Self {
            every: None,
            until: Duration::ZERO,
            delay: (Duration::from_millis(1), Duration::from_millis(1)),
            duplicates_per_mille: 0,
            failures_per_mille: 0,
            kills_per_mille: 0,
            endless_per_mille: 0,
            kinds: (0, Fault::MIX.len()),
        }
    }

    /// All kinds of faults, one about every `every` during `until`.
    #[must_use]
    pub fn all(every: Duration, until: Duration) -> Self {
        Self {
            every: Some(every),
            until,
            delay: (Duration::from_micros(100), Duration::from_millis(50)),
            duplicates_per_mille: 20,
            failures_per_mille: 20,
            kills_per_mille: 20,
            endless_per_mille: 50,
            kinds: (0, Fault::MIX.len()),
        }
    }

    /// Whether the list of faults has so many from there on, and at least one.
    #[must_use]
    pub fn has_kinds((first, count): (usize, usize)) -> bool {
        count > 0 && first.saturating_add(count) <= Fault::MIX.len()
    }

    /// What can strike.
    pub(crate) fn kinds(&self) -> &'static [Fault] {
        let (first, count) = self.kinds;
        &Fault::MIX[first..first + count]
    }
}
