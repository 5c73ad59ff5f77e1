//! Acknowledgements: nobody passes one on before it is true, nobody invents one, and what was acknowledged is
//! never said again.

use nesos_agent_core::checkpoint::{Record, RecordKey};
use nesos_types::ids::{FrameworkId, TaskId, TaskKey, UpdateId};

use super::{Check, Ledger, must};
use crate::sim::host::Host;

impl Ledger {
    /// A scheduler acknowledges.
    pub(crate) fn acknowledges(&mut self, framework: FrameworkId, task: &TaskId, update: UpdateId) {
        let key = TaskKey {
            framework,
            task: task.clone(),
        };
        let book = self.tasks.entry(key).or_default();
        book.acknowledged.insert(update);
        let told = book.told.iter().find(|(told, ..)| *told == update);
        book.ended |= told.is_some_and(|(_, state, _)| state.is_terminal());
    }

    /// An agent hears an acknowledgement.
    pub(crate) fn passes_on(&self, key: &TaskKey, update: UpdateId) -> Check {
        let Some(book) = self.tasks.get(key).filter(|book| !book.is_run) else {
            return Ok(());
        };
        must(book.acknowledged.contains(&update), &[&key.task], || {
            format!(
                "an agent hears {update} of {key} acknowledged, and its scheduler did not do it"
            )
        })
    }

    /// An agent says a status.
    pub(crate) fn says(&mut self, i: usize, key: &TaskKey, update: UpdateId, host: &Host) -> Check {
        self.said_by.entry(update).or_insert(host.process);
        must(!host.heard_acknowledged(update), &[&key.task], || {
            format!("agent {i} says {update} of {key} again, which was acknowledged")
        })
    }

    /// An agent tells a cell that it may forget what it said of a task.
    pub(crate) fn may_forget(&self, key: &TaskKey, sequence: u64, host: &Host) -> Check {
        let holds = match host.on_disk(&RecordKey::Task(key.clone())) {
            Some(Record::Task(task)) => task.cell_sequence >= sequence,
            _ => self.is_settled(key),
        };
        must(holds, &[&key.task], || {
            format!(
                "a cell may forget what it said of {key} up to {sequence}, and that is not durable"
            )
        })
    }

    /// An agent's disk forgets a task.
    pub(crate) fn forgets(&self, key: &TaskKey) -> Check {
        must(self.is_settled(key), &[&key.task], || {
            format!("an agent forgets {key}, and its scheduler never acknowledged its end")
        })
    }

    /// Whether nobody is owed anything about a task.
    fn is_settled(&self, key: &TaskKey) -> bool {
        let removed = self.removed.contains(&key.framework);
        let book = self.tasks.get(key);
        removed || book.is_none_or(|book| book.ended || book.is_run)
    }
}
