//! What has changed since the last checkpoint was taken, and what is on its way to the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nesos_types::cell::CellCommand;
use nesos_types::ids::TaskKey;
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::checkpoint::{AgentRecord, CellRecord, Change, Checkpoint, Record, RecordKey};
use crate::decision::Decisions;
use crate::event::CellId;
use crate::tasks::TaskHandle;

/// Marks of change.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    sequence: u64,
    agent: bool,
    cells: BTreeSet<CellId>,
    /// Tasks by handle and serial number: one that is gone by the time of the checkpoint is skipped.
    tasks: Vec<(TaskHandle, u64)>,
    deleted: BTreeSet<RecordKey>,
    owed: Owed,
    in_flight: VecDeque<InFlight>,
}

/// The newest statuses of tasks that are over and whose records are not deleted yet. Their cells keep them so long:
/// an agent that starts again from such a record finds out how the task ended, in place of losing or repeating it.
type Owed = BTreeMap<TaskKey, (CellId, u64)>;

/// A checkpoint that is being written.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    cells: Vec<CellId>,
    /// Handle, serial number, and the cell's newest status as written.
    tasks: Vec<(TaskHandle, u64, u64)>,
    owed: Owed,
}

impl Journal {
    pub(crate) fn touch_agent(&mut self) {
        self.agent = true;
    }

    pub(crate) fn touch_cell(&mut self, cell: CellId) {
        self.cells.insert(cell);
    }

    pub(crate) fn delete(&mut self, key: RecordKey) {
        self.deleted.insert(key);
    }

    /// A cell is to forget this status once the record of its task is deleted.
    pub(crate) fn owe(&mut self, key: TaskKey, cell: CellId, sequence: u64) {
        self.owed.insert(key, (cell, sequence));
    }

    fn all_owed(&self) -> impl Iterator<Item = &Owed> {
        let in_flight = self.in_flight.iter().map(|group| &group.owed);
        in_flight.chain([&self.owed])
    }

    /// Whether a cell is to keep what it has to say of a task that is over.
    pub(crate) fn owes(&self, key: &TaskKey) -> bool {
        self.all_owed().any(|owed| owed.contains_key(key))
    }

    /// Whether this cell is to keep what it has to say of any task that is over.
    pub(crate) fn owes_to(&self, id: CellId) -> bool {
        let mut all = self.all_owed().flat_map(BTreeMap::values);
        all.any(|(cell, _)| *cell == id)
    }

    /// What was owed for a task, which is so no more.
    fn settle(&mut self, key: &TaskKey) -> Option<(CellId, u64)> {
        let in_flight = self.in_flight.iter_mut().map(|group| &mut group.owed);
        let mut all = in_flight.chain([&mut self.owed]);
        all.find_map(|owed| owed.remove(key))
    }

    /// Forgets every change but these deletions: the agent is over.
    pub(crate) fn delete_all(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        self.agent = false;
        self.cells.clear();
        self.tasks.clear();
        self.owed.clear();
        self.deleted.extend(keys);
    }

    fn is_empty(&self) -> bool {
        !self.agent && self.cells.is_empty() && self.tasks.is_empty() && self.deleted.is_empty()
    }
}

impl Agent {
    /// Whether there is anything to be made durable.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.journal.is_empty()
    }

    /// What is to be made durable now, in one commit; `None` if nothing has changed. The driver
    /// commits checkpoints in order, one at a time, and says each back as
    /// [`Event::Committed`](crate::Event::Committed). One that could not be committed is to be tried
    /// again: it is not given a second time.
    pub fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        if self.journal.is_empty() {
            return None;
        }
        let mut changes = Vec::new();
        let tasks = self.take_tasks(&mut changes);
        let cells = self.take_cells(&mut changes);
        if std::mem::take(&mut self.journal.agent) {
            changes.push(Change::Put(Record::Agent(self.agent_record())));
        }
        let deleted = std::mem::take(&mut self.journal.deleted);
        changes.extend(deleted.into_iter().map(Change::Delete));
        if changes.is_empty() {
            return None;
        }
        self.journal.sequence += 1;
        let sequence = self.journal.sequence;
        self.journal.in_flight.push_back(InFlight {
            sequence,
            cells,
            tasks,
            owed: std::mem::take(&mut self.journal.owed),
        });
        self.stats.checkpoints += 1;
        self.stats.records_written += changes.len() as u64;
        Some(Checkpoint { sequence, changes })
    }

    fn agent_record(&self) -> AgentRecord {
        AgentRecord {
            id: self.id,
            boot_id: self.config.boot_id.clone(),
            next_cell: self.cells.next,
            set_apart: self.set_apart.clone(),
        }
    }

    fn take_tasks(&mut self, changes: &mut Vec<Change>) -> Vec<(TaskHandle, u64, u64)> {
        let mut taken = Vec::with_capacity(self.journal.tasks.len());
        for (handle, serial) in std::mem::take(&mut self.journal.tasks) {
            let Some(task) = self.tasks.same(handle, serial) else {
                continue;
            };
            task.dirty = false;
            task.recorded = true;
            let record = Record::Task(Box::new(task.record()));
            taken.push((handle, serial, task.cell_sequence));
            self.journal.deleted.remove(&record.key());
            changes.push(Change::Put(record));
        }
        taken
    }

    fn take_cells(&mut self, changes: &mut Vec<Change>) -> Vec<CellId> {
        let touched = std::mem::take(&mut self.journal.cells);
        let mut taken = Vec::with_capacity(touched.len());
        for id in touched {
            let Some(cell) = self.cells.table.get_mut(&id) else {
                continue;
            };
            cell.written = true;
            taken.push(id);
            changes.push(Change::Put(Record::Cell(CellRecord {
                cell: id,
                role: cell.role.clone(),
                pid: cell.pid,
            })));
        }
        taken
    }

    /// A checkpoint is durable: cells may forget what it holds, and may be used if it names them.
    pub(crate) fn on_committed(&mut self, now: Time, sequence: u64, out: &mut Decisions) {
        while let Some(group) = self.journal.in_flight.front() {
            if group.sequence > sequence {
                return;
            }
            let Some(group) = self.journal.in_flight.pop_front() else {
                return;
            };
            for (handle, serial, cell_sequence) in group.tasks {
                self.acknowledge_cell(handle, serial, cell_sequence, out);
            }
            for (key, (cell, sequence)) in group.owed {
                self.send_cell(cell, CellCommand::Acknowledge { key, sequence }, out);
            }
            self.on_cells_recorded(now, &group.cells, out);
        }
    }

    /// A task of the same name is about to come to a cell: what it has to say of the former one is worth nothing.
    pub(crate) fn settle_former(&mut self, key: &TaskKey, out: &mut Decisions) {
        if let Some((cell, sequence)) = self.journal.settle(key) {
            let key = key.clone();
            self.send_cell(cell, CellCommand::Acknowledge { key, sequence }, out);
        }
    }

    fn acknowledge_cell(
        &mut self,
        handle: TaskHandle,
        serial: u64,
        sequence: u64,
        out: &mut Decisions,
    ) {
        let Some(task) = self.tasks.same(handle, serial) else {
            return;
        };
        if task.safe_sequence >= sequence {
            return;
        }
        task.safe_sequence = sequence;
        let key = task.key.clone();
        if let Some(cell) = task.cell {
            self.send_cell(cell, CellCommand::Acknowledge { key, sequence }, out);
        }
    }

    /// The task is to be in the next checkpoint, if it is still there by then.
    pub(crate) fn touch(&mut self, handle: TaskHandle) {
        let task = &mut self.tasks[handle];
        if task.dirty || task.answer {
            return;
        }
        task.dirty = true;
        self.journal.tasks.push((handle, task.serial));
    }

    pub(crate) fn check_journal(&self) {
        let marked: BTreeSet<_> = self.journal.tasks.iter().copied().collect();
        assert_eq!(
            marked.len(),
            self.journal.tasks.len(),
            "a task is marked twice"
        );
        for (handle, task) in self.tasks.iter() {
            assert_eq!(
                task.dirty,
                marked.contains(&(handle, task.serial)),
                "{}: marked for the checkpoint",
                task.key
            );
            assert!(
                task.safe_sequence <= task.cell_sequence,
                "{}: acknowledged what it never had",
                task.key
            );
        }
    }
}
