//! What a guest says by `nesos:guest`: statuses, messages, and wishes for bundles, on their way to the agent.
//!
//! Called on the guest's threads. What a guest may say of which task is decided here, by what the cell knows
//! of it; how much it may say at a time, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use nesos_runtime::{
    GuestUpdate, MAX_STATUS_BYTES, MAX_STATUS_MESSAGE_BYTES, MessageRefused, UpdateRefused, Uplink,
};
use nesos_types::bundle::Digest;
use nesos_types::cell::CellEvent;
use nesos_types::executor::MAX_MESSAGE_BYTES;
use nesos_types::ids::TaskKey;
use nesos_types::limits::Metering;
use nesos_types::task::{TaskState, TaskStatus};
use tokio::sync::oneshot;

use super::executors::run_of;
use super::launcher::Launcher;
use super::sandboxes::Sandboxes;

/// How many statuses of one task may be on their way to the agent, which takes what has come every 20 ms or so:
/// a task that says more than some thousand a second is told to wait.
const MAX_UNACKNOWLEDGED: u64 = 64;

/// The uplink of one guest.
pub(super) struct GuestUplink<L: Launcher> {
    sandboxes: Arc<Sandboxes<L>>,
    key: TaskKey,
}

impl<L: Launcher> GuestUplink<L> {
    /// The uplink of the guest of this task.
    pub(super) fn new(sandboxes: Arc<Sandboxes<L>>, key: TaskKey) -> Self {
        Self { sandboxes, key }
    }
}

impl<L: Launcher> Uplink for GuestUplink<L> {
    fn update(&self, update: GuestUpdate) -> Result<(), UpdateRefused> {
        if update.data.len() > MAX_STATUS_BYTES {
            let limit = MAX_STATUS_BYTES;
            return Err(UpdateRefused::TooLarge { limit });
        }
        match &update.task {
            None => self.sandboxes.update_own(&self.key, update),
            Some(task) => {
                let key = TaskKey {
                    framework: self.key.framework,
                    task: task.clone(),
                };
                self.sandboxes.update_of_run(&self.key, &key, update)
            }
        }
    }

    fn message(&self, data: Bytes) -> Result<(), MessageRefused> {
        if data.len() > MAX_MESSAGE_BYTES {
            let limit = MAX_MESSAGE_BYTES;
            return Err(MessageRefused::TooLarge { limit });
        }
        let event = CellEvent::Message {
            key: self.key.clone(),
            data: data.into(),
        };
        self.sandboxes.send_message(&event)
    }

    fn prepare(
        &self,
        bundle: Digest,
        metering: Metering,
        ready: oneshot::Sender<Result<PathBuf, String>>,
    ) {
        let want = Want {
            key: self.key.clone(),
            bundle,
            metering,
            ready,
        };
        self.sandboxes.want_bundle(want);
    }
}

/// A bundle that a guest waits for.
#[derive(Debug)]
struct Want {
    key: TaskKey,
    bundle: Digest,
    metering: Metering,
    ready: oneshot::Sender<Result<PathBuf, String>>,
}

impl Want {
    fn event(&self, request: u64) -> CellEvent {
        CellEvent::BundleWanted {
            request,
            key: self.key.clone(),
            bundle: self.bundle,
            metering: self.metering,
        }
    }
}

/// The bundles that guests wait for, by the number under which the agent was asked.
#[derive(Debug, Default)]
pub(super) struct Wants {
    asked: AtomicU64,
    open: DashMap<u64, Want>,
}

impl Wants {
    /// Guests that are over wait no more, nor those whose children are killed before they start.
    fn forget_the_ended(&self) {
        self.open.retain(|_, want| !want.ready.is_closed());
    }

    /// What is still to be answered, to be asked anew on a new connection.
    pub(super) fn repeat(&self) -> Vec<CellEvent> {
        self.forget_the_ended();
        let open = self.open.iter();
        open.map(|want| want.event(*want.key())).collect()
    }
}

impl<L: Launcher> Sandboxes<L> {
    /// A task says how far it is.
    fn update_own(&self, key: &TaskKey, update: GuestUpdate) -> Result<(), UpdateRefused> {
        let entry = self.table.get(key).ok_or(UpdateRefused::UnknownTask)?;
        let ledger = &entry.ledger;
        if ledger.has_ended() {
            return Err(UpdateRefused::Ended);
        }
        // A run of an executor is no task to anybody, and a task's end is seen, not said.
        if update.state != TaskState::Running || ledger.task().run_of().is_some() {
            return Err(UpdateRefused::NotAllowed(update.state));
        }
        if ledger.unacknowledged() >= MAX_UNACKNOWLEDGED {
            return Err(UpdateRefused::Flooding);
        }
        drop(entry);
        let status = self.told_by_guest(key, update);
        self.report(key, status);
        Ok(())
    }

    /// An executor says what became of a task.
    fn update_of_run(
        &self,
        run: &TaskKey,
        key: &TaskKey,
        update: GuestUpdate,
    ) -> Result<(), UpdateRefused> {
        let entry = self.table.get(key).ok_or(UpdateRefused::UnknownTask)?;
        let ledger = &entry.ledger;
        if run_of(key, ledger.task()).as_ref() != Some(run) {
            return Err(UpdateRefused::UnknownTask);
        }
        if ledger.has_ended() {
            return Err(UpdateRefused::Ended);
        }
        let may_follow = match update.state {
            TaskState::Starting => !ledger.has_run(),
            TaskState::Running
            | TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error => true,
            _ => false,
        };
        if !may_follow {
            return Err(UpdateRefused::NotAllowed(update.state));
        }
        // The end of a task is always taken: nothing follows it.
        let ends = update.state.is_terminal();
        if !ends && ledger.unacknowledged() >= MAX_UNACKNOWLEDGED {
            return Err(UpdateRefused::Flooding);
        }
        drop(entry);
        let status = self.told_by_guest(key, update);
        self.report(key, status);
        if ends {
            self.left_run(key, run);
        }
        Ok(())
    }

    fn told_by_guest(&self, key: &TaskKey, update: GuestUpdate) -> TaskStatus {
        let mut status = self.status(key, update.state);
        status.message = update.message;
        let cut = status.message.floor_char_boundary(MAX_STATUS_MESSAGE_BYTES);
        status.message.truncate(cut);
        status.data = update.data;
        status
    }

    fn want_bundle(&self, want: Want) {
        let request = self.wants.asked.fetch_add(1, Ordering::Relaxed);
        let event = want.event(request);
        self.wants.forget_the_ended();
        self.wants.open.insert(request, want);
        // Without an agent it is asked when there is one.
        self.outbox.send(&event);
    }

    /// The agent answers.
    pub(super) fn on_bundle_ready(&self, request: u64, compiled: Result<PathBuf, String>) {
        if let Some((_, want)) = self.wants.open.remove(&request) {
            // The guest may be over by now.
            let _ = want.ready.send(compiled);
        }
    }
}
