//! A scheduler stand-in: gets its jobs done through whatever happens, the way a careful SDK would. It
//! acknowledges, reconciles, launches again under a new id what was lost, and wants no offers while it
//! has nothing to launch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nesos_master_core::ConnectionId;
use nesos_types::bundle::Digest;
use nesos_types::executor::ExecutorInfo;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, TaskId};
use nesos_types::message::{Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskInfo, TaskReason, TaskState, TaskStatus, Work};
use nesos_types::time::Time;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::reserving::{Keeper, with_volumes};

/// How often to ask for the state of tasks that nothing is heard of.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// How many times a task may be said to be unreachable before it is launched anew elsewhere.
const MAX_UNREACHABLE: u32 = 15;

/// After how much silence it gives its connection up.
const SILENCE: Duration = Duration::from_secs(75);

/// What the ids of tasks begin with that never end by themselves.
const ENDLESS: &str = "endless-";

/// How long to wait before connecting again.
const RECONNECT_AFTER: Duration = Duration::from_millis(700);

/// One try to get a job done.
#[derive(Debug)]
struct Attempt {
    job: usize,
    /// The latest state that was heard.
    state: TaskState,
    agent: Option<AgentId>,
    kill: bool,
    /// How often it was said to be unreachable, in a row.
    unreachable: u32,
    /// It ended, or was given up.
    over: bool,
}

/// A job: wants one attempt to finish.
#[derive(Clone, Copy, Debug, Default)]
struct Job {
    attempts: u32,
    done: bool,
}

/// A scheduler.
#[derive(Debug)]
pub(crate) struct SimScheduler {
    info: FrameworkInfo,
    id: Option<FrameworkId>,
    pub(crate) link: Option<ConnectionId>,
    subscribed: bool,
    suppressed: bool,
    wanted: Resources,
    jobs: Vec<Job>,
    /// Jobs to launch an attempt for.
    queue: VecDeque<usize>,
    attempts: BTreeMap<TaskId, Attempt>,
    /// Attempts that are not over.
    open: BTreeSet<TaskId>,
    pub(crate) jobs_done: usize,
    /// At which master's seat it tries next.
    pub(crate) seat: usize,
    /// When it last heard something on its connection.
    heard_at: Time,
    /// Attempts of frameworks that it does not remember.
    forgotten: usize,
    /// When to connect, or to reconcile.
    pub(crate) wake_at: Time,
    kills_per_mille: u32,
    endless_per_mille: u32,
    keeper: Keeper,
    /// How many of a thousand jobs are done in an executor, if there is room for it.
    executors_per_mille: u32,
    pub(crate) executed: usize,
    /// Takes what others do not use, where it is offered.
    borrows: bool,
    pub(crate) borrowed: usize,
    pub(crate) preempted: usize,
}

impl SimScheduler {
    pub(crate) fn new(name: String, role: Role, jobs: usize, cpu_milli: u64, now: Time) -> Self {
        let mut info = FrameworkInfo::new(name, [role]);
        // Through any fault of the simulation: what is tested is that nothing is lost.
        info.failover_timeout = Duration::from_secs(7 * 24 * 3600);
        Self {
            info,
            id: None,
            link: None,
            subscribed: false,
            suppressed: false,
            wanted: Resources::new(cpu_milli, 64 << 20),
            jobs: vec![Job::default(); jobs],
            queue: (0..jobs).collect(),
            attempts: BTreeMap::new(),
            open: BTreeSet::new(),
            jobs_done: 0,
            seat: 0,
            heard_at: now,
            forgotten: 0,
            wake_at: now,
            kills_per_mille: 0,
            endless_per_mille: 0,
            keeper: Keeper::default(),
            executors_per_mille: 0,
            executed: 0,
            borrows: false,
            borrowed: 0,
            preempted: 0,
        }
    }

    pub(crate) fn reserving(mut self, per_mille: u32) -> Self {
        self.keeper.per_mille = per_mille;
        self
    }

    pub(crate) fn executing(mut self, per_mille: u32) -> Self {
        self.executors_per_mille = per_mille;
        self
    }

    /// It takes what others do not use, from now on.
    pub(crate) fn borrow(&mut self) {
        self.borrows = true;
        for role in self.info.roles.clone() {
            self.info.offer_filters.entry(role).or_default().revocable = true;
        }
    }

    pub(crate) fn changing_its_mind(mut self, kills_per_mille: u32) -> Self {
        self.kills_per_mille = kills_per_mille;
        self
    }

    /// So many of a thousand jobs are done when their task was killed: it never ends by itself.
    pub(crate) fn killing(mut self, endless_per_mille: u32) -> Self {
        self.endless_per_mille = endless_per_mille;
        self
    }

    /// Tasks that it waits for.
    pub(crate) fn open_tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.open.iter()
    }

    pub(crate) fn id(&self) -> Option<FrameworkId> {
        self.id
    }

    /// Forgets that it was ever there, but for the jobs that are done. Answers what it was.
    pub(crate) fn forget(&mut self) -> Option<FrameworkId> {
        self.forgotten += self.attempts.len();
        self.attempts.clear();
        self.open.clear();
        let jobs = self.jobs.iter().enumerate();
        self.queue = jobs.filter(|(_, job)| !job.done).map(|(i, _)| i).collect();
        self.id.take()
    }

    /// Whether its master has been silent for so long that it is to be given up.
    pub(crate) fn has_heard_nothing(&self, now: Time) -> bool {
        now.since(self.heard_at) >= SILENCE
    }

    pub(crate) fn is_done(&self) -> bool {
        self.jobs_done == self.jobs.len() && self.open.is_empty()
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.len() + self.forgotten
    }

    /// For a person who wonders why it is not done.
    pub(crate) fn what_is_open(&self) -> String {
        let open = self.open.iter().map(|id| (id, &self.attempts[id]));
        format!(
            "{} of {} jobs done, link {:?}, subscribed: {}, suppressed: {}, queued: {:?}, open: {:?}",
            self.jobs_done,
            self.jobs.len(),
            self.link,
            self.subscribed,
            self.suppressed,
            self.queue,
            open.collect::<Vec<_>>()
        )
    }

    /// The connection stands.
    pub(crate) fn connected(&mut self, link: ConnectionId, now: Time) -> SchedulerCall {
        self.link = Some(link);
        self.heard_at = now;
        self.wake_at = now + RECONCILE_EVERY;
        self.suppressed = self.queue.is_empty();
        let roles = self.info.roles.clone();
        SchedulerCall::Subscribe {
            framework: self.id,
            info: self.info.clone(),
            suppressed: if self.suppressed { roles } else { [].into() },
        }
    }

    /// The connection is over, or could not be made.
    pub(crate) fn disconnected(&mut self, now: Time) {
        self.link = None;
        self.subscribed = false;
        self.wake_at = now + RECONNECT_AFTER;
    }

    /// Its moment has come and it is connected: asks what became of its tasks.
    pub(crate) fn woken(&mut self, now: Time) -> Vec<SchedulerCall> {
        self.wake_at = now + RECONCILE_EVERY;
        let mut calls = vec![SchedulerCall::Heartbeat];
        calls.extend(self.reconcile());
        calls.extend(self.end_endless());
        calls
    }

    /// Tasks that never end by themselves have run for long enough.
    fn end_endless(&mut self) -> Vec<SchedulerCall> {
        let mut calls = Vec::new();
        for task in self.open.iter().filter(|_| self.subscribed) {
            let attempt = self.attempts.get_mut(task).expect("it is open");
            let runs = attempt.state == TaskState::Running && is_endless(task);
            if runs && !attempt.kill {
                attempt.kill = true;
                calls.push(kill(task));
            }
        }
        calls
    }

    /// Kills that may have been lost with the last connection.
    fn kill_again(&self) -> Vec<SchedulerCall> {
        let killed = self.open.iter().filter(|task| self.attempts[*task].kill);
        killed.map(kill).collect()
    }

    fn reconcile(&self) -> Option<SchedulerCall> {
        let asked = self.open.iter();
        let tasks: Vec<_> = asked
            .map(|id| (id.clone(), self.attempts[id].agent))
            .collect();
        (self.subscribed && !tasks.is_empty()).then_some(SchedulerCall::Reconcile { tasks })
    }

    pub(crate) fn hear(
        &mut self,
        event: SchedulerEvent,
        now: Time,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SchedulerCall> {
        self.heard_at = now;
        match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                assert!(self.id.is_none_or(|id| id == framework));
                self.id = Some(framework);
                self.subscribed = true;
                let mut calls = self.kill_again();
                calls.extend(self.reconcile());
                calls
            }
            SchedulerEvent::Offers(offers) => self.use_offers(offers, rng),
            SchedulerEvent::Update(status) => self.note(status),
            // What was to be set apart had gone with its offer, or belongs to another of the role.
            SchedulerEvent::Refused(Refusal::InvalidCall { .. }) if self.keeper.per_mille > 0 => {
                Vec::new()
            }
            SchedulerEvent::Refused(refusal) => {
                panic!("{}: refused: {refusal}", self.info.name)
            }
            SchedulerEvent::Heartbeat => vec![SchedulerCall::Heartbeat],
            SchedulerEvent::Rescind(_)
            | SchedulerEvent::Message { .. }
            | SchedulerEvent::ExecutorEnded { .. }
            | SchedulerEvent::AgentLost(_)
            | SchedulerEvent::FrameworkUpdated => Vec::new(),
        }
    }

    fn use_offers(&mut self, offers: Vec<Offer>, rng: &mut ChaCha8Rng) -> Vec<SchedulerCall> {
        let mut calls = Vec::with_capacity(offers.len() + 1);
        for offer in offers {
            assert_eq!(Some(offer.framework), self.id, "an offer of another");
            assert!(self.info.roles.contains(&offer.role));
            let (id, agent) = (offer.id, offer.agent);
            if let Some(change) = self.keeper.change(&offer, &self.wanted, rng) {
                calls.push(SchedulerCall::Accept {
                    offers: vec![id],
                    operations: vec![change],
                    filters: Filters::none(),
                });
                continue;
            }
            let tasks = self.fill(offer.resources, agent, rng);
            if tasks.is_empty() {
                let (offers, filters) = (vec![id], Filters::default());
                calls.push(SchedulerCall::Decline { offers, filters });
                continue;
            }
            let changed_mind = rng.random_ratio(self.kills_per_mille, 1000);
            let regretted = tasks.first().filter(|_| changed_mind).map(|t| t.id.clone());
            calls.push(SchedulerCall::Accept {
                offers: vec![id],
                operations: vec![self.operation(tasks, rng)],
                filters: Filters::default(),
            });
            if let Some(task) = regretted {
                self.attempts.get_mut(&task).expect("just made").kill = true;
                calls.push(kill(&task));
            }
        }
        if self.queue.is_empty() && !self.suppressed {
            self.suppressed = true;
            calls.push(SchedulerCall::Suppress { roles: [].into() });
        }
        calls
    }

    /// Some launch their tasks together now and then.
    fn operation(&self, tasks: Vec<SharedTask>, rng: &mut ChaCha8Rng) -> Operation {
        if self.executors_per_mille > 0 && rng.random_ratio(1, 4) {
            Operation::LaunchGroup(tasks)
        } else {
            Operation::Launch(tasks)
        }
    }

    /// As many tasks as the offer holds.
    fn fill(
        &mut self,
        mut remaining: Resources,
        agent: AgentId,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SharedTask> {
        let mut tasks = Vec::new();
        let in_executor =
            self.executors_per_mille > 0 && rng.random_ratio(self.executors_per_mille, 1000);
        // It may run there already, but who knows; what is not needed comes back.
        let executor = in_executor.then(executor);
        let executor = executor.filter(|executor| {
            let less = remaining.checked_sub(&executor.resources);
            less.is_some_and(|less| {
                remaining = less;
                true
            })
        });
        while let Some(used) = self.choose_from(&remaining) {
            let Some(job) = self.queue.pop_front() else {
                break;
            };
            remaining = remaining.checked_sub(&used).expect("it was chosen of it");
            let borrows = used.revocable_cpu_milli() > 0;
            self.borrowed += usize::from(borrows);
            let alone = borrows || used.flattened().disk_bytes > 0;
            let mut task = self.attempt(job, agent, used);
            if let Some(executor) = executor.clone().filter(|_| !alone) {
                self.executed += 1;
                let executor = Arc::new(executor);
                task.work = Work::InExecutor {
                    executor,
                    run: None,
                };
            }
            tasks.push(task.into());
        }
        tasks
    }

    /// What a task takes: what others do not use first, where it may.
    fn choose_from(&self, offered: &Resources) -> Option<Resources> {
        let borrowed = self
            .borrows
            .then(|| self.wanted.clone().with_revocable_cpu());
        borrowed
            .and_then(|wanted| with_volumes(offered, &wanted))
            .or_else(|| with_volumes(offered, &self.wanted))
    }

    fn attempt(&mut self, job: usize, agent: AgentId, resources: Resources) -> TaskInfo {
        self.jobs[job].attempts += 1;
        let endless = job * 7919 % 1000 < self.endless_per_mille as usize;
        let kind = if endless { ENDLESS } else { "job-" };
        let id = format!("{kind}{job}-{}", self.jobs[job].attempts);
        let id: TaskId = id.parse().expect("a task id");
        let attempt = Attempt {
            job,
            state: TaskState::Staging,
            agent: Some(agent),
            kill: false,
            unreachable: 0,
            over: false,
        };
        self.attempts.insert(id.clone(), attempt);
        self.open.insert(id.clone());
        TaskInfo::new(id, Digest([7; 32]), resources)
    }

    /// A status: acknowledged first, then believed.
    fn note(&mut self, status: TaskStatus) -> Vec<SchedulerCall> {
        let mut calls = Vec::new();
        if let (Some(update), Some(agent)) = (status.update, status.agent) {
            let task = status.task.clone();
            calls.push(SchedulerCall::Acknowledge {
                agent,
                task,
                update,
            });
        }
        let name = &self.info.name;
        let attempt = self.attempts.get_mut(&status.task);
        let attempt = attempt.unwrap_or_else(|| panic!("{name}: a status of {:?}", status.task));
        if attempt.over {
            // Given up, and yet it lives: it came back with its agent.
            if status.state == TaskState::Running && status.update.is_none() {
                let (task, grace) = (status.task, None);
                calls.push(SchedulerCall::Kill { task, grace });
            }
            return calls;
        }
        assert_ne!(status.state, TaskState::Error, "{name}: {status:?}");
        attempt.state = status.state;
        if status.state != TaskState::Unreachable {
            attempt.unreachable = 0;
        }
        attempt.agent = status.agent.or(attempt.agent);
        let (job, killed) = (attempt.job, attempt.kill);
        let is_preempted = status.reason == Some(TaskReason::Preempted);
        self.preempted += usize::from(is_preempted && status.state == TaskState::Killed);
        match status.state {
            TaskState::Finished => self.end(&status.task, job, true),
            TaskState::Killed if killed => self.end(&status.task, job, true),
            TaskState::Unknown => self.end(&status.task, job, false),
            TaskState::Unreachable => self.count_unreachable(&status.task, job),
            state if state.is_terminal() => self.end(&status.task, job, false),
            _ => {}
        }
        if !self.queue.is_empty() && self.suppressed {
            self.suppressed = false;
            calls.push(SchedulerCall::Revive { roles: [].into() });
        }
        calls
    }

    /// Waits for the agent to come back, but not for ever: one that died before its id was safe on its
    /// disk comes back as another.
    fn count_unreachable(&mut self, task: &TaskId, job: usize) {
        let attempt = self.attempts.get_mut(task).expect("known");
        attempt.unreachable += 1;
        if attempt.unreachable > MAX_UNREACHABLE {
            self.end(task, job, false);
        }
    }

    fn end(&mut self, task: &TaskId, job: usize, done: bool) {
        self.attempts.get_mut(task).expect("known").over = true;
        self.open.remove(task);
        if self.jobs[job].done {
            return;
        }
        if done {
            self.jobs[job].done = true;
            self.jobs_done += 1;
        } else {
            self.queue.push_back(job);
        }
    }
}

/// Whether a task never ends by itself.
pub(crate) fn is_endless(task: &TaskId) -> bool {
    task.as_str().starts_with(ENDLESS)
}

fn kill(task: &TaskId) -> SchedulerCall {
    SchedulerCall::Kill {
        task: task.clone(),
        grace: Some(Duration::from_secs(1)),
    }
}

/// What every framework calls its executor.
fn executor() -> ExecutorInfo {
    let id = "x".parse().expect("an executor id");
    ExecutorInfo::new(id, Digest([8; 32]), Resources::new(100, 32 << 20))
}
