//! Plain counters; the driver exports them to whoever it was told to.

use nesos_types::task::TaskState;

/// What an agent has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks that were launched into a cell.
    pub tasks_launched: u64,
    /// Tasks that were refused.
    pub tasks_refused: u64,
    /// Launches of tasks that the agent already had.
    pub launches_repeated: u64,
    /// Tasks that ended, each way to end on its own.
    pub tasks_finished: u64,
    /// Tasks that failed.
    pub tasks_failed: u64,
    /// Tasks that were killed.
    pub tasks_killed: u64,
    /// Tasks that were ended because others needed the CPU that they had borrowed.
    pub tasks_preempted: u64,
    /// Tasks that were lost without a report of their own.
    pub tasks_gone: u64,
    /// Tasks that were taken over from a cell because the checkpoint did not have them.
    pub tasks_adopted: u64,
    /// Statuses sent to the master for the first time.
    pub updates_sent: u64,
    /// Statuses sent again.
    pub updates_repeated: u64,
    /// Statuses of cells that had been taken before.
    pub updates_duplicate: u64,
    /// Acknowledgements that matched no status in flight.
    pub acknowledgements_ignored: u64,
    /// Messages between schedulers and guests that could not be delivered.
    pub messages_dropped: u64,
    /// Cells started.
    pub cells_started: u64,
    /// Cells that died or could not be reached.
    pub cells_failed: u64,
    /// Registrations that the master took.
    pub registrations: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Records written in them.
    pub records_written: u64,
}

impl Stats {
    /// Counts the end of a task that held resources.
    pub(crate) fn count_end(&mut self, state: TaskState) {
        match state {
            TaskState::Finished => self.tasks_finished += 1,
            TaskState::Killed => self.tasks_killed += 1,
            TaskState::Gone => self.tasks_gone += 1,
            TaskState::Dropped | TaskState::Error => self.tasks_refused += 1,
            _ => self.tasks_failed += 1,
        }
    }
}
