//! Tells the agent what becomes of a guest.

use std::sync::Arc;

use nesos_runtime::{Exit, Observer};
use nesos_types::ids::TaskKey;
use nesos_types::task::TaskState;

use super::launcher::Launcher;
use super::sandboxes::Sandboxes;

/// Observes one guest, on the guest's threads.
pub(super) struct Reporter<L: Launcher> {
    sandboxes: Arc<Sandboxes<L>>,
    key: TaskKey,
}

impl<L: Launcher> Reporter<L> {
    /// An observer of the guest of this task.
    pub(super) fn new(sandboxes: Arc<Sandboxes<L>>, key: TaskKey) -> Self {
        Self { sandboxes, key }
    }
}

impl<L: Launcher> Observer for Reporter<L> {
    fn running(&mut self) {
        let status = self.sandboxes.status(&self.key, TaskState::Running);
        self.sandboxes.report(&self.key, status);
        self.sandboxes.watch_health(&self.key);
    }

    fn exited(&mut self, exit: Exit) {
        self.sandboxes.run_exited(&self.key, &exit);
        let mut status = self
            .sandboxes
            .status(&self.key, exit.state)
            .because(exit.reason, exit.message);
        status.exit_code = exit.exit_code;
        status.backtrace = exit.backtrace;
        status.usage = Some(exit.usage);
        status.data = exit.data;
        self.sandboxes.report(&self.key, status);
    }
}
