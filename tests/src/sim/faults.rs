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
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A scheduler's connection breaks; it comes back.
    SchedulerBreak,
    /// An agent's connection breaks; it comes back.
    AgentBreak,
    /// An agent cannot be reached for longer than the master has patience. Nobody is told.
    AgentSilence,
    /// An agent process dies and is started again; its cells live on.
    AgentCrash,
    /// A cell dies with everything in it.
    CellCrash,
    /// The master dies and another one recovers from what was durable.
    MasterCrash,
}

impl Fault {
    /// Each as often as it stands here.
    pub(crate) const MIX: [Self; 16] = [
        Self::SchedulerBreak,
        Self::SchedulerBreak,
        Self::SchedulerBreak,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentBreak,
        Self::AgentSilence,
        Self::AgentSilence,
        Self::AgentCrash,
        Self::AgentCrash,
        Self::AgentCrash,
        Self::CellCrash,
        Self::CellCrash,
        Self::CellCrash,
        Self::MasterCrash,
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
        }
    }
}
