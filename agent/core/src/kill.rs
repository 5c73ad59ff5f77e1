//! Kills: one task's, a framework's, all.

use std::time::Duration;

use nesos_types::cell::CellCommand;
use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::task::{StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::decision::Decisions;
use crate::slack::why_ended;
use crate::tasks::{Kill, Stage, TaskHandle};

impl Agent {
    pub(crate) fn on_kill(
        &mut self,
        now: Time,
        key: TaskKey,
        grace: Option<Duration>,
        reason: TaskReason,
        out: &mut Decisions,
    ) {
        let Some(handle) = self.tasks.find(&key) else {
            self.answer_unknown(now, key, out);
            return;
        };
        let own = self.tasks[handle].grace(self.config.kill_grace);
        let grace = match reason {
            // A drain says how long a task may take at most.
            TaskReason::AgentDraining => grace.map_or(own, |most| most.min(own)),
            _ => grace.unwrap_or(own),
        };
        self.kill(now, handle, grace, reason, out);
        self.pump_all(now, out);
    }

    /// Ends a task, whatever it is at.
    pub(crate) fn kill(
        &mut self,
        now: Time,
        handle: TaskHandle,
        grace: Duration,
        reason: TaskReason,
        out: &mut Decisions,
    ) {
        let Some(task) = self.tasks.get(handle) else {
            return;
        };
        match task.stage {
            Stage::Ended => {}
            Stage::Waiting => {
                let reason = match reason {
                    TaskReason::KillRequested => TaskReason::KilledDuringLaunch,
                    other => other,
                };
                let message = why_ended(&self.tasks[handle], reason)
                    .unwrap_or("the task was killed before its guest started");
                self.lose(now, handle, TaskState::Killed, reason, message, out);
            }
            Stage::Launched => self.kill_guest(now, handle, grace, reason, out),
        }
    }

    /// Asks the cell. A second kill can only shorten the grace of the first.
    fn kill_guest(
        &mut self,
        now: Time,
        handle: TaskHandle,
        grace: Duration,
        reason: TaskReason,
        out: &mut Decisions,
    ) {
        let by = now + grace;
        let task = &mut self.tasks[handle];
        if task.kill.is_some_and(|kill| kill.by <= by) {
            return;
        }
        let first = task.kill.is_none();
        let reason = task.kill.map_or(reason, |kill| kill.reason);
        task.kill = Some(Kill { by, reason });
        let key = task.key.clone();
        let cell = task.cell;
        let id = key.task.clone();
        self.touch(handle);
        if let Some(cell) = cell {
            self.send_cell(cell, CellCommand::Kill { key, grace }, out);
        }
        if first && !grace.is_zero() {
            let status = TaskStatus::new(id, TaskState::Killing, StatusSource::Agent, now)
                .because(reason, format!("the guest has {grace:?} to end by itself"));
            self.say(now, handle, status, out);
        }
    }

    /// The framework is over: its tasks end, and nobody wants to hear of it.
    pub(crate) fn on_shutdown_framework(
        &mut self,
        now: Time,
        framework: FrameworkId,
        out: &mut Decisions,
    ) {
        for handle in self.tasks.select(|task| task.key.framework == framework) {
            if self.tasks.get(handle).is_none() {
                continue;
            }
            self.silence(handle);
            if self.tasks[handle].is_live() {
                let grace = self.tasks[handle].grace(self.config.kill_grace);
                self.kill(now, handle, grace, TaskReason::FrameworkRemoved, out);
            } else {
                self.close(handle, out);
            }
        }
        self.pump_all(now, out);
    }

    fn silence(&mut self, handle: TaskHandle) {
        let task = &mut self.tasks[handle];
        task.silent = true;
        task.updates.clear();
        self.deadlines.set(
            &mut task.repeat_at,
            None,
            crate::deadlines::Timer::Repeat(handle),
        );
        self.touch(handle);
    }
}
