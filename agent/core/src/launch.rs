//! Launching: from the master's command to the cell's, in order, through whatever has to be fetched,
//! compiled or started before.
//!
//! Tasks of one framework and role, and those of one executor, are launched in the order in which they came. Where bundle and cell
//! are at hand a launch passes straight through; otherwise the task waits in its queue, and says that
//! it is starting.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use nesos_types::cell::{CellCommand, SandboxLaunch, SandboxVolume};
use nesos_types::ids::{FrameworkId, RunId, TaskId, TaskKey};
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::bundles::{Bundle, state_for};
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect};
use crate::event::{BundleKey, CellId};
use crate::groups::apart;
use crate::set_apart::taken_by;
use crate::tasks::{Stage, Task, TaskHandle};
use crate::validate::validate_task;

/// Why a task is not launched: its state, the reason and a line for a person.
type Unable = (TaskState, TaskReason, String);

/// The tasks that wait, in order.
pub(crate) type Queues = BTreeMap<QueueKey, VecDeque<TaskHandle>>;
/// Whose tasks keep their order among one another.
pub(crate) type QueueKey = (FrameworkId, Role, Option<RunId>);

impl Agent {
    pub(crate) fn on_launch(
        &mut self,
        now: Time,
        framework: FrameworkId,
        role: &Role,
        signers: &Arc<[String]>,
        tasks: Vec<SharedTask>,
        out: &mut Decisions,
    ) {
        for part in apart(tasks) {
            self.launch_together(now, framework, role, signers, part, out);
        }
    }

    /// Launches one task, or the tasks of a group: all or none.
    fn launch_together(
        &mut self,
        now: Time,
        framework: FrameworkId,
        role: &Role,
        signers: &Arc<[String]>,
        mut tasks: Vec<SharedTask>,
        out: &mut Decisions,
    ) {
        let key = |task: &SharedTask| TaskKey {
            framework,
            task: task.id.clone(),
        };
        let before = tasks.len();
        tasks.retain(|task| self.tasks.find(&key(task)).is_none());
        self.stats.launches_repeated += (before - tasks.len()) as u64;
        let group = tasks.first().and_then(|task| task.group.clone());
        match self.admit_all(framework, &tasks) {
            Ok(()) => {
                if let Some(group) = &group {
                    self.keep_group(group.id, out);
                }
                for info in tasks {
                    self.accept(now, key(&info), role, signers, info, out);
                }
            }
            Err((culprit, (state, reason, why))) => {
                let why = match group {
                    Some(_) => format!("task {culprit} of the group: {why}"),
                    None => why,
                };
                for info in tasks {
                    self.stats.tasks_refused += 1;
                    let task = Task::new(key(&info), role.clone(), info, None);
                    let run = task.run_key();
                    self.answer(now, task, state, reason, why.clone(), out);
                    run.iter()
                        .for_each(|run| self.end_unused_run(now, run, out));
                }
            }
        }
    }

    /// Takes the resources of all of the tasks, or of none.
    fn admit_all(
        &mut self,
        framework: FrameworkId,
        tasks: &[SharedTask],
    ) -> Result<(), (TaskId, Unable)> {
        let used = self.used.clone();
        let mut sandboxes = self.cells.sandboxes();
        for task in tasks {
            if let Err(unable) = self.admit(framework, task, sandboxes) {
                self.used = used;
                return Err((task.id.clone(), unable));
            }
            sandboxes += usize::from(task.has_sandbox());
        }
        Ok(())
    }

    /// Whether the task can be done here, and now; its resources are then taken.
    fn admit(
        &mut self,
        framework: FrameworkId,
        info: &SharedTask,
        sandboxes: usize,
    ) -> Result<(), Unable> {
        if self.is_leaving() {
            let why = "the agent is shutting down".to_owned();
            return Err((TaskState::Dropped, TaskReason::AgentDraining, why));
        }
        validate_task(info, &self.config.info)
            .map_err(|(reason, why)| (TaskState::Error, reason, why))?;
        self.validate_volumes(info)
            .map_err(|(reason, why)| (TaskState::Dropped, reason, why))?;
        if info.resources.revocable_cpu_milli() > 0 && self.config.oversubscription.is_none() {
            let why = "this agent lends no CPU that others have accepted".to_owned();
            return Err((TaskState::Dropped, TaskReason::ResourcesUnknown, why));
        }
        self.validate_run(framework, info)?;
        let most = self
            .config
            .info
            .max_sandboxes
            .filter(|_| info.has_sandbox());
        if let Some(most) = most.filter(|most| sandboxes >= *most as usize) {
            let why = format!("the agent holds {most} sandboxes, which is the most that it may");
            return Err((TaskState::Dropped, TaskReason::ResourcesUnknown, why));
        }
        let used = self.used.checked_add(&taken_by(info));
        let Some(used) = used.filter(|used| self.config.info.resources.covers(used)) else {
            let why = format!(
                "the task wants {}, but {} of {} are in use",
                info.resources, self.used, self.config.info.resources
            );
            return Err((TaskState::Dropped, TaskReason::ResourcesUnknown, why));
        };
        self.used = used;
        Ok(())
    }

    /// Whether the run that a task is to be in is here, and is not ending.
    fn validate_run(&self, framework: FrameworkId, info: &SharedTask) -> Result<(), Unable> {
        if info.has_sandbox() {
            return Ok(());
        }
        let key = info.run().map(|run| TaskKey {
            framework,
            task: run.into(),
        });
        let run = key.and_then(|key| self.tasks.find(&key));
        match run.map(|run| &self.tasks[run]) {
            Some(run) if run.is_live() && run.kill.is_none() => Ok(()),
            Some(_) | None => {
                let why = "the executor has ended on this agent, or is ending".to_owned();
                Err((TaskState::Dropped, TaskReason::ExecutorTerminated, why))
            }
        }
    }

    fn accept(
        &mut self,
        now: Time,
        key: TaskKey,
        role: &Role,
        signers: &Arc<[String]>,
        info: SharedTask,
        out: &mut Decisions,
    ) {
        let cell = info.has_sandbox().then(|| self.place(role, out));
        let mut task = Task::new(key, role.clone(), info, cell);
        task.signers = signers.clone();
        let handle = self.tasks.insert(task);
        self.touch(handle);
        self.await_ready(now, handle);
        if self.is_next(handle) && self.is_prepared(handle) {
            self.start(now, handle, out);
            if self.has_files(handle) {
                self.hold_bundle(handle, out);
            }
            return;
        }
        self.enqueue(handle, out);
        let task = self.tasks[handle].key.task.clone();
        let status = TaskStatus::new(task, TaskState::Starting, StatusSource::Agent, now);
        self.say(now, handle, status, out);
    }

    /// Finds a cell for one more task of the role, or has one started.
    pub(crate) fn place(&mut self, role: &Role, out: &mut Decisions) -> CellId {
        let limit = self.config.sandboxes_per_cell.max(1);
        let id = self.cells.with_room(role, limit).unwrap_or_else(|| {
            let cell = self.cells.add(role);
            let role = role.clone();
            self.stats.cells_started += 1;
            self.journal.touch_cell(cell);
            self.journal.touch_agent();
            out.push(Effect::StartCell { cell, role });
            cell
        });
        if let Some(cell) = self.cells.table.get_mut(&id) {
            cell.live += 1;
        }
        self.calm_cell(id);
        id
    }

    /// Finds another cell for a task that waited for one that is gone.
    pub(crate) fn place_again(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let role = self.tasks[handle].role.clone();
        let cell = self.place(&role, out);
        self.tasks[handle].cell = Some(cell);
        self.touch(handle);
    }

    fn queue_key(&self, handle: TaskHandle) -> QueueKey {
        let task = &self.tasks[handle];
        (task.key.framework, task.role.clone(), task.info.run())
    }

    /// Whether no task has to be launched before this one.
    fn is_next(&self, handle: TaskHandle) -> bool {
        self.queues.is_empty() || !self.queues.contains_key(&self.queue_key(handle))
    }

    /// Whether the task's bundle and cell are at hand.
    fn is_prepared(&self, handle: TaskHandle) -> bool {
        let task = &self.tasks[handle];
        if !task.info.has_sandbox() {
            return self.is_run_ready(task);
        }
        let cell = task.cell.and_then(|cell| self.cells.table.get(&cell));
        cell.is_some_and(|cell| cell.is_ready()) && self.bundles.compiled(&task.bundle()).is_some()
    }

    /// Puts a task into its queue, where its serial number says, and asks for its bundle.
    pub(crate) fn enqueue(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let serial = self.tasks[handle].serial;
        let queue = self.queues.entry(self.queue_key(handle)).or_default();
        let at = queue.partition_point(|other| self.tasks[*other].serial < serial);
        queue.insert(at, handle);
        if self.tasks[handle].info.has_sandbox() {
            self.hold_bundle(handle, out);
        }
    }

    /// Takes a task out of its queue.
    pub(crate) fn unqueue(&mut self, handle: TaskHandle) {
        let key = self.queue_key(handle);
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.retain(|other| *other != handle);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
    }

    /// Launches whatever waits and need not wait any longer.
    pub(crate) fn pump_all(&mut self, now: Time, out: &mut Decisions) {
        let keys: Vec<_> = self.queues.keys().cloned().collect();
        for key in keys {
            self.pump(now, &key, out);
        }
    }

    fn pump(&mut self, now: Time, key: &QueueKey, out: &mut Decisions) {
        while let Some(first) = self
            .queues
            .get(key)
            .and_then(|queue| queue.front().copied())
        {
            if !self.is_prepared(first) {
                return;
            }
            self.start(now, first, out);
            self.unqueue(first);
            self.rest_after_launch(now, first);
        }
    }

    /// Tells the cell.
    fn start(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        let task = &self.tasks[handle];
        if !task.info.has_sandbox() {
            return self.assign(handle, out);
        }
        let (Some(cell), bundle) = (task.cell, task.bundle()) else {
            return;
        };
        let key = task.key.clone();
        let info = task.info.clone();
        self.settle_former(&key, out);
        let mut volumes = self.sandbox_volumes(&info);
        volumes.extend(self.bundles.files(&bundle).cloned());
        let dir = self.sandboxes.assign(&key, cell);
        let launch = SandboxLaunch {
            key,
            task: info,
            compiled: self.compiled(now, &bundle),
            directory: self.config.sandboxes.join(dir.relative()),
            fuel_per_cpu_second: self.config.info.fuel_per_cpu_second,
            volumes,
            agent: self.id,
            hostname: self.config.info.hostname.clone(),
        };
        let task = &mut self.tasks[handle];
        task.stage = Stage::Launched;
        task.generation = dir.generation;
        self.stats.tasks_launched += 1;
        self.touch(handle);
        self.send_cell(cell, CellCommand::Launch(Box::new(launch)), out);
    }

    /// The launch of a task never reached its cell: it is to be launched again.
    pub(crate) fn wait_again(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let task = &mut self.tasks[handle];
        task.stage = Stage::Waiting;
        task.throttle = None;
        if !task.info.has_sandbox() {
            task.cell = None;
        }
        self.touch(handle);
        self.enqueue(handle, out);
    }

    pub(crate) fn compiled(&mut self, now: Time, key: &BundleKey) -> PathBuf {
        let Some(bundle) = self.bundles.table.get_mut(key) else {
            return PathBuf::new();
        };
        bundle.used_at = now;
        let compiled = bundle.compiled.clone().unwrap_or_default();
        self.rest_bundle(now, key);
        compiled
    }

    /// Sees to it that a bundle is here, or on its way, and is held.
    pub(crate) fn want_bundle(&mut self, key: &BundleKey, out: &mut Decisions) -> &mut Bundle {
        let bundle = self.bundles.table.entry(key.clone()).or_insert_with(|| {
            out.push(Effect::FetchBundle(key.clone()));
            Bundle::default()
        });
        if bundle.idle_at.is_some() {
            let timer = Timer::BundleIdle(key.clone());
            self.deadlines.set(&mut bundle.idle_at, None, timer);
        }
        bundle
    }

    /// The task keeps its bundle from being let go, until it says otherwise.
    fn hold_bundle(&mut self, handle: TaskHandle, out: &mut Decisions) {
        if std::mem::replace(&mut self.tasks[handle].holds_bundle, true) {
            return;
        }
        let key = self.tasks[handle].bundle();
        self.want_bundle(&key, out).users += 1;
    }

    /// Holds the bundle of a task that an earlier agent process launched, where files may lie in it.
    pub(crate) fn hold_files(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let info = &self.tasks[handle].info;
        if info.has_sandbox() && info.repository.is_some() {
            self.hold_bundle(handle, out);
        }
    }

    fn has_files(&self, handle: TaskHandle) -> bool {
        let key = self.tasks[handle].bundle();
        self.bundles.files(&key).is_some()
    }

    /// A task that is launched needs its bundle no more, unless it finds files of it in its sandbox.
    pub(crate) fn rest_after_launch(&mut self, now: Time, handle: TaskHandle) {
        if !self.has_files(handle) {
            self.unuse_bundle(now, handle);
        }
    }

    /// A bundle that no task waits for is let go after a while.
    pub(crate) fn rest_bundle(&mut self, now: Time, key: &BundleKey) {
        let Some(bundle) = self.bundles.table.get_mut(key) else {
            return;
        };
        if bundle.users == 0 && bundle.idle_at.is_none() {
            let idle = Some(now + self.config.bundle_idle);
            self.deadlines
                .set(&mut bundle.idle_at, idle, Timer::BundleIdle(key.clone()));
        }
    }

    pub(crate) fn unuse_bundle(&mut self, now: Time, handle: TaskHandle) {
        if !std::mem::take(&mut self.tasks[handle].holds_bundle) {
            return;
        }
        let key = self.tasks[handle].bundle();
        if let Some(bundle) = self.bundles.table.get_mut(&key) {
            bundle.users -= 1;
            bundle.used_at = now;
            self.rest_bundle(now, &key);
        }
    }

    pub(crate) fn on_bundle_ready(
        &mut self,
        now: Time,
        key: BundleKey,
        compiled: PathBuf,
        files: Option<SandboxVolume>,
        out: &mut Decisions,
    ) {
        let Some(bundle) = self.bundles.table.get_mut(&key) else {
            out.push(Effect::ReleaseBundle(key));
            return;
        };
        bundle.compiled = Some(compiled);
        bundle.files = files;
        self.answer_wanted(now, &key, None, out);
        self.rest_bundle(now, &key);
        self.pump_all(now, out);
    }

    pub(crate) fn on_bundle_failed(
        &mut self,
        now: Time,
        key: BundleKey,
        reason: TaskReason,
        message: &str,
        out: &mut Decisions,
    ) {
        let waits = |task: &Task| task.stage == Stage::Waiting && task.info.has_sandbox();
        let waiting = self
            .tasks
            .select(|task| waits(task) && task.bundle() == key);
        for handle in waiting {
            self.lose(now, handle, state_for(reason), reason, message, out);
        }
        self.answer_wanted(now, &key, Some(message), out);
        // Tasks that run go on with what their cells have.
        for handle in self
            .tasks
            .select(|task| task.holds_bundle && task.bundle() == key)
        {
            self.tasks[handle].holds_bundle = false;
        }
        self.drop_bundle(&key);
        self.pump_all(now, out);
    }

    fn drop_bundle(&mut self, key: &BundleKey) {
        if let Some(mut bundle) = self.bundles.table.remove(key) {
            self.deadlines
                .set(&mut bundle.idle_at, None, Timer::BundleIdle(key.clone()));
        }
    }

    pub(crate) fn on_bundle_idle(&mut self, now: Time, key: BundleKey, out: &mut Decisions) {
        let Some(bundle) = self.bundles.table.get_mut(&key) else {
            return;
        };
        bundle.idle_at = None;
        if bundle.compiled.is_none() {
            bundle.used_at = now;
        }
        let until = bundle.used_at + self.config.bundle_idle;
        if until > now {
            self.deadlines.set(
                &mut bundle.idle_at,
                Some(until),
                Timer::BundleIdle(key.clone()),
            );
            return;
        }
        self.drop_bundle(&key);
        out.push(Effect::ReleaseBundle(key));
    }
}
