//! Tasks: each is launched once, runs once, on one agent, and ends in one way, which is told as it was.

use nesos_master_core::ConnectionId;
use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::task::{SharedTask, TaskState, TaskStatus};

use super::{Check, Ledger, must};

impl Ledger {
    /// A master sends tasks to an agent.
    pub(crate) fn launches(
        &mut self,
        connection: ConnectionId,
        framework: FrameworkId,
        tasks: &[SharedTask],
    ) -> Check {
        let agent = self.present.get(&connection).map(|(agent, _)| *agent);
        for task in tasks {
            let key = TaskKey {
                framework,
                task: task.id.clone(),
            };
            let book = self.tasks.entry(key.clone()).or_default();
            book.is_run = task.run_of().is_some();
            let before = std::mem::replace(&mut book.launched, agent);
            must(before.is_none(), &[&key.task], || {
                format!("{key} was launched on {before:?} and again on {agent:?}")
            })?;
        }
        Ok(())
    }

    /// A guest starts.
    pub(crate) fn starts(&mut self, key: &TaskKey, i: usize) -> Check {
        let book = self.tasks.entry(key.clone()).or_default();
        let before = book.host.replace(i);
        let gone = book.gone;
        book.lives = true;
        must(before.is_none(), &[&key.task], || {
            format!("{key} runs on agent {i}, and ran on agent {before:?} before")
        })?;
        must(!gone, &[&key.task], || {
            format!("{key} runs on agent {i} after its scheduler was told that it is gone")
        })
    }

    /// A guest ends, as its cell sees it.
    pub(crate) fn ends(&mut self, key: &TaskKey, state: TaskState) {
        if self.kept {
            let book = self.tasks.entry(key.clone()).or_default();
            book.lives = false;
            book.truth = Some(state);
        }
    }

    /// A cell is gone, with a guest or with what it had still to say of one.
    pub(crate) fn loses(&mut self, key: &TaskKey) {
        if self.kept {
            let book = self.tasks.entry(key.clone()).or_default();
            book.lives = false;
            book.lost = true;
        }
    }

    /// A scheduler is told of a task.
    pub(crate) fn tells(&mut self, framework: FrameworkId, status: &TaskStatus) -> Check {
        let key = TaskKey {
            framework,
            task: status.task.clone(),
        };
        self.check_truth(&key, status)?;
        let said_by = status.update.and_then(|update| self.said_by.get(&update));
        let process = said_by.copied().unwrap_or_default();
        let book = self.tasks.entry(key.clone()).or_default();
        let state = status.state;
        let Some(update) = status.update else {
            book.gone |= state == TaskState::Gone;
            return Ok(());
        };
        if book.told.iter().any(|(told, ..)| *told == update) {
            return Ok(());
        }
        let last = book.told.last().copied();
        book.told.push((update, state, process));
        let Some((_, before, by)) = last else {
            return Ok(());
        };
        // A process that dies before it has written what it said says it again, under another id; with its
        // cell it may have lost even how the task ended.
        let again = by != process
            && (state == before || !before.is_terminal() || book.lost || !state.is_terminal());
        let fits = progress(state) > progress(before) || again;
        must(fits, &[&key.task], || {
            format!(
                "{key} was {before:?} for its scheduler, and is told to be {state:?} by a new update"
            )
        })
    }

    /// Nobody is told that a guest has ended which runs, or that it ended in another way than it did.
    fn check_truth(&self, key: &TaskKey, status: &TaskStatus) -> Check {
        let state = status.state;
        if self.removed.contains(&key.framework) {
            return Ok(());
        }
        let Some(book) = self.tasks.get(key) else {
            return Ok(());
        };
        let over = state.is_terminal() || state == TaskState::Unknown;
        must(!(over && book.lives), &[&key.task], || {
            format!("{key} runs, and its scheduler is told that it is {state:?}")
        })?;
        let told = state.is_terminal() && status.update.is_some() && !book.lost;
        let Some(truth) = book.truth.filter(|_| told) else {
            return Ok(());
        };
        must(
            state == truth || state == TaskState::Killed,
            &[&key.task],
            || {
                format!(
                    "{key} was {truth:?} for its cell, and its scheduler is told that it is {state:?}"
                )
            },
        )
    }
}

/// How far along a task is.
fn progress(state: TaskState) -> u8 {
    match state {
        TaskState::Staging | TaskState::Unknown | TaskState::Unreachable => 0,
        TaskState::Starting => 1,
        TaskState::Running => 2,
        TaskState::Killing => 3,
        _ => 4,
    }
}
