//! Plain counters, exported by the driver: no globals, for a global cannot be simulated many times in
//! one process.

use serde::Serialize;

/// Counts since the master started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Events handled.
    pub events: u64,
    /// Allocation runs.
    pub allocation_runs: u64,
    /// Agents that an allocation run looked at.
    pub agents_visited: u64,
    /// Offers made.
    pub offers_made: u64,
    /// Offers used, wholly or in part.
    pub offers_accepted: u64,
    /// Offers turned down.
    pub offers_declined: u64,
    /// Offers that the master took back.
    pub offers_rescinded: u64,
    /// Tasks sent to agents.
    pub tasks_launched: u64,
    /// Tasks refused because they were invalid.
    pub tasks_invalid: u64,
    /// Tasks dropped before they reached an agent.
    pub tasks_dropped: u64,
    /// Tasks that ended, by whatever cause.
    pub tasks_ended: u64,
    /// Statuses heard from agents.
    pub updates_received: u64,
    /// Statuses passed on to schedulers.
    pub updates_forwarded: u64,
    /// Statuses that found no scheduler connected; their agents repeat them.
    pub updates_held_back: u64,
    /// Acknowledgements passed on to agents.
    pub acknowledgements: u64,
    /// Runs of executors that were started.
    pub runs_started: u64,
    /// Messages passed on between schedulers and guests.
    pub messages: u64,
    /// Messages that could not be delivered.
    pub messages_dropped: u64,
    /// Tasks that were told to end for a demand of higher priority.
    pub tasks_preempted: u64,
    /// Turns that policy plug-ins were asked for.
    pub policy_turns: u64,
    /// Fuel that policy plug-ins used.
    pub policy_fuel: u64,
    /// Policy plug-ins that were put aside for a fault.
    pub policy_faults: u64,
    /// Agents that became unreachable.
    pub agents_lost: u64,
    /// Agents that had to wait for their turn to be taken for lost.
    pub removals_delayed: u64,
    /// Agents that were heard of before they were taken for lost.
    pub removals_cancelled: u64,
    /// Agents that were not taken for lost, because too many were that the master knew when it restarted.
    pub removals_held: u64,
    /// Frameworks that were removed.
    pub frameworks_removed: u64,
}
