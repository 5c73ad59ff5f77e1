//! Cells: the processes that hold the sandboxes, each of one role. What happens when one speaks,
//! falls silent, comes back or dies. How a process is started the core does not know.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_types::cell::{CellCommand, CellEvent, SandboxReport};
use nesos_types::executor::MAX_STATUS_BYTES;
use nesos_types::ids::TaskKey;
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskReason, TaskState, TaskStatus, end_in_executor};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::checkpoint::{CellRecord, RecordKey};
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect};
use crate::event::CellId;
use crate::executors::BundleWanted;
use crate::set_apart::taken_by;
use crate::slack::why_ended;
use crate::tasks::{Stage, Task, TaskHandle};

/// How far a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellState {
    /// Its process is being started; it has never spoken.
    Starting,
    /// It was started earlier and is being connected to.
    Connecting,
    /// It speaks.
    Connected,
    /// It was told to end and takes no more tasks.
    Retiring,
}

/// One cell.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) role: Role,
    pub(crate) pid: Option<u32>,
    pub(crate) state: CellState,
    /// Whether it has said hello to this agent process.
    pub(crate) met: bool,
    /// Whether it is in a checkpoint that was taken.
    pub(crate) written: bool,
    /// Whether it is in one that is durable. Invariant: a cell that is not is given no task, so that
    /// no later agent process overlooks a cell with tasks.
    pub(crate) recorded: bool,
    /// Tasks that are in it or wait for it.
    pub(crate) live: usize,
    pub(crate) idle_at: Option<Time>,
}

impl Cell {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            pid: None,
            state: CellState::Starting,
            met: false,
            written: false,
            recorded: false,
            live: 0,
            idle_at: None,
        }
    }

    fn recover(record: CellRecord) -> Self {
        Self {
            pid: record.pid,
            state: CellState::Connecting,
            written: true,
            recorded: true,
            ..Self::new(record.role)
        }
    }

    /// Whether tasks may be launched into it right now.
    pub(crate) fn is_ready(&self) -> bool {
        self.state == CellState::Connected && self.recorded
    }

    fn is_listening(&self) -> bool {
        matches!(self.state, CellState::Connected | CellState::Retiring)
    }
}

/// All cells.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub(crate) table: BTreeMap<CellId, Cell>,
    pub(crate) by_role: BTreeMap<Role, Vec<CellId>>,
    /// The next cell's number.
    pub(crate) next: u32,
}

impl Cells {
    pub(crate) fn recover(next: u32, records: Vec<CellRecord>) -> Self {
        let mut cells = Self {
            next,
            ..Self::default()
        };
        for record in records {
            cells.next = cells.next.max(record.cell.0 + 1);
            let id = record.cell;
            cells
                .by_role
                .entry(record.role.clone())
                .or_default()
                .push(id);
            cells.table.insert(id, Cell::recover(record));
        }
        cells
    }

    /// How many sandboxes they hold, or are about to.
    pub(crate) fn sandboxes(&self) -> usize {
        self.table.values().map(|cell| cell.live).sum()
    }

    pub(crate) fn add(&mut self, role: &Role) -> CellId {
        let id = CellId(self.next);
        self.next += 1;
        self.by_role.entry(role.clone()).or_default().push(id);
        self.table.insert(id, Cell::new(role.clone()));
        id
    }

    /// A cell of the role with room for one more task.
    pub(crate) fn with_room(&self, role: &Role, limit: usize) -> Option<CellId> {
        let ids = self.by_role.get(role)?;
        ids.iter()
            .copied()
            .find(|id| self.table.get(id).is_some_and(|cell| cell.live < limit))
    }

    /// No more tasks for this cell.
    fn close(&mut self, id: CellId) {
        let Some(cell) = self.table.get(&id) else {
            return;
        };
        if let Some(ids) = self.by_role.get_mut(&cell.role) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_role.remove(&cell.role);
            }
        }
    }

    /// Whether there is a cell that listens.
    pub(crate) fn any_listens(&self) -> bool {
        self.table.values().any(Cell::is_listening)
    }

    /// Whether every cell of an earlier agent process has spoken or was given up.
    pub(crate) fn all_met(&self) -> bool {
        self.table
            .values()
            .all(|cell| cell.met || cell.state != CellState::Connecting)
    }
}

impl Agent {
    /// Says something to a cell, if it listens.
    pub(crate) fn send_cell(&self, id: CellId, command: CellCommand, out: &mut Decisions) {
        if self.cells.table.get(&id).is_some_and(Cell::is_listening) {
            out.push(Effect::SendCell { cell: id, command });
        }
    }

    pub(crate) fn on_cell_started(&mut self, id: CellId, pid: u32) {
        if let Some(cell) = self.cells.table.get_mut(&id) {
            cell.pid = Some(pid);
            self.journal.touch_cell(id);
        }
    }

    pub(crate) fn on_cell_event(
        &mut self,
        now: Time,
        id: CellId,
        event: CellEvent,
        out: &mut Decisions,
    ) {
        match event {
            CellEvent::Hello { pid, sandboxes } => self.on_hello(now, id, pid, sandboxes, out),
            CellEvent::Update {
                key,
                sequence,
                status,
            } => self.on_cell_update(now, id, key, sequence, status, out),
            CellEvent::Message { key, data } => self.on_guest_message(id, key, data, out),
            CellEvent::BundleWanted {
                request,
                key: run,
                bundle: digest,
                metering,
            } => {
                let wanted = BundleWanted {
                    request,
                    run,
                    digest,
                    metering,
                };
                self.on_bundle_wanted(now, id, wanted, out);
            }
            CellEvent::Usage { at, samples } => self.on_usage(now, id, at, samples),
        }
    }

    fn on_hello(
        &mut self,
        now: Time,
        id: CellId,
        pid: u32,
        sandboxes: Vec<SandboxReport>,
        out: &mut Decisions,
    ) {
        let Some(cell) = self.cells.table.get_mut(&id) else {
            out.push(Effect::DiscardCell {
                cell: id,
                pid: Some(pid),
            });
            return;
        };
        let adopting = !cell.met && cell.state == CellState::Connecting;
        if cell.pid != Some(pid) {
            cell.pid = Some(pid);
            self.journal.touch_cell(id);
        }
        cell.met = true;
        if cell.state != CellState::Retiring {
            cell.state = CellState::Connected;
        }
        self.compare(now, id, sandboxes, adopting, out);
        self.lend_from_cell(now, id, adopting, out);
        self.rest_cell(now, id);
        self.pump_all(now, out);
        self.check_recovered(now, out);
    }

    /// Brings what the cell holds and what the agent believes into line.
    fn compare(
        &mut self,
        now: Time,
        id: CellId,
        sandboxes: Vec<SandboxReport>,
        adopting: bool,
        out: &mut Decisions,
    ) {
        let mut missing = self
            .tasks
            .select(|task| task.cell == Some(id) && task.stage == Stage::Launched);
        for report in sandboxes {
            match self.tasks.find(&report.key) {
                Some(handle) if self.cell_of(&self.tasks[handle]) == Some(id) => {
                    missing.retain(|other| *other != handle);
                    self.on_present(now, id, handle, out);
                }
                None if adopting => self.adopt(now, id, report, out),
                _ => self.turn_away(id, report, out),
            }
        }
        for handle in missing {
            self.on_missing(now, handle, out);
        }
        for handle in self.tasks.select(|task| task.cell == Some(id)) {
            self.tasks[handle].in_doubt = false;
        }
        self.end_orphans(now, Stage::Launched, out);
    }

    /// The cell has a task that the agent gave it, perhaps before an earlier agent process could
    /// write that down.
    fn on_present(&mut self, now: Time, id: CellId, handle: TaskHandle, out: &mut Decisions) {
        let task = &mut self.tasks[handle];
        match task.stage {
            Stage::Waiting => {
                task.stage = Stage::Launched;
                task.cell = Some(id);
                self.unqueue(handle);
                self.rest_after_launch(now, handle);
                self.touch(handle);
            }
            Stage::Launched => self.repeat_kill(now, handle, out),
            Stage::Ended => {}
        }
    }

    fn repeat_kill(&self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        let task = &self.tasks[handle];
        if let (Some(kill), Some(cell)) = (task.kill, task.cell) {
            let key = task.key.clone();
            let grace = kill.by.since(now);
            self.send_cell(cell, CellCommand::Kill { key, grace }, out);
        }
    }

    /// The cell does not have a task that was launched: either the launch never reached it, or the
    /// task is over and its report is lost.
    fn on_missing(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        let task = self.tasks.get(handle);
        if task.is_none_or(|task| task.stage != Stage::Launched) {
            return;
        }
        if self.tasks[handle].cell_sequence == 0 && self.tasks[handle].kill.is_none() {
            self.wait_again(handle, out);
            return;
        }
        let message = "the cell no longer has the task's sandbox";
        self.lose(
            now,
            handle,
            TaskState::Gone,
            TaskReason::CellTerminated,
            message,
            out,
        );
    }

    /// Takes over a task that an earlier agent process launched and had not written down.
    fn adopt(&mut self, now: Time, id: CellId, report: SandboxReport, out: &mut Decisions) {
        let Some(used) = self.used.checked_add(&taken_by(&report.task)) else {
            self.turn_away(id, report, out);
            return;
        };
        let Some(cell) = self.cells.table.get_mut(&id) else {
            return;
        };
        self.used = used;
        let has_sandbox = report.task.has_sandbox();
        cell.live += usize::from(has_sandbox);
        let mut task = Task::new(report.key, cell.role.clone(), report.task, Some(id));
        if has_sandbox {
            task.generation = self.sandboxes.adopt(&task.key, id);
        }
        task.stage = Stage::Launched;
        if !report.state.is_terminal() {
            task.latest = report.state;
        }
        let handle = self.tasks.insert(task);
        self.stats.tasks_adopted += 1;
        self.hold_files(handle, out);
        self.touch(handle);
        self.await_ready(now, handle);
        self.calm_cell(id);
    }

    /// The cell has a task that is over as far as the agent is concerned.
    fn turn_away(&self, id: CellId, report: SandboxReport, out: &mut Decisions) {
        let key = report.key;
        if report.state.is_terminal() && self.journal.owes(&key) {
            return;
        }
        let command = if report.state.is_terminal() {
            let sequence = u64::MAX;
            CellCommand::Acknowledge { key, sequence }
        } else {
            let grace = Duration::ZERO;
            CellCommand::Kill { key, grace }
        };
        self.send_cell(id, command, out);
    }

    fn on_cell_update(
        &mut self,
        now: Time,
        id: CellId,
        key: TaskKey,
        sequence: u64,
        mut status: TaskStatus,
        out: &mut Decisions,
    ) {
        status.data.truncate(MAX_STATUS_BYTES);
        let Some(handle) = self.tasks.find(&key) else {
            if !self.journal.owes(&key) {
                self.send_cell(id, CellCommand::Acknowledge { key, sequence }, out);
            }
            return;
        };
        let task = &mut self.tasks[handle];
        if task.cell != Some(id) || sequence <= task.safe_sequence {
            self.stats.updates_duplicate += 1;
            self.send_cell(id, CellCommand::Acknowledge { key, sequence }, out);
            return;
        }
        if sequence <= task.cell_sequence {
            self.stats.updates_duplicate += 1;
            return;
        }
        task.cell_sequence = sequence;
        let was_ended = task.stage == Stage::Ended;
        let status = self.correct(handle, status);
        self.touch(handle);
        if let Some(status) = status.filter(|_| !was_ended) {
            self.say(now, handle, status, out);
        }
        if self.tasks.find(&key).is_some_and(|found| found == handle) && self.tasks[handle].is_run()
        {
            self.on_run_said(now, handle, out);
        }
    }

    /// The cell may live: it is asked again, unless it was to end or holds nothing.
    pub(crate) fn on_cell_disconnected(&mut self, id: CellId, out: &mut Decisions) {
        let Some(cell) = self.cells.table.get_mut(&id) else {
            return;
        };
        if cell.state == CellState::Retiring || (cell.live == 0 && !self.owes(id)) {
            self.forget_cell(id, out);
            return;
        }
        let Some(cell) = self.cells.table.get_mut(&id) else {
            return;
        };
        if cell.state == CellState::Connected {
            cell.state = CellState::Connecting;
            let pid = cell.pid;
            self.calm_cell(id);
            out.push(Effect::ConnectCell { cell: id, pid });
        }
    }

    /// Whether the cell holds statuses that it would repeat.
    fn owes(&self, id: CellId) -> bool {
        let owes = |task: &Task| task.cell == Some(id) && task.cell_sequence > task.safe_sequence;
        self.tasks.iter().any(|(_, task)| owes(task)) || self.journal.owes_to(id)
    }

    /// A cell is lost: the tasks in it failed, those that waited for it go elsewhere, or nowhere if
    /// no cell could be started at all.
    pub(crate) fn on_cell_failed(
        &mut self,
        now: Time,
        id: CellId,
        message: &str,
        out: &mut Decisions,
    ) {
        let Some(cell) = self.cells.table.get(&id) else {
            return;
        };
        let never_started = cell.state == CellState::Starting;
        let orderly = cell.state == CellState::Retiring;
        self.stats.cells_failed += u64::from(!orderly);
        self.forget_cell(id, out);
        let launched = self
            .tasks
            .select(|task| task.cell == Some(id) && task.stage == Stage::Launched);
        for handle in launched {
            let message = format!("the cell that held the task died: {message}");
            self.lose(
                now,
                handle,
                TaskState::Failed,
                TaskReason::CellTerminated,
                message,
                out,
            );
        }
        let waiting = self
            .tasks
            .select(|task| task.cell == Some(id) && task.stage == Stage::Waiting);
        for handle in waiting {
            if never_started {
                let message = format!("the cell could not be started: {message}");
                self.lose(
                    now,
                    handle,
                    TaskState::Dropped,
                    TaskReason::LaunchFailed,
                    message,
                    out,
                );
            } else if self.tasks[handle].in_doubt {
                let message = format!(
                    "the cell died, and it is not known whether the task had begun: {message}"
                );
                let reason = TaskReason::CellTerminated;
                self.lose(now, handle, TaskState::Gone, reason, message, out);
            } else {
                self.place_again(handle, out);
            }
        }
        self.pump_all(now, out);
        self.check_recovered(now, out);
    }

    /// Gives every cell up that has not come back in time.
    pub(crate) fn give_up_unmet_cells(&mut self, now: Time, out: &mut Decisions) {
        let unmet: Vec<_> = self
            .cells
            .table
            .iter()
            .filter(|(_, cell)| !cell.met && cell.state == CellState::Connecting)
            .map(|(id, _)| *id)
            .collect();
        for id in unmet {
            self.on_cell_failed(now, id, "it did not answer in time", out);
        }
    }

    /// The cell's process is to be gone, and nobody is to look for it again.
    fn forget_cell(&mut self, id: CellId, out: &mut Decisions) {
        self.cells.close(id);
        let Some(mut cell) = self.cells.table.remove(&id) else {
            return;
        };
        self.deadlines
            .set(&mut cell.idle_at, None, Timer::CellIdle(id));
        if cell.written {
            self.journal.delete(RecordKey::Cell(id));
        }
        out.push(Effect::DiscardCell {
            cell: id,
            pid: cell.pid,
        });
    }

    /// The cells are in a durable checkpoint: they may be used.
    pub(crate) fn on_cells_recorded(&mut self, now: Time, ids: &[CellId], out: &mut Decisions) {
        let mut news = false;
        for id in ids {
            if let Some(cell) = self.cells.table.get_mut(id) {
                news |= !cell.recorded;
                cell.recorded = true;
            }
        }
        if news {
            self.pump_all(now, out);
        }
    }

    /// Starts the clock of a cell without tasks.
    pub(crate) fn rest_cell(&mut self, now: Time, id: CellId) {
        if let Some(cell) = self.cells.table.get_mut(&id)
            && cell.live == 0
            && cell.state != CellState::Retiring
        {
            let at = Some(now + self.config.cell_idle);
            self.deadlines
                .set(&mut cell.idle_at, at, Timer::CellIdle(id));
        }
    }

    /// Stops it.
    pub(crate) fn calm_cell(&mut self, id: CellId) {
        if let Some(cell) = self.cells.table.get_mut(&id) {
            self.deadlines
                .set(&mut cell.idle_at, None, Timer::CellIdle(id));
        }
    }

    pub(crate) fn on_cell_idle(&mut self, now: Time, id: CellId, out: &mut Decisions) {
        let owes = self.owes(id);
        let Some(cell) = self.cells.table.get_mut(&id) else {
            return;
        };
        cell.idle_at = None;
        if cell.state != CellState::Connected || owes {
            self.rest_cell(now, id);
            return;
        }
        cell.state = CellState::Retiring;
        self.cells.close(id);
        self.send_cell(id, CellCommand::Retire, out);
    }
}

impl Agent {
    /// What a cell says of a task that was killed meanwhile, or whose executor was: a killed task ends as
    /// killed, and does not run again.
    fn correct(&self, handle: TaskHandle, mut status: TaskStatus) -> Option<TaskStatus> {
        status.source = StatusSource::Cell;
        let task = &self.tasks[handle];
        let Some(kill) = task.kill else {
            if status.reason == Some(TaskReason::KillRequested)
                && let Some(run) = self.live_run(task)
                && let Some(kill) = self.tasks[run].kill
            {
                let (state, reason) = end_in_executor(status.state, Some(kill.reason));
                status.state = state;
                status.reason = Some(reason);
            }
            return Some(status);
        };
        let by_executor = [
            TaskReason::ExecutorTerminated,
            TaskReason::ExecutorUnresponsive,
        ];
        let with_executor = status.reason.filter(|reason| by_executor.contains(reason));
        match (status.state, status.reason) {
            (TaskState::Starting | TaskState::Running | TaskState::Killing, _) => None,
            (TaskState::Finished, _)
            | (TaskState::Failed, Some(TaskReason::Exited))
            | (TaskState::Killed, None | Some(TaskReason::KillRequested)) => {
                status.state = TaskState::Killed;
                status.reason = Some(kill.reason);
                if let Some(why) = why_ended(task, kill.reason) {
                    why.clone_into(&mut status.message);
                }
                Some(status)
            }
            (TaskState::Failed, _) if with_executor.is_some() => {
                status.state = TaskState::Killed;
                status.reason = Some(kill.reason);
                Some(status)
            }
            _ => Some(status),
        }
    }
}
