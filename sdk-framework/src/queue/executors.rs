//! Tasks of a queue that executors are to run, and where those run.
//!
//! The first task of an executor on an agent pays for the executor, too. Where one runs the queue knows by what it
//! has launched itself; what it does not know costs it a little room for a while, and nothing else.

use std::collections::{BTreeSet, HashSet};

use nesos_types::executor::ExecutorInfo;
use nesos_types::ids::{AgentId, ExecutorId, TaskId};
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, Work};

/// The executor that is to run a task.
fn executor_of(task: &SharedTask) -> Option<&ExecutorInfo> {
    match &task.work {
        Work::InExecutor { executor, .. } => Some(executor),
        Work::Sandbox | Work::Executor { .. } => None,
    }
}

/// Whether an executor is to run it.
pub(super) fn is_for_executor(task: &SharedTask) -> bool {
    executor_of(task).is_some()
}

/// The tasks, in the order in which they came, and the runs.
#[derive(Debug, Default)]
pub(super) struct Executors {
    waiting: Vec<SharedTask>,
    runs: HashSet<(AgentId, ExecutorId)>,
}

impl Executors {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, task: SharedTask) {
        self.waiting.push(task);
    }

    /// Takes a task out that waits; whether it did.
    pub(super) fn remove(&mut self, id: &TaskId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|task| task.id != *id);
        self.waiting.len() < before
    }

    /// Takes out the tasks that fit into what is left of an agent's offer, each with what it uses.
    pub(super) fn take_fitting(
        &mut self,
        agent: AgentId,
        left: &mut Resources,
        most: usize,
    ) -> Vec<(SharedTask, Resources)> {
        let mut taken = Vec::new();
        let mut stay = Vec::with_capacity(self.waiting.len());
        let mut started = BTreeSet::new();
        for task in std::mem::take(&mut self.waiting) {
            let fits = (taken.len() < most).then(|| self.fit(agent, &task, left, &started));
            match fits.flatten() {
                Some((used, rest)) => {
                    *left = rest;
                    started.extend(executor_of(&task).map(|executor| executor.id.clone()));
                    taken.push((task, used));
                }
                None => stay.push(task),
            }
        }
        self.waiting = stay;
        self.runs.extend(started.into_iter().map(|id| (agent, id)));
        taken
    }

    /// What a task uses and leaves, with its executor if that has to be started for it.
    fn fit(
        &self,
        agent: AgentId,
        task: &SharedTask,
        left: &Resources,
        started: &BTreeSet<ExecutorId>,
    ) -> Option<(Resources, Resources)> {
        let executor = executor_of(task)?;
        let runs =
            started.contains(&executor.id) || self.runs.contains(&(agent, executor.id.clone()));
        let left = match runs {
            true => left.clone(),
            false => left.checked_sub(&executor.resources)?,
        };
        let used = task.choose_from(&left)?;
        let rest = left.checked_sub(&used)?;
        Some((used, rest))
    }

    /// An executor does not run there, or no more.
    pub(super) fn ended(&mut self, agent: AgentId, executor: ExecutorId) {
        self.runs.remove(&(agent, executor));
    }

    /// The executor of a task does not run there.
    pub(super) fn ended_under(&mut self, agent: AgentId, task: &SharedTask) {
        if let Some(executor) = executor_of(task) {
            self.ended(agent, executor.id.clone());
        }
    }

    /// Nothing is known of any executor.
    pub(super) fn forget(&mut self) {
        self.runs.clear();
    }
}
