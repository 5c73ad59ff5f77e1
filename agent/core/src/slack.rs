//! Revocable CPU: how much of what tasks have accepted nobody uses, and what becomes of the tasks that have
//! borrowed it once it is needed.
//!
//! Owners are the tasks that hold nothing revocable. What an owner has left unused in each of its latest
//! samples, less a margin, is lent; so a short pause lends nothing, and the first busy sample takes it
//! back. Those who borrow are slowed down at once when there is not enough, and ended, newest first, when
//! that lasts. CPU that nobody has accepted is not lent, for it is offered for good; but nobody is pushed
//! aside for it either.
//!
//! How CPU time is read and how a guest is slowed down the core does not know.

use std::collections::VecDeque;
use std::time::Duration;

use nesos_types::cell::{CellCommand, CpuSample};
use nesos_types::message::AgentEvent;
use nesos_types::task::{TaskInfo, TaskReason, TaskState};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::config::Oversubscription;
use crate::deadlines::Timer;
use crate::decision::{Decisions, Effect};
use crate::event::CellId;
use crate::tasks::{Stage, Task, TaskHandle};

/// How many samples in a row must show that CPU is unused.
const WINDOW: usize = 5;

/// After how many intervals without a sample it is no longer known what an owner uses.
const STALE_INTERVALS: u32 = 3;

/// The master hears of changes of at least this much: each may cost offers.
const STEP_MILLI: u64 = 100;

/// Slack and rates are multiples of this, which is also the slowest that a guest is made.
const GRAIN_MILLI: u64 = 10;

/// What is lent.
#[derive(Debug, Default)]
pub(crate) struct Slack {
    /// Thousandths of a core that owners do not use, as of the last review.
    pub(crate) milli: u64,
    /// What the master was last told.
    reported_milli: u64,
    /// Since when those who borrow have been promised more than there is.
    short_since: Option<Time>,
    /// Until when nothing is decided, because this agent process has not measured for long enough.
    learns_until: Time,
    pub(crate) review_at: Option<Time>,
}

/// What an owner has used lately.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// The newest: when it was read by the cell's clock, and the CPU time since the start.
    newest: Option<(Time, u64)>,
    heard_at: Time,
    /// Thousandths of a core between two samples each, at most [`WINDOW`] of them.
    used_milli: VecDeque<u64>,
}

impl Samples {
    fn add(&mut self, now: Time, at: Time, cpu_ns: u64) {
        self.heard_at = now;
        let Some((before, cpu_before_ns)) = self.newest.replace((at, cpu_ns)) else {
            return;
        };
        let elapsed_ns = at.since(before).as_nanos().max(1);
        let used = u128::from(cpu_ns.saturating_sub(cpu_before_ns)) * 1000;
        let used = u64::try_from(used.div_ceil(elapsed_ns)).unwrap_or(u64::MAX);
        self.used_milli.truncate(WINDOW - 1);
        self.used_milli.push_front(used);
    }

    /// The most that was used; unknown until the window is full, and once nothing was heard for too long.
    fn most_milli(&self, now: Time, interval: Duration) -> Option<u64> {
        let fresh = now.since(self.heard_at) <= interval * STALE_INTERVALS;
        let known = fresh && self.used_milli.len() == WINDOW;
        known.then(|| self.used_milli.iter().copied().max())?
    }
}

impl Task {
    /// Whether it uses CPU that can be taken back.
    pub(crate) fn borrows(&self) -> bool {
        self.info.resources.revocable_cpu_milli() > 0
    }

    fn is_running_owner(&self) -> bool {
        self.latest == TaskState::Running && !self.borrows()
    }

    /// What of the CPU that it accepted it leaves to others.
    fn unused_milli(&self, now: Time, lending: &Oversubscription) -> u64 {
        let used = self.samples.as_ref().filter(|_| self.is_running_owner());
        let used = used.and_then(|samples| samples.most_milli(now, lending.interval));
        let accepted = self.accepted_milli();
        let margin = accepted.saturating_mul(lending.margin_percent) / 100;
        used.map_or(0, |used| {
            accepted.saturating_sub(used.saturating_add(margin))
        })
    }

    pub(crate) fn accepted_milli(&self) -> u64 {
        self.info.sandbox_resources().cpu_milli
    }
}

impl Agent {
    /// A cell is there: it is to measure, and to know how fast its borrowers may be.
    pub(crate) fn lend_from_cell(
        &mut self,
        now: Time,
        id: CellId,
        adopting: bool,
        out: &mut Decisions,
    ) {
        let Some(Oversubscription { interval, .. }) = self.config.oversubscription else {
            return self.end_borrowers(now, 0, out);
        };
        self.send_cell(id, CellCommand::MeasureUsage { interval }, out);
        let here =
            |task: &Task| task.cell == Some(id) && task.stage == Stage::Launched && task.borrows();
        for handle in self.tasks.select(here) {
            self.send_rate(handle, out);
        }
        if adopting {
            let window = u32::try_from(WINDOW).unwrap_or(u32::MAX);
            self.slack.learns_until = now + interval * (window + STALE_INTERVALS);
        }
        if self.slack.review_at.is_none() {
            self.await_review(now + interval);
        }
    }

    fn await_review(&mut self, at: Time) {
        self.deadlines
            .set(&mut self.slack.review_at, Some(at), Timer::Review);
    }

    /// A cell says what its guests have used.
    pub(crate) fn on_usage(&mut self, now: Time, id: CellId, at: Time, samples: Vec<CpuSample>) {
        if self.config.oversubscription.is_none() {
            return;
        }
        for sample in samples {
            let Some(handle) = self.tasks.find(&sample.key) else {
                continue;
            };
            let task = &mut self.tasks[handle];
            if task.cell == Some(id) && task.is_running_owner() {
                let samples = task.samples.get_or_insert_default();
                samples.add(now, at, sample.cpu_ns);
            }
        }
    }

    /// Sums up what is unused, tells the master, and sees to it that no more is used than there is.
    pub(crate) fn on_review(&mut self, now: Time, out: &mut Decisions) {
        self.slack.review_at = None;
        let Some(lending) = self.config.oversubscription else {
            return;
        };
        if self.is_leaving() {
            return;
        }
        if self.slack.learns_until <= now {
            let tasks = self.tasks.iter();
            let unused: u64 = tasks
                .map(|(_, task)| task.unused_milli(now, &lending))
                .sum();
            self.slack.milli = unused - unused % GRAIN_MILLI;
            self.report_slack(out);
            self.share_among_borrowers(out);
            self.end_borrowers_if_short(now, lending.patience, out);
        }
        let borrowed = |(_, task): (_, &Task)| task.is_live() && task.borrows();
        if self.tasks.iter().any(borrowed)
            || self.slack.reported_milli > 0
            || self.cells.any_listens()
        {
            self.await_review(now + lending.interval);
        }
    }

    fn report_slack(&mut self, out: &mut Decisions) {
        let (milli, reported) = (self.slack.milli, self.slack.reported_milli);
        let exhausted = milli == 0 && reported > 0;
        if self.master.is_registered() && (milli.abs_diff(reported) >= STEP_MILLI || exhausted) {
            self.slack.reported_milli = milli;
            let slack = AgentEvent::Slack { cpu_milli: milli };
            out.push(Effect::SendMaster(slack));
        }
    }

    /// A master that has taken a registration knows of no slack.
    pub(crate) fn report_slack_anew(&mut self, out: &mut Decisions) {
        self.slack.reported_milli = 0;
        self.report_slack(out);
    }

    /// What there is for those who borrow: what owners do not use, and what has no owner.
    fn room_milli(&self) -> u64 {
        let total = self.config.info.resources.flattened().cpu_milli;
        let accepted = self.used.flattened().cpu_milli;
        total.saturating_sub(accepted) + self.slack.milli
    }

    /// Lets those who borrow be as fast as they may if there is enough, else in proportion.
    fn share_among_borrowers(&mut self, out: &mut Decisions) {
        let room = self.room_milli();
        let running = |task: &Task| task.stage == Stage::Launched && task.borrows();
        let running = self.tasks.select(running);
        let borrowed = self.borrowed_milli(&running);
        for handle in running {
            let task = &mut self.tasks[handle];
            let throttle = (borrowed > room).then(|| throttled_milli(&task.info, room, borrowed));
            if task.throttle != throttle {
                task.throttle = throttle;
                self.send_rate(handle, out);
            }
        }
    }

    fn borrowed_milli(&self, tasks: &[TaskHandle]) -> u64 {
        let borrowed = tasks.iter().map(|handle| &self.tasks[*handle].info);
        borrowed
            .map(|info| info.resources.revocable_cpu_milli())
            .sum()
    }

    fn send_rate(&self, handle: TaskHandle, out: &mut Decisions) {
        let task = &self.tasks[handle];
        if let Some(cell) = task.cell {
            let key = task.key.clone();
            let cpu_milli = task.throttle.unwrap_or_else(|| task.accepted_milli());
            self.send_cell(cell, CellCommand::Throttle { key, cpu_milli }, out);
        }
    }

    fn end_borrowers_if_short(&mut self, now: Time, patience: Duration, out: &mut Decisions) {
        let room = self.room_milli();
        if self.borrowed_milli(&self.staying_borrowers()) <= room {
            self.slack.short_since = None;
            return;
        }
        let since = *self.slack.short_since.get_or_insert(now);
        if since + patience <= now {
            self.slack.short_since = None;
            self.end_borrowers(now, room, out);
            self.pump_all(now, out);
        }
    }

    /// Those who borrow and were not told to end, as they came.
    fn staying_borrowers(&self) -> Vec<TaskHandle> {
        let stays = |task: &Task| task.is_live() && task.kill.is_none() && task.borrows();
        self.tasks.select(stays)
    }

    /// Ends borrowers, the newest first, until the others have no more than `room`.
    fn end_borrowers(&mut self, now: Time, room: u64, out: &mut Decisions) {
        let mut staying = self.staying_borrowers();
        while self.borrowed_milli(&staying) > room
            && let Some(newest) = staying.pop()
        {
            let grace = self.tasks[newest].grace(self.config.kill_grace);
            self.stats.tasks_preempted += 1;
            self.kill(now, newest, grace, TaskReason::Preempted, out);
            // Others may have ended with it.
            staying.retain(|other| self.tasks.get(*other).is_some_and(Task::is_live));
        }
    }

    pub(crate) fn check_slack(&self) {
        let lends = self.config.oversubscription.is_some();
        let total = self.config.info.resources.flattened().cpu_milli;
        assert!(self.slack.milli <= total, "more unused than there is");
        assert_eq!(self.slack.milli % GRAIN_MILLI, 0, "slack in whole grains");
        assert!(
            lends || (self.slack.milli == 0 && self.slack.reported_milli == 0),
            "slack of an agent that lends nothing"
        );
        for (_, task) in self.tasks.iter() {
            let key = &task.key;
            assert!(
                task.samples.is_none() || (lends && !task.borrows()),
                "{key}: an owner is measured"
            );
            assert!(
                task.throttle.is_none_or(|milli| {
                    lends && task.borrows() && milli > 0 && milli <= task.accepted_milli()
                }),
                "{key}: a borrower is slowed down"
            );
            assert!(
                task.stage != Stage::Waiting || task.throttle.is_none(),
                "{key}: what does not run is not slowed down"
            );
        }
    }
}

/// How fast a borrower may be while there is only `room` for all that is `borrowed`: its own CPU, and its
/// part of the room.
fn throttled_milli(task: &TaskInfo, room: u64, borrowed: u64) -> u64 {
    let own = task.resources.revocable_cpu_milli();
    let part = u128::from(own) * u128::from(room) / u128::from(borrowed.max(1));
    let part = u64::try_from(part).unwrap_or(own);
    let part = (part - part % GRAIN_MILLI).max(GRAIN_MILLI).min(own);
    task.sandbox_resources().cpu_milli - own + part
}

/// Why a task was ended, for a person, where the reason alone does not say it.
pub(crate) fn why_ended(task: &Task, reason: TaskReason) -> Option<&'static str> {
    (reason == TaskReason::Preempted && task.borrows())
        .then_some("the CPU that it borrowed is needed by those who accepted it")
}
