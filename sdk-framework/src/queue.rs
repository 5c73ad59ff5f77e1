//! A ready-made scheduler: a queue of tasks that are launched on offers as they fit.
//!
//! Good for command lines, benchmarks and batch work. It launches greedily in the order of submission
//! (a smaller task may pass a larger one that does not fit), wants no offers while it has nothing to
//! launch, and tries again what was dropped through no fault of its own. A task whose resources say so
//! ([`Resources::with_revocable_cpu`]) runs on revocable CPU, for a framework that takes offers of it
//! ([`OfferFilters::revocable`](nesos_types::framework::OfferFilters)).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nesos_types::executor::Correspondent;
use nesos_types::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use nesos_types::message::Refusal;
use nesos_types::offer::{Filters, Offer};
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;
use tokio::sync::mpsc;

use crate::delay::{DelayPolicy, Preference};
use crate::scheduler::{Actions, ExecutorEnd, Scheduler};

mod executors;
mod shapes;
#[cfg(test)]
mod tests;

use executors::{Executors, is_for_executor};
use shapes::Shapes;

/// What a queue is told.
#[derive(Clone, Debug)]
pub enum QueueInput {
    /// Launch these, in this order.
    Submit(Vec<SharedTask>),
    /// Launch these, in this order, each where it would rather run if the queue's delay allows.
    SubmitNear(Vec<(SharedTask, Preference)>),
    /// End a task, launched or not.
    Kill(TaskId, Option<Duration>),
    /// Write to an executor, or to a task with a sandbox of its own.
    Message {
        /// On which agent.
        agent: AgentId,
        /// To whom.
        to: Correspondent,
        /// At most 64 KiB.
        data: Vec<u8>,
    },
    /// End an executor's run on an agent, and its tasks with it.
    ShutdownExecutor(AgentId, ExecutorId, Option<Duration>),
    /// Keep offers while there is nothing to launch, or no longer.
    HoldOffers(bool),
    /// End the framework, tasks and all.
    Teardown,
    /// End the driver and leave the framework to its failover timeout.
    Stop,
}

/// What a queue tells.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueEvent {
    /// The framework has its id.
    Subscribed(FrameworkId),
    /// A task was sent on its way on this offer.
    Launched(TaskId, Placement),
    /// Something became of a task. Drops that are tried again are not told.
    Status(TaskStatus),
    /// An executor or a task has written.
    Message {
        /// From which agent.
        agent: AgentId,
        /// From whom.
        from: Correspondent,
        /// What.
        data: Vec<u8>,
    },
    /// An executor's run on an agent is over.
    ExecutorEnded(AgentId, ExecutorId, ExecutorEnd),
    /// The connection broke; tasks go on.
    Disconnected,
    /// The connection is back.
    Reconnected,
    /// A call was refused.
    Refused(Refusal),
}

/// Where a task was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The agent.
    pub agent: AgentId,
    /// Where the agent serves input and output.
    pub agent_url: String,
}

/// How a queue behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueConfig {
    /// Keep offers while there is nothing to launch, so that the next task starts at once. Others
    /// cannot use them meanwhile.
    pub hold_offers: bool,
    /// Tell of each launch by [`QueueEvent::Launched`].
    pub report_launches: bool,
    /// How long to wait for offers where tasks would rather run; see [`DelayPolicy`]. Zero: their
    /// preferences order what is launched, and nothing waits.
    pub delay: Duration,
}

/// How often a task that was dropped through no fault of its own is tried again.
const MAX_ATTEMPTS: u32 = 10;

/// The most tasks in one call: keeps a frame well below its limit.
const MAX_LAUNCH: usize = 4096;

/// What is left over fits no task that waits: it may stay away until something changes, for any
/// resource that is freed defeats the filter, and a new kind of task clears it.
const LONG: Filters = Filters::refuse_for(Duration::from_secs(3600));

/// A queue of tasks.
#[derive(Debug)]
pub struct TaskQueue {
    config: QueueConfig,
    waiting: Shapes,
    /// Tasks with preferences, oldest first. Few beside the others: each offer is held against each.
    near: Vec<(SharedTask, Preference)>,
    delay: DelayPolicy,
    executors: Executors,
    launched: HashMap<TaskId, Launched>,
    held: Vec<Offer>,
    events: mpsc::UnboundedSender<QueueEvent>,
    /// Whether the master was told that no offers are wanted.
    suppressed: bool,
    /// Whether an offer was turned down for long since the filters were last cleared.
    filtered: bool,
    connected: bool,
}

/// What is to be launched on an offer.
#[derive(Debug, Default)]
struct Chosen {
    tasks: Vec<Pick>,
    /// For what is left over; `None` if nothing that waits has a preference.
    filters: Option<Filters>,
}

/// A task, and what it uses of an offer.
#[derive(Debug)]
struct Pick {
    task: SharedTask,
    preference: Option<Preference>,
    used: Resources,
}

impl Pick {
    /// The task as it is launched: its resources say what sets each part apart.
    fn placed(&self) -> SharedTask {
        if self.task.resources == self.used {
            return SharedTask::clone(&self.task);
        }
        SharedTask::new(TaskInfo {
            resources: self.used.clone(),
            ..TaskInfo::clone(&self.task)
        })
    }
}

#[derive(Debug)]
struct Launched {
    task: SharedTask,
    preference: Option<Preference>,
    attempts: u32,
}

impl TaskQueue {
    /// An empty queue, and where it tells what happens.
    #[must_use]
    pub fn new(config: QueueConfig) -> (Self, mpsc::UnboundedReceiver<QueueEvent>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let queue = Self {
            config,
            waiting: Shapes::default(),
            near: Vec::new(),
            delay: DelayPolicy::new(config.delay),
            executors: Executors::default(),
            launched: HashMap::new(),
            held: Vec::new(),
            events,
            suppressed: false,
            filtered: false,
            connected: false,
        };
        (queue, receiver)
    }

    /// Tasks to launch as soon as there are offers; for queues that are filled before they run.
    #[must_use]
    pub fn with_tasks(mut self, tasks: impl IntoIterator<Item = SharedTask>) -> Self {
        self.enqueue(tasks);
        self
    }

    /// Takes tasks in; answers whether a new kind is among them.
    fn enqueue(&mut self, tasks: impl IntoIterator<Item = SharedTask>) -> bool {
        let tasks = tasks.into_iter();
        let (inside, own): (Vec<_>, Vec<_>) = tasks.partition(is_for_executor);
        let new_kind = !inside.is_empty();
        inside
            .into_iter()
            .for_each(|task| self.executors.push(task));
        self.waiting.extend(own) || new_kind
    }

    /// How many tasks wait for an offer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.near.len() + self.executors.len()
    }

    /// How many tasks were launched and have not ended.
    #[must_use]
    pub fn launched(&self) -> usize {
        self.launched.len()
    }

    /// Whoever listened may have gone: then nobody is told.
    fn tell(&self, event: QueueEvent) {
        let _ = self.events.send(event);
    }

    /// Launches what fits on the offers that are held, and gives back what is of no use.
    fn use_offers(&mut self, actions: &mut Actions) {
        for offer in std::mem::take(&mut self.held) {
            let Chosen { tasks, filters } = self.choose(actions.now(), &offer);
            if !tasks.is_empty() {
                self.launch(actions, &offer, tasks, filters);
            } else if self.config.hold_offers {
                self.held.push(offer);
            } else {
                self.filtered = true;
                actions.decline(vec![offer.id], filters.unwrap_or(LONG));
            }
        }
        self.suppress_if_idle(actions);
    }

    /// Takes what is to be launched on an offer: tasks with preferences first.
    fn choose(&mut self, now: Time, offer: &Offer) -> Chosen {
        let mut chosen = Chosen::default();
        let mut rest = None;
        if !self.near.is_empty() {
            let waiting = self.near.iter();
            let waiting = waiting.map(|(task, preference)| (&task.resources, preference));
            let choice = self.delay.choose(now, offer, waiting);
            let mut left = offer.resources.clone();
            let places: HashSet<usize> = choice.tasks.into_iter().collect();
            let mut place = 0..;
            let taken = self
                .near
                .extract_if(.., |_| place.next().is_some_and(|at| places.contains(&at)));
            chosen.tasks = taken
                .map(|(task, preference)| {
                    let used = task.choose_from(&left).unwrap_or_default();
                    left = left.checked_sub(&used).unwrap_or_default();
                    Pick {
                        task,
                        preference: Some(preference),
                        used,
                    }
                })
                .collect();
            chosen.filters = (!self.near.is_empty()).then_some(choice.filters);
            rest = Some(left);
        }
        if self.executors.len() > 0 {
            let mut left = rest.unwrap_or_else(|| offer.resources.clone());
            let inside = self
                .executors
                .take_fitting(offer.agent, &mut left, MAX_LAUNCH);
            let inside = inside.into_iter().map(|(task, used)| Pick {
                task,
                preference: None,
                used,
            });
            chosen.tasks.extend(inside);
            rest = Some(left);
        }
        let rest = rest.as_ref().unwrap_or(&offer.resources);
        let most = MAX_LAUNCH.min(offer.free_sandboxes as usize);
        let others = self
            .waiting
            .take_fitting(rest, most.saturating_sub(chosen.tasks.len()));
        let others = others.into_iter().map(|(task, used)| Pick {
            task,
            preference: None,
            used,
        });
        chosen.tasks.extend(others);
        chosen
    }

    fn launch(
        &mut self,
        actions: &mut Actions,
        offer: &Offer,
        chosen: Vec<Pick>,
        filters: Option<Filters>,
    ) {
        let mut tasks = Vec::with_capacity(chosen.len());
        for pick in chosen {
            let placed = pick.placed();
            let Pick {
                task, preference, ..
            } = pick;
            let attempts = self.launched.get(&task.id).map_or(0, |one| one.attempts) + 1;
            let launched = Launched {
                task,
                preference,
                attempts,
            };
            self.launched.insert(placed.id.clone(), launched);
            if self.config.report_launches {
                let placement = Placement {
                    agent: offer.agent,
                    agent_url: offer.agent_info.url.clone(),
                };
                self.tell(QueueEvent::Launched(placed.id.clone(), placement));
            }
            tasks.push(placed);
        }
        let more_to_come = tasks.len() >= MAX_LAUNCH || self.config.hold_offers;
        self.filtered |= !more_to_come;
        let filters = if more_to_come {
            Filters::none()
        } else {
            filters.unwrap_or(LONG)
        };
        actions.launch(offer.id, tasks, filters);
    }

    fn suppress_if_idle(&mut self, actions: &mut Actions) {
        let idle = self.waiting() == 0 && !self.config.hold_offers;
        if idle && self.connected && !self.suppressed {
            self.suppressed = true;
            actions.suppress();
        }
    }

    fn submit(&mut self, actions: &mut Actions, tasks: Vec<SharedTask>) {
        let new_kind = self.enqueue(tasks);
        self.submitted(actions, new_kind);
    }

    /// Uses what is at hand for tasks that have come, and asks for more.
    fn submitted(&mut self, actions: &mut Actions, new_kind: bool) {
        self.use_offers(actions);
        // With a new kind of task waiting, filters that were set without it are too wide.
        if self.suppressed || new_kind {
            self.want_offers(actions);
        }
    }

    fn want_offers(&mut self, actions: &mut Actions) {
        if self.waiting() == 0 || !(self.suppressed || self.filtered) {
            return;
        }
        self.suppressed = false;
        self.filtered = false;
        actions.revive();
    }

    fn kill(&mut self, actions: &mut Actions, task: TaskId, grace: Option<Duration>) {
        let near = self.near.iter().position(|(waiting, _)| waiting.id == task);
        let waited = near.map(|at| self.near.remove(at)).is_some()
            || self.waiting.remove(&task)
            || self.executors.remove(&task);
        if !waited {
            actions.kill(task, grace);
            return;
        }
        self.launched.remove(&task);
        let status = TaskStatus::new(task, TaskState::Killed, StatusSource::Master, Time::ZERO)
            .because(
                TaskReason::KilledDuringLaunch,
                "killed while it waited for an offer",
            );
        self.tell(QueueEvent::Status(status));
    }

    /// Whether the task goes back into the queue.
    fn retry(&mut self, status: &TaskStatus) -> bool {
        let Some(launched) = self.launched.get(&status.task) else {
            return false;
        };
        if !is_worth_retrying(status) || launched.attempts >= MAX_ATTEMPTS {
            return false;
        }
        let task = launched.task.clone();
        if let Some(agent) = status.agent {
            self.executors.ended_under(agent, &task);
        }
        match launched.preference.clone() {
            Some(preference) => self.near.push((task, preference)),
            None => {
                self.enqueue([task]);
            }
        }
        true
    }
}

/// Whether a task was dropped for a cause that another offer does not have.
fn is_worth_retrying(status: &TaskStatus) -> bool {
    let passing = matches!(
        status.reason,
        Some(
            TaskReason::InvalidOffers
                | TaskReason::FrameworkDisconnected
                | TaskReason::AgentDisconnected
                | TaskReason::AgentRemoved
                | TaskReason::AgentUnknown
                | TaskReason::ResourcesUnknown
                | TaskReason::ExecutorTerminated
        )
    );
    status.state == TaskState::Dropped && passing
}

impl Scheduler for TaskQueue {
    type Input = QueueInput;

    fn subscribed(&mut self, actions: &mut Actions, framework: FrameworkId) {
        self.connected = true;
        self.tell(QueueEvent::Subscribed(framework));
        self.suppress_if_idle(actions);
    }

    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
        self.held.extend(offers);
        self.use_offers(actions);
    }

    fn rescind(&mut self, _: &mut Actions, offer: OfferId) {
        self.held.retain(|held| held.id != offer);
    }

    fn update(&mut self, actions: &mut Actions, status: TaskStatus) {
        if self.retry(&status) {
            self.use_offers(actions);
            self.want_offers(actions);
            return;
        }
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            self.launched.remove(&status.task);
        }
        self.tell(QueueEvent::Status(status));
    }

    fn message(&mut self, _: &mut Actions, agent: AgentId, from: Correspondent, data: Vec<u8>) {
        self.tell(QueueEvent::Message { agent, from, data });
    }

    fn executor_ended(
        &mut self,
        _: &mut Actions,
        agent: AgentId,
        executor: ExecutorId,
        end: ExecutorEnd,
    ) {
        self.executors.ended(agent, executor.clone());
        self.tell(QueueEvent::ExecutorEnded(agent, executor, end));
    }

    fn refused(&mut self, _: &mut Actions, refusal: Refusal) {
        self.tell(QueueEvent::Refused(refusal));
    }

    fn disconnected(&mut self, _: &mut Actions) {
        self.connected = false;
        self.filtered = false;
        self.held.clear();
        self.executors.forget();
        self.tell(QueueEvent::Disconnected);
    }

    fn reconnected(&mut self, actions: &mut Actions) {
        self.connected = true;
        self.tell(QueueEvent::Reconnected);
        self.want_offers(actions);
    }

    fn input(&mut self, actions: &mut Actions, input: QueueInput) {
        match input {
            QueueInput::Submit(tasks) => self.submit(actions, tasks),
            QueueInput::SubmitNear(tasks) => {
                // Where a task's volumes are is no preference; and an executor runs where it can.
                let (bound, near): (Vec<_>, Vec<_>) = tasks
                    .into_iter()
                    .partition(|(task, _)| !task.volumes.is_empty() || is_for_executor(task));
                self.near.extend(near);
                self.enqueue(bound.into_iter().map(|(task, _)| task));
                self.submitted(actions, true);
            }
            QueueInput::Kill(task, grace) => self.kill(actions, task, grace),
            QueueInput::Message { agent, to, data } => {
                actions.message(agent, to, data);
            }
            QueueInput::ShutdownExecutor(agent, executor, grace) => {
                actions.shutdown_executor(agent, executor, grace);
            }
            QueueInput::HoldOffers(hold) => {
                self.config.hold_offers = hold;
                self.use_offers(actions);
                if hold && self.suppressed {
                    self.suppressed = false;
                    actions.revive();
                }
            }
            QueueInput::Teardown => {
                actions.teardown();
            }
            QueueInput::Stop => {
                actions.stop();
            }
        }
    }
}
