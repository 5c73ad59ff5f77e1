//! The tasks of an executor, as far as they decide what it may say of them. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nesos_types::ids::TaskId;
use nesos_types::task::{SharedTask, TaskState};

use crate::ledger::Ledger;
use crate::mailbox::task_weight;
use crate::uplink::UpdateRefused;

/// Ended tasks that are remembered, to tell them from those that never were.
const REMEMBERED: usize = 1024;

/// The tasks that an executor was told to run.
#[derive(Debug)]
pub(super) struct Tasks {
    live: BTreeMap<TaskId, Live>,
    ended: VecDeque<TaskId>,
    /// Pays for the descriptions that are kept.
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct Live {
    task: SharedTask,
    state: TaskState,
}

impl Tasks {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            live: BTreeMap::new(),
            ended: VecDeque::new(),
            ledger,
        }
    }

    /// The executor is told to run a task.
    pub(super) fn launched(&mut self, task: SharedTask) {
        self.forget(&task.id);
        self.ended.retain(|ended| *ended != task.id);
        self.ledger.add(task_weight(&task));
        let state = TaskState::Staging;
        self.live.insert(task.id.clone(), Live { task, state });
    }

    /// Whether the executor has such a task.
    pub(super) fn has(&self, id: &TaskId) -> bool {
        self.live.contains_key(id)
    }

    /// Whether the executor may say this of a task.
    pub(super) fn check(&self, id: &TaskId, state: TaskState) -> Result<(), UpdateRefused> {
        let Some(live) = self.live.get(id) else {
            let ended = self.ended.contains(id);
            return Err(if ended {
                UpdateRefused::Ended
            } else {
                UpdateRefused::UnknownTask
            });
        };
        let back = live.state == TaskState::Running && state == TaskState::Starting;
        if back {
            return Err(UpdateRefused::NotAllowed(state));
        }
        Ok(())
    }

    /// The executor has said this of a task, and it was taken.
    pub(super) fn told(&mut self, id: &TaskId, state: TaskState) {
        if !state.is_terminal() {
            if let Some(live) = self.live.get_mut(id) {
                live.state = state;
            }
            return;
        }
        self.forget(id);
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(id.clone());
    }

    /// Those that have not ended, by id.
    pub(super) fn live(&self) -> impl Iterator<Item = &SharedTask> {
        self.live.values().map(|live| &live.task)
    }

    fn forget(&mut self, id: &TaskId) {
        if let Some(live) = self.live.remove(id) {
            self.ledger.give_back(task_weight(&live.task));
        }
    }
}

#[cfg(test)]
mod tests {
    use nesos_types::bundle::Digest;
    use nesos_types::resources::Resources;
    use nesos_types::task::TaskInfo;

    use super::*;

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    #[test]
    fn what_an_executor_may_say_of_a_task() {
        let ledger = Arc::new(Ledger::new(1 << 20, Arc::default()));
        let mut tasks = Tasks::new(ledger.clone());
        let (one, refused) = (id("one"), UpdateRefused::UnknownTask);
        assert_eq!(tasks.check(&one, TaskState::Running), Err(refused));
        let task = TaskInfo::new(one.clone(), Digest([0; 32]), Resources::default());
        tasks.launched(task.into());
        assert!(ledger.used() > 0 && tasks.has(&one));
        for state in [TaskState::Starting, TaskState::Running, TaskState::Running] {
            assert_eq!(tasks.check(&one, state), Ok(()));
            tasks.told(&one, state);
        }
        let back = UpdateRefused::NotAllowed(TaskState::Starting);
        assert_eq!(tasks.check(&one, TaskState::Starting), Err(back));
        tasks.told(&one, TaskState::Finished);
        assert_eq!(
            tasks.check(&one, TaskState::Failed),
            Err(UpdateRefused::Ended)
        );
        assert_eq!((tasks.live().count(), ledger.used()), (0, 0));
    }
}
