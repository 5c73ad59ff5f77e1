//! What the agent says of its tasks: making statuses, sending, repeating and retiring them.

use nesos_types::cell::CellCommand;
use nesos_types::ids::{TaskKey, UpdateId};
use nesos_types::message::AgentEvent;
use nesos_types::task::{StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;
use rand::Rng;

use crate::agent::Agent;
use crate::checkpoint::RecordKey;
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect};
use crate::sandboxes::SandboxDir;
use crate::set_apart::taken_by;
use crate::tasks::{Stage, Task, TaskHandle};
use crate::updates::Acknowledged;

/// A terminal state frees resources, so the master is to hear of it soon even while the scheduler
/// leaves an older status unacknowledged.
const LATEST_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

impl Agent {
    /// Takes a new status of a task: into its stream, and to the master if it is next.
    pub(crate) fn say(
        &mut self,
        now: Time,
        handle: TaskHandle,
        mut status: TaskStatus,
        out: &mut Decisions,
    ) {
        status.update = Some(UpdateId(self.rng.random()));
        status.agent = self.id;
        let terminal = status.state.is_terminal();
        if terminal {
            self.settle(now, handle, &status, out);
        }
        let task = &mut self.tasks[handle];
        task.latest = status.state;
        if task.silent {
            if terminal {
                self.close(handle, out);
            }
            return;
        }
        let is_head = task.updates.push(status);
        self.touch(handle);
        if is_head {
            self.stats.updates_sent += 1;
            self.forward(now, handle, out);
        } else if terminal {
            self.hurry(now, handle);
        }
    }

    /// The same, said by the agent itself of a task that ends without its cell's doing.
    pub(crate) fn lose(
        &mut self,
        now: Time,
        handle: TaskHandle,
        state: TaskState,
        reason: TaskReason,
        message: impl Into<String>,
        out: &mut Decisions,
    ) {
        // Whatever it ended with has ended it already.
        let Some(task) = self
            .tasks
            .get(handle)
            .filter(|task| !task.latest.is_terminal())
        else {
            return;
        };
        let task = task.key.task.clone();
        let status =
            TaskStatus::new(task, state, StatusSource::Agent, now).because(reason, message);
        self.say(now, handle, status, out);
    }

    /// Enters a task only to say, until it is heard, that it does not run here.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        mut task: Task,
        state: TaskState,
        reason: TaskReason,
        message: impl Into<String>,
        out: &mut Decisions,
    ) {
        task.stage = Stage::Ended;
        let handle = self.tasks.insert(task);
        self.lose(now, handle, state, reason, message, out);
    }

    /// The task holds nothing any more.
    fn settle(&mut self, now: Time, handle: TaskHandle, status: &TaskStatus, out: &mut Decisions) {
        let task = &mut self.tasks[handle];
        let stage = std::mem::replace(&mut task.stage, Stage::Ended);
        if stage == Stage::Ended {
            return;
        }
        self.used = self
            .used
            .checked_sub(&taken_by(&task.info))
            .expect("what a live task uses was added when it came");
        self.stats.count_end(status.state);
        if let Some(id) = task.cell.filter(|_| task.info.has_sandbox()) {
            self.leave_cell(now, id);
        }
        match stage {
            Stage::Waiting => self.unqueue(handle),
            Stage::Launched => self.keep_sandbox(now, handle, status, out),
            Stage::Ended => {}
        }
        self.unuse_bundle(now, handle);
        self.volumes_released(handle, out);
        self.end_with(now, handle, stage, status, out);
    }

    fn leave_cell(&mut self, now: Time, id: crate::event::CellId) {
        if let Some(cell) = self.cells.table.get_mut(&id) {
            cell.live -= 1;
            if cell.live == 0 {
                self.rest_cell(now, id);
            }
        }
    }

    fn keep_sandbox(
        &mut self,
        now: Time,
        handle: TaskHandle,
        status: &TaskStatus,
        out: &mut Decisions,
    ) {
        let task = &self.tasks[handle];
        let Some(cell) = task.cell.filter(|_| task.info.has_sandbox()) else {
            return;
        };
        let dir = SandboxDir {
            cell,
            key: task.key.clone(),
            generation: task.generation,
        };
        let usage = status.usage.unwrap_or_default();
        let kept_output = usage
            .output_bytes
            .min(task.info.limits.output_bytes.unwrap_or(u64::MAX));
        let bytes = usage.peak_disk_bytes.saturating_add(kept_output);
        self.sandboxes.end(dir, now, bytes);
        self.sweep_sandboxes(now, out);
    }

    /// Sends the status in flight, if there is a master, and sees to its repetition.
    pub(crate) fn forward(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        let registered = self.master.is_registered();
        let task = &mut self.tasks[handle];
        let head = task.updates.head().filter(|_| registered);
        let at = head.cloned().map(|status| {
            out.push(Effect::SendMaster(AgentEvent::Update {
                framework: task.key.framework,
                status,
                latest: task.latest,
            }));
            let (min, max) = (self.config.update_retry_min, self.config.update_retry_max);
            now + task.updates.next_pause(min, max)
        });
        self.deadlines
            .set(&mut task.repeat_at, at, Timer::Repeat(handle));
    }

    fn hurry(&mut self, now: Time, handle: TaskHandle) {
        let task = &mut self.tasks[handle];
        let soon = now + LATEST_WITHIN;
        if task.repeat_at.is_some_and(|at| at > soon) {
            self.deadlines
                .set(&mut task.repeat_at, Some(soon), Timer::Repeat(handle));
        }
    }

    pub(crate) fn on_repeat(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        self.tasks[handle].repeat_at = None;
        self.stats.updates_repeated += 1;
        self.forward(now, handle, out);
    }

    /// A master is there: every status in flight goes to it.
    pub(crate) fn resume_updates(&mut self, now: Time, out: &mut Decisions) {
        for handle in self.tasks.select(|task| task.updates.head().is_some()) {
            self.tasks[handle].updates.restart_backoff();
            self.stats.updates_repeated += 1;
            self.forward(now, handle, out);
        }
    }

    /// No master is there: nothing is repeated.
    pub(crate) fn pause_updates(&mut self) {
        for handle in self.tasks.select(|task| task.repeat_at.is_some()) {
            let task = &mut self.tasks[handle];
            self.deadlines
                .set(&mut task.repeat_at, None, Timer::Repeat(handle));
        }
    }

    pub(crate) fn on_acknowledge(
        &mut self,
        now: Time,
        key: &TaskKey,
        update: UpdateId,
        out: &mut Decisions,
    ) {
        let Some(handle) = self.tasks.find(key) else {
            self.stats.acknowledgements_ignored += 1;
            return;
        };
        match self.tasks[handle].updates.acknowledge(update) {
            Acknowledged::Ignored => self.stats.acknowledgements_ignored += 1,
            Acknowledged::Closed => self.close(handle, out),
            Acknowledged::Advanced => {
                self.stats.updates_sent += u64::from(self.tasks[handle].updates.head().is_some());
                self.touch(handle);
                self.forward(now, handle, out);
            }
        }
    }

    /// The task is over and everybody knows: nothing of it stays but its directory.
    pub(crate) fn close(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let mut task = self.tasks.remove(handle);
        self.deadlines
            .set(&mut task.repeat_at, None, Timer::Repeat(handle));
        self.deadlines
            .set(&mut task.ready_by, None, Timer::Registration(handle));
        if task.recorded {
            self.journal.delete(RecordKey::Task(task.key.clone()));
        }
        let owed = task.cell_sequence > task.safe_sequence;
        if let Some(cell) = task.cell.filter(|_| owed) {
            let (key, sequence) = (task.key, task.cell_sequence);
            if task.recorded {
                self.journal.owe(key, cell, sequence);
            } else {
                self.send_cell(cell, CellCommand::Acknowledge { key, sequence }, out);
            }
        }
    }

    /// Removes the directories that have stayed long enough.
    pub(crate) fn sweep_sandboxes(&mut self, now: Time, out: &mut Decisions) {
        while let Some(dir) = self.sandboxes.collect(now, &self.config) {
            out.push(Effect::RemoveSandbox {
                directory: self.config.sandboxes.join(dir.relative()),
            });
        }
        let due = self.sandboxes.due(self.config.sandbox_keep);
        self.deadlines
            .set(&mut self.sandboxes.sweep_at, due, Timer::Sandboxes);
    }
}
