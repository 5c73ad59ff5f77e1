//! Shutting down for good: tasks are killed, their ends reported, the cluster left.

use std::time::Duration;

use nesos_types::message::AgentEvent;
use nesos_types::task::TaskReason;
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::checkpoint::RecordKey;
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect, Stopped};

/// What the last statuses have to be heard after the last guest's grace is over.
const REPORT_WITHIN: Duration = Duration::from_secs(2);

/// Whether the agent is staying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes tasks.
    #[default]
    Working,
    /// It takes none; those it has are ending.
    Leaving,
    /// It is over. No event changes anything any more.
    Stopped,
}

impl Agent {
    pub(crate) fn is_leaving(&self) -> bool {
        self.phase != Phase::Working
    }

    pub(crate) fn on_shutdown(&mut self, now: Time, grace: Duration, out: &mut Decisions) {
        self.phase = Phase::Leaving;
        let by = now + grace + REPORT_WITHIN;
        let by = self.drain_at.map_or(by, |earlier| earlier.min(by));
        self.deadlines
            .set(&mut self.drain_at, Some(by), Timer::Drain);
        for handle in self.tasks.select(crate::tasks::Task::is_live) {
            if let Some(task) = self.tasks.get(handle) {
                let grace = task.grace(self.config.kill_grace).min(grace);
                self.kill(now, handle, grace, TaskReason::AgentDraining, out);
            }
        }
    }

    /// Leaves once there is nothing to wait for: every task has ended and every status was heard, or
    /// there is no master to hear it.
    pub(crate) fn check_drained(&mut self, out: &mut Decisions) {
        if self.phase != Phase::Leaving {
            return;
        }
        let live = self.tasks.iter().any(|(_, task)| task.is_live());
        let heard = self.tasks.len() == 0 || !self.master.is_registered();
        if !live && heard {
            self.leave(out);
        }
    }

    pub(crate) fn on_drain_due(&mut self, out: &mut Decisions) {
        self.drain_at = None;
        if self.phase == Phase::Leaving {
            self.leave(out);
        }
    }

    fn leave(&mut self, out: &mut Decisions) {
        let tasks_left = self.tasks.iter().filter(|(_, task)| task.is_live()).count();
        let updates_left = self
            .tasks
            .iter()
            .map(|(_, task)| task.updates.iter().count());
        let updates_left = updates_left.sum();
        if self.set_apart.resources.is_empty() {
            if self.master.is_registered() {
                out.push(Effect::SendMaster(AgentEvent::Unregister));
            }
            self.discard_everything(out);
        } else {
            // What is kept here for others is to be found again: only the tasks are over.
            self.discard_tasks(out);
            self.journal.touch_agent();
        }
        let graceful = tasks_left == 0 && updates_left == 0;
        let stopped = Stopped::Left {
            graceful,
            tasks_left,
            updates_left,
        };
        self.stop(stopped, out);
    }

    /// Every cell goes, and every record: the next start is that of a new agent.
    pub(crate) fn discard_everything(&mut self, out: &mut Decisions) {
        self.discard_tasks(out);
        self.journal.delete(RecordKey::Agent);
    }

    /// Every cell goes, with the records of cells and tasks.
    fn discard_tasks(&mut self, out: &mut Decisions) {
        let mut keys = Vec::new();
        for (id, cell) in &self.cells.table {
            keys.push(RecordKey::Cell(*id));
            out.push(Effect::DiscardCell {
                cell: *id,
                pid: cell.pid,
            });
        }
        let recorded = self.tasks.iter().filter(|(_, task)| task.recorded);
        keys.extend(recorded.map(|(_, task)| RecordKey::Task(task.key.clone())));
        self.journal.delete_all(keys);
    }

    pub(crate) fn stop(&mut self, stopped: Stopped, out: &mut Decisions) {
        self.phase = Phase::Stopped;
        out.push(Effect::Stop(stopped));
    }
}
