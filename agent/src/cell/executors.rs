//! The executors of a cell: runs that have tasks in them.
//!
//! A task in an executor has no sandbox. It is told to its run, whose limits grow by it; what becomes of it the
//! run says, until one of the two is over. A run that does not end a task that was killed is ended itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nesos_runtime::{Exit, GuestEvent, PostError};
use nesos_types::ids::{TaskId, TaskKey};
use nesos_types::task::{SharedTask, TaskInfo, TaskReason, TaskState, end_in_executor};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::launcher::{Guest, Kill, Launcher};
use super::sandboxes::Sandboxes;

/// What an executor may take beyond a killed task's grace to say that the task has ended.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// A grace is cut to this: no clock reaches further than it can.
const MAX_GRACE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The end of a run that does not end a task that was killed; dropped when it does.
#[derive(Debug)]
pub(super) struct Force {
    /// When.
    pub(super) at: Instant,
    _wait: AbortOnDropHandle<()>,
}

/// When a run is ended that does not obey this kill of one of its tasks.
pub(super) fn force_at(kill: &Kill) -> Instant {
    Instant::now() + kill.grace.min(MAX_GRACE) + REPORT_PATIENCE
}

/// CPU in thousandths of a core and memory in bytes.
type Share = (u64, u64);

/// A run of an executor that has not ended.
#[derive(Debug)]
pub(super) struct Run<G> {
    guest: Option<G>,
    own: Share,
    tasks: BTreeMap<TaskId, Share>,
}

impl<G: Guest> Run<G> {
    /// A run that is about to start.
    pub(super) fn new(task: &TaskInfo) -> Self {
        Self {
            guest: None,
            own: share(task),
            tasks: BTreeMap::new(),
        }
    }

    /// Lets the guest have what it and its tasks have accepted.
    fn fit(&self) {
        let all = self.tasks.values();
        let (cpu_milli, mem_bytes) = all.fold(self.own, |(cpu, mem), (more_cpu, more_mem)| {
            (cpu.saturating_add(*more_cpu), mem.saturating_add(*more_mem))
        });
        if let Some(guest) = &self.guest {
            guest.set_limits(cpu_milli, mem_bytes);
        }
    }

    fn post(&self, event: GuestEvent) -> Result<(), PostError> {
        self.guest
            .as_ref()
            .map_or(Err(PostError::NotHeard), |guest| guest.post(event))
    }
}

fn share(task: &TaskInfo) -> Share {
    let resources = task.sandbox_resources();
    (resources.cpu_milli, resources.mem_bytes)
}

/// The run that a task is in.
pub(super) fn run_of(key: &TaskKey, task: &TaskInfo) -> Option<TaskKey> {
    Some(TaskKey {
        framework: key.framework,
        task: task.run()?.into(),
    })
}

impl<L: Launcher> Sandboxes<L> {
    /// A run has been started.
    pub(super) fn run_started(&self, key: &TaskKey, guest: &L::Guest) {
        if let Some(mut run) = self.runs.get_mut(key) {
            run.guest = Some(guest.clone());
            run.fit();
        }
    }

    /// Gives a task, which is in the table, to its run.
    pub(super) fn give_to_run(&self, key: &TaskKey, run: &TaskKey, task: SharedTask) {
        let Some(mut entry) = self.runs.get_mut(run) else {
            let status = self.status(key, TaskState::Failed);
            let why = "the executor has ended";
            self.report(key, status.because(TaskReason::ExecutorTerminated, why));
            return;
        };
        entry.tasks.insert(task.id.clone(), share(&task));
        entry.fit();
        let posted = entry.post(GuestEvent::Launch(task));
        if posted.is_err() {
            entry.tasks.remove(&key.task);
            entry.fit();
        }
        drop(entry);
        if let Err(error) = posted {
            let status = self.status(key, TaskState::Dropped);
            let why = format!("the executor does not take the task: {error}");
            self.report(key, status.because(TaskReason::LaunchFailed, why));
        }
    }

    /// A task in a run is over: the run has so much less.
    pub(super) fn left_run(&self, key: &TaskKey, run: &TaskKey) {
        if let Some(mut entry) = self.runs.get_mut(run)
            && entry.tasks.remove(&key.task).is_some()
        {
            entry.fit();
        }
    }

    /// Asks a run to end one of its tasks, and ends the run if that takes too long.
    pub(super) fn kill_in_run(
        self: &Arc<Self>,
        key: &TaskKey,
        run: &TaskKey,
        kill: &Kill,
        at: Instant,
    ) -> Force {
        if let Some(entry) = self.runs.get(run) {
            let task = key.task.clone();
            let grace = kill.grace;
            // A full mailbox is that of an executor that does nothing: the patience with it ends.
            let _ = entry.post(GuestEvent::Kill { task, grace });
        }
        let sandboxes = self.clone();
        let run = run.clone();
        let wait = AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            sandboxes.end_run(&run);
        }));
        Force { at, _wait: wait }
    }

    fn end_run(&self, run: &TaskKey) {
        let guest = self.runs.get(run).and_then(|entry| entry.guest.clone());
        if let Some(guest) = guest {
            guest.kill(&Kill {
                grace: Duration::ZERO,
                reason: TaskReason::ExecutorUnresponsive,
                message: "the executor did not end a task that was killed",
            });
        }
    }

    /// A run is over, and with it the tasks that are in it.
    pub(super) fn run_exited(&self, key: &TaskKey, exit: &Exit) {
        let Some((_, run)) = self.runs.remove(key) else {
            return;
        };
        let (state, reason) = end_in_executor(exit.state, Some(exit.reason));
        let message = match exit.message.as_str() {
            "" => "the executor ended".to_owned(),
            why => format!("the executor ended: {why}"),
        };
        for task in run.tasks.into_keys() {
            let key = TaskKey {
                framework: key.framework,
                task,
            };
            let status = self.status(&key, state);
            self.report(&key, status.because(reason, message.clone()));
        }
    }
}
