//! Runs of executors, and the tasks that are in them.
//!
//! To the agent a run is a task with a sandbox of its own; a task in it has none, and follows it: it is given to
//! its run once that is ready, and ends with it at the latest. Which run a task is in the master has said.

use std::sync::Arc;

use nesos_types::bundle::{Digest, Repository};
use nesos_types::cell::CellCommand;
use nesos_types::ids::TaskKey;
use nesos_types::limits::Metering;
use nesos_types::message::AgentEvent;
use nesos_types::task::{TaskReason, TaskState, TaskStatus, Work, end_in_executor};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect};
use crate::event::{BundleKey, CellId};
use crate::tasks::{Stage, Task, TaskHandle};

/// A bundle that an executor wants for a child.
pub(crate) struct BundleWanted {
    /// The cell's number for the question.
    pub(crate) request: u64,
    /// Who asks.
    pub(crate) run: TaskKey,
    pub(crate) digest: Digest,
    pub(crate) metering: Metering,
}

impl Task {
    /// Whether it is a run of an executor.
    pub(crate) fn is_run(&self) -> bool {
        self.info.run_of().is_some()
    }

    /// The name of the run that it is in.
    pub(crate) fn run_key(&self) -> Option<TaskKey> {
        Some(TaskKey {
            framework: self.key.framework,
            task: self.info.run()?.into(),
        })
    }
}

impl Agent {
    /// The run that a task is in, if that has not ended.
    pub(crate) fn live_run(&self, task: &Task) -> Option<TaskHandle> {
        let handle = self.tasks.find(&task.run_key()?)?;
        self.tasks[handle].is_live().then_some(handle)
    }

    /// Whether a task may be given to its run now.
    pub(crate) fn is_run_ready(&self, task: &Task) -> bool {
        self.live_run(task).is_some_and(|run| {
            let run = &self.tasks[run];
            let cell = run.cell.and_then(|cell| self.cells.table.get(&cell));
            run.latest == TaskState::Running && cell.is_some_and(|cell| cell.is_ready())
        })
    }

    /// The cell that holds a task, or will.
    pub(crate) fn cell_of(&self, task: &Task) -> Option<CellId> {
        match task.info.has_sandbox() {
            true => task.cell,
            false => task.cell.or_else(|| self.tasks[self.live_run(task)?].cell),
        }
    }

    /// The tasks of a run that have not ended, as they came.
    fn tasks_in(&self, run: &TaskKey) -> Vec<TaskHandle> {
        self.tasks
            .select(|task| task.is_live() && task.run_key().as_ref() == Some(run))
    }

    /// Ends tasks of this stage whose run is not here: the checkpoint did not name it, or the cell that brought
    /// them did not bring it.
    pub(crate) fn end_orphans(&mut self, now: Time, stage: Stage, out: &mut Decisions) {
        let is_inside = |task: &Task| task.stage == stage && !task.info.has_sandbox();
        for handle in self.tasks.select(is_inside) {
            let task = self.tasks.get(handle);
            if task.is_some_and(|task| self.live_run(task).is_none()) {
                let state = match stage {
                    Stage::Waiting => TaskState::Dropped,
                    Stage::Launched | Stage::Ended => TaskState::Gone,
                };
                let message = "the executor that was to run the task is not here";
                let reason = TaskReason::ExecutorTerminated;
                self.lose(now, handle, state, reason, message, out);
            }
        }
    }

    /// A run has some time until it is ready, if it is not yet, and nobody has told it to end.
    pub(crate) fn await_ready(&mut self, now: Time, handle: TaskHandle) {
        let is_awaited = |task: &Task| {
            let is_ready = task.latest == TaskState::Running;
            task.is_live() && !is_ready && task.kill.is_none()
        };
        if !self.tasks.get(handle).is_some_and(is_awaited) {
            return;
        }
        let task = &mut self.tasks[handle];
        if let Work::Executor {
            registration_timeout,
            ..
        } = task.info.work
        {
            let by = Some(now + registration_timeout);
            self.deadlines
                .set(&mut task.ready_by, by, Timer::Registration(handle));
        }
    }

    /// It is ready, or it is over.
    fn await_no_longer(&mut self, handle: TaskHandle) {
        self.deadlines.set(
            &mut self.tasks[handle].ready_by,
            None,
            Timer::Registration(handle),
        );
    }

    /// It took too long.
    pub(crate) fn on_registration_due(
        &mut self,
        now: Time,
        handle: TaskHandle,
        out: &mut Decisions,
    ) {
        self.tasks[handle].ready_by = None;
        let reason = TaskReason::ExecutorRegistrationTimeout;
        if self.tasks[handle].stage == Stage::Waiting {
            let message = "the executor was not ready in time: its bundle or its cell was not";
            self.lose(now, handle, TaskState::Failed, reason, message, out);
        } else {
            self.kill(now, handle, std::time::Duration::ZERO, reason, out);
        }
        self.pump_all(now, out);
    }

    /// A cell has said something of a run.
    pub(crate) fn on_run_said(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        if self.tasks[handle].latest == TaskState::Running {
            self.await_no_longer(handle);
            self.pump_all(now, out);
        }
    }

    /// What else ends when a task does: the others of its group; the tasks in a run; a run that never got the
    /// task for which it was made.
    pub(crate) fn end_with(
        &mut self,
        now: Time,
        handle: TaskHandle,
        before: Stage,
        status: &TaskStatus,
        out: &mut Decisions,
    ) {
        self.end_group(now, handle, status, out);
        if self.tasks[handle].is_run() {
            self.await_no_longer(handle);
            self.end_tasks_in(now, handle, status, out);
        } else if before == Stage::Waiting {
            let run = self.tasks[handle].run_key();
            run.iter()
                .for_each(|run| self.end_unused_run(now, run, out));
        }
    }

    fn end_tasks_in(
        &mut self,
        now: Time,
        run: TaskHandle,
        status: &TaskStatus,
        out: &mut Decisions,
    ) {
        let (state, reason) = end_in_executor(status.state, status.reason);
        let message = match status.message.as_str() {
            "" => "the executor ended".to_owned(),
            why => format!("the executor ended: {why}"),
        };
        let key = self.tasks[run].key.clone();
        for handle in self.tasks_in(&key) {
            self.lose(now, handle, state, reason, message.clone(), out);
        }
    }

    /// A run that never got a task, and will not, is ended.
    pub(crate) fn end_unused_run(&mut self, now: Time, run: &TaskKey, out: &mut Decisions) {
        let handle = self.tasks.find(run);
        let Some(handle) = handle.filter(|run| self.tasks[*run].is_live()) else {
            return;
        };
        if !self.tasks[handle].was_used && self.tasks_in(run).is_empty() {
            let grace = self.tasks[handle].grace(self.config.kill_grace);
            self.kill(now, handle, grace, TaskReason::KillRequested, out);
        }
    }

    /// Gives a task to its run.
    pub(crate) fn assign(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let Some(run) = self.live_run(&self.tasks[handle]) else {
            return;
        };
        self.tasks[run].was_used = true;
        let cell = self.tasks[run].cell;
        let task = &mut self.tasks[handle];
        task.stage = Stage::Launched;
        task.cell = cell;
        let (key, info) = (task.key.clone(), task.info.clone());
        self.stats.tasks_launched += 1;
        self.touch(handle);
        self.settle_former(&key, out);
        if let Some(cell) = cell {
            self.send_cell(cell, CellCommand::Assign { key, task: info }, out);
        }
    }

    /// The scheduler writes to a guest. What cannot be delivered is dropped.
    pub(crate) fn on_message(&mut self, key: TaskKey, data: Vec<u8>, out: &mut Decisions) {
        let task = self.tasks.find(&key).map(|handle| &self.tasks[handle]);
        let task = task.filter(|task| task.stage == Stage::Launched);
        match task.and_then(|task| task.cell) {
            Some(cell) => self.send_cell(cell, CellCommand::Message { key, data }, out),
            None => self.stats.messages_dropped += 1,
        }
    }

    /// A guest writes to its scheduler.
    pub(crate) fn on_guest_message(
        &mut self,
        id: CellId,
        key: TaskKey,
        data: Vec<u8>,
        out: &mut Decisions,
    ) {
        let task = self.tasks.find(&key).map(|handle| &self.tasks[handle]);
        let is_theirs = task.is_some_and(|task| task.cell == Some(id));
        if is_theirs && self.master.is_registered() {
            out.push(Effect::SendMaster(AgentEvent::Message { key, data }));
        } else {
            self.stats.messages_dropped += 1;
        }
    }

    /// An executor wants to start a child from another bundle than its own. That comes from where its own came from,
    /// signed by whom that had to be signed by.
    pub(crate) fn on_bundle_wanted(
        &mut self,
        now: Time,
        id: CellId,
        wanted: BundleWanted,
        out: &mut Decisions,
    ) {
        let BundleWanted {
            request,
            run,
            digest,
            metering,
        } = wanted;
        let run = self.tasks.find(&run).map(|handle| &self.tasks[handle]);
        let Some(run) = run.filter(|run| run.cell == Some(id)) else {
            let compiled = Err("the executor is over".to_owned());
            self.send_cell(id, CellCommand::BundleReady { request, compiled }, out);
            return;
        };
        let key = BundleKey {
            digest,
            metering,
            ..run.bundle()
        };
        if self.bundles.compiled(&key).is_some() {
            let compiled = Ok(self.compiled(now, &key));
            self.send_cell(id, CellCommand::BundleReady { request, compiled }, out);
            return;
        }
        let bundle = self.want_bundle(&key, out);
        bundle.wanted.push((id, request));
    }

    /// A bundle is ready, or never will be: whoever asked for it is told.
    pub(crate) fn answer_wanted(
        &mut self,
        now: Time,
        key: &BundleKey,
        why_not: Option<&str>,
        out: &mut Decisions,
    ) {
        let Some(bundle) = self.bundles.table.get_mut(key) else {
            return;
        };
        for (cell, request) in std::mem::take(&mut bundle.wanted) {
            let compiled = match why_not {
                Some(why) => Err(why.to_owned()),
                None => Ok(self.compiled(now, key)),
            };
            self.send_cell(cell, CellCommand::BundleReady { request, compiled }, out);
        }
    }

    /// Tasks of a bundle are expected.
    pub(crate) fn on_prewarm(
        &mut self,
        now: Time,
        digest: Digest,
        repository: Option<Repository>,
        out: &mut Decisions,
    ) {
        let key = BundleKey {
            repository,
            digest,
            signers: Arc::default(),
            metering: Metering::default(),
        };
        self.want_bundle(&key, out).used_at = now;
        self.rest_bundle(now, &key);
    }
}
