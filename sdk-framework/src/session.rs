//! One framework's conversation with the master, as a pure state machine: when to connect, subscribe,
//! acknowledge, reconcile, send a heartbeat, give up. It does not know sockets, tasks or clocks; the
//! [`Driver`](crate::Driver) performs what it decides.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use nesos_types::executor::Correspondent;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId, UpdateId};
use nesos_types::message::{Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Offer, Operation};
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::backoff::Backoff;
use crate::reconciler::{ReconcilePolicy, Reconciler};
use crate::scheduler::ExecutorEnd;
use crate::seen::Seen;

mod profile;
#[cfg(test)]
mod tests;

use profile::{Profile, Stage};

/// Who acknowledges updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// The driver, when the scheduler's callback has returned.
    #[default]
    Automatic,
    /// The scheduler, through [`Actions::acknowledge`](crate::Actions::acknowledge), for example once
    /// it has made the status durable.
    Explicit,
}

/// The constants of a conversation.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What the framework says of itself.
    pub info: FrameworkInfo,
    /// The id of a framework to take over; `None` for a new one.
    pub framework: Option<FrameworkId>,
    /// Roles in which it wants no offers to begin with.
    pub suppressed: BTreeSet<Role>,
    /// Who acknowledges updates.
    pub acknowledge: Acknowledge,
    /// How often to ask for the state of tasks.
    pub reconcile: ReconcilePolicy,
    /// The shortest wait before connecting again. Default: 100 ms, doubled each time.
    pub reconnect_min: Duration,
    /// The longest such wait. Default: 15 s.
    pub reconnect_max: Duration,
    /// How long to wait for an answer to the subscription. Default: 10 s.
    pub subscribe_timeout: Duration,
    /// After how many heartbeats of silence the connection is dead. Default: 5.
    pub missed_heartbeats: u32,
    /// How long to go on trying before the first subscription was taken; `None` is for ever.
    pub patience: Option<Duration>,
}

impl SessionConfig {
    /// A new framework, everything else at its default.
    #[must_use]
    pub fn new(info: FrameworkInfo) -> Self {
        Self {
            info,
            framework: None,
            suppressed: BTreeSet::new(),
            acknowledge: Acknowledge::default(),
            reconcile: ReconcilePolicy::default(),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(15),
            subscribe_timeout: Duration::from_secs(10),
            missed_heartbeats: 5,
            patience: None,
        }
    }
}

/// What the driver tells the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The master said something.
    Heard(SchedulerEvent),
    /// The stream could not be opened, or broke. The text says how.
    Lost(String),
    /// The scheduler wants something done.
    Act(SchedulerCall),
    /// [`Session::next_deadline`] has come.
    Tick,
}

/// What the session decides. To be performed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a stream whose first call is this subscription.
    Connect(SchedulerCall),
    /// Forget the stream.
    Close,
    /// Send a call on the stream.
    Send(SchedulerCall),
    /// Tell the scheduler.
    Deliver(Delivery),
    /// It is over. Nothing follows.
    End(End),
}

/// What a scheduler is told.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the method of Scheduler of that name")]
pub enum Delivery {
    Subscribed(FrameworkId),
    Reconnected,
    Disconnected,
    Offers(Vec<Offer>),
    Rescind(OfferId),
    Update(TaskStatus),
    AgentLost(AgentId),
    Message {
        agent: AgentId,
        from: Correspondent,
        data: Vec<u8>,
    },
    ExecutorEnded {
        agent: AgentId,
        executor: ExecutorId,
        end: ExecutorEnd,
    },
    Refused(Refusal),
}

/// How a conversation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The scheduler tore the framework down.
    TornDown,
    /// The master will not have the framework.
    Refused(Refusal),
    /// No master took the first subscription in time. The text is the last cause.
    Unreachable(String),
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Connects at this time.
    Waiting(Time),
    /// Opening the stream and subscribing; gives up at this time.
    Subscribing(Time),
    Subscribed,
    /// The framework is being torn down; waits for the end of the stream until this time.
    Leaving(Time),
    Over,
}

/// How many tasks one reconciliation call asks for.
const RECONCILE_CHUNK: usize = 10_000;

/// How long the last attempt lasts when patience has run out.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);

/// How long to wait for the master to close the stream of a framework that was torn down.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What to assume of heartbeats until the master has said.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);

/// One framework's conversation with the master.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    random: StdRng,
    link: Link,
    backoff: Backoff,
    framework: Option<FrameworkId>,
    ever_subscribed: bool,
    give_up_at: Option<Time>,
    heartbeat: Duration,
    last_heard: Time,
    last_said: Time,
    profile: Profile,
    offers: HashMap<OfferId, AgentId>,
    live: HashMap<TaskId, Option<AgentId>>,
    kills: Vec<(TaskId, Option<Duration>)>,
    teardown_wanted: bool,
    seen: Seen,
    unacknowledged: HashSet<UpdateId>,
    reconciler: Reconciler,
}

impl Session {
    /// A conversation that begins with the first [`Input::Tick`].
    #[must_use]
    pub fn new(config: SessionConfig, seed: u64, now: Time) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            link: Link::Waiting(now),
            backoff: Backoff::new(config.reconnect_min, config.reconnect_max),
            framework: config.framework,
            ever_subscribed: false,
            give_up_at: config.patience.map(|patience| now + patience),
            heartbeat: DEFAULT_HEARTBEAT,
            last_heard: now,
            last_said: now,
            profile: Profile::new(config.info.clone(), config.suppressed.clone()),
            offers: HashMap::new(),
            live: HashMap::new(),
            kills: Vec::new(),
            teardown_wanted: false,
            seen: Seen::default(),
            unacknowledged: HashSet::new(),
            reconciler: Reconciler::new(config.reconcile, now),
            config,
        }
    }

    /// When to hand in a [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        match self.link {
            Link::Waiting(at) | Link::Subscribing(at) | Link::Leaving(at) => at,
            Link::Subscribed => (self.last_said + self.heartbeat)
                .min(self.silence_limit())
                .min(self.reconciler.next_deadline()),
            Link::Over => Time::MAX,
        }
    }

    /// Deals with what happened and appends what is to be done.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        if self.link == Link::Over {
            return;
        }
        match input {
            Input::Heard(event) => self.on_event(now, event, out),
            Input::Lost(why) => self.on_lost(now, why, out),
            Input::Act(call) => self.on_call(now, call, out),
            Input::Tick => self.on_tick(now, out),
        }
    }

    fn silence_limit(&self) -> Time {
        self.last_heard + self.heartbeat.saturating_mul(self.config.missed_heartbeats)
    }

    fn on_tick(&mut self, now: Time, out: &mut Vec<Output>) {
        match self.link {
            Link::Waiting(at) if now >= at => self.connect(now, out),
            Link::Subscribing(at) if now >= at => {
                self.drop_link(now, "no answer to the subscription", out);
            }
            Link::Leaving(at) if now >= at => self.end(End::TornDown, out),
            Link::Subscribed if now >= self.silence_limit() => {
                self.drop_link(now, "the master has fallen silent", out);
            }
            Link::Subscribed => self.keep_up(now, out),
            Link::Waiting(_) | Link::Subscribing(_) | Link::Leaving(_) | Link::Over => {}
        }
    }

    fn connect(&mut self, now: Time, out: &mut Vec<Output>) {
        let timeout = now + self.config.subscribe_timeout;
        let patience = self
            .give_up_at
            .map_or(Time::MAX, |at| at.max(now + LAST_ATTEMPT));
        self.link = Link::Subscribing(timeout.min(patience));
        self.last_said = now;
        out.push(Output::Connect(self.profile.subscription(self.framework)));
    }

    fn drop_link(&mut self, now: Time, why: &str, out: &mut Vec<Output>) {
        out.push(Output::Close);
        self.on_lost(now, why.to_owned(), out);
    }

    fn on_lost(&mut self, now: Time, why: String, out: &mut Vec<Output>) {
        match self.link {
            Link::Leaving(_) => return self.end(End::TornDown, out),
            Link::Subscribing(_) if self.teardown_wanted && self.framework.is_none() => {
                return self.end(End::TornDown, out);
            }
            Link::Subscribed => {
                self.offers.clear();
                out.push(Output::Deliver(Delivery::Disconnected));
            }
            Link::Waiting(_) | Link::Subscribing(_) | Link::Over => {}
        }
        if self.give_up_at.is_some_and(|at| now >= at) {
            return self.end(End::Unreachable(why), out);
        }
        let again_at = now + self.backoff.delay(&mut self.random);
        self.link = Link::Waiting(self.give_up_at.map_or(again_at, |at| again_at.min(at)));
    }

    fn end(&mut self, end: End, out: &mut Vec<Output>) {
        self.link = Link::Over;
        out.push(Output::End(end));
    }

    /// Says what is due: a heartbeat, a reconciliation.
    fn keep_up(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.reconciler.is_due(now) {
            self.reconcile_all(now, out);
        } else if let Some(missing) = self.reconciler.repeat(now) {
            let tasks = missing
                .iter()
                .map(|task| (task.clone(), self.live.get(task).copied().flatten()))
                .collect();
            self.ask(now, tasks, out);
        }
        if now >= self.last_said + self.heartbeat {
            self.send(now, SchedulerCall::Heartbeat, out);
        }
    }

    fn reconcile_all(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut tasks: Vec<_> = self
            .live
            .iter()
            .map(|(task, agent)| (task.clone(), *agent))
            .collect();
        tasks.sort_unstable();
        self.reconciler
            .begin(now, tasks.iter().map(|(task, _)| task.clone()));
        self.ask(now, tasks, out);
    }

    fn ask(&mut self, now: Time, tasks: Vec<(TaskId, Option<AgentId>)>, out: &mut Vec<Output>) {
        for chunk in tasks.chunks(RECONCILE_CHUNK) {
            let tasks = chunk.to_vec();
            self.send(now, SchedulerCall::Reconcile { tasks }, out);
        }
    }

    fn send(&mut self, now: Time, call: SchedulerCall, out: &mut Vec<Output>) {
        self.last_said = now;
        out.push(Output::Send(call));
    }

    fn send_all(&mut self, now: Time, calls: Vec<SchedulerCall>, out: &mut Vec<Output>) {
        for call in calls {
            self.send(now, call, out);
        }
    }
}

/// What the master says.
impl Session {
    fn on_event(&mut self, now: Time, event: SchedulerEvent, out: &mut Vec<Output>) {
        self.last_heard = now;
        match event {
            SchedulerEvent::Subscribed {
                framework,
                heartbeat,
            } => self.on_subscribed(now, framework, heartbeat, out),
            SchedulerEvent::Refused(refusal) => self.on_refused(now, refusal, out),
            SchedulerEvent::Heartbeat => {}
            _ if self.link != Link::Subscribed => {}
            SchedulerEvent::Offers(offers) => {
                self.offers
                    .extend(offers.iter().map(|offer| (offer.id, offer.agent)));
                out.push(Output::Deliver(Delivery::Offers(offers)));
            }
            SchedulerEvent::Rescind(offer) => {
                self.offers.remove(&offer);
                out.push(Output::Deliver(Delivery::Rescind(offer)));
            }
            SchedulerEvent::Update(status) => self.on_update(now, status, out),
            SchedulerEvent::AgentLost(agent) => {
                out.push(Output::Deliver(Delivery::AgentLost(agent)));
            }
            SchedulerEvent::Message { agent, from, data } => {
                out.push(Output::Deliver(Delivery::Message { agent, from, data }));
            }
            SchedulerEvent::ExecutorEnded {
                agent,
                executor,
                state,
                reason,
                message,
            } => out.push(Output::Deliver(Delivery::ExecutorEnded {
                agent,
                executor,
                end: ExecutorEnd {
                    state,
                    reason,
                    message,
                },
            })),
            SchedulerEvent::FrameworkUpdated => {
                let next = self.profile.on_answer(true);
                self.send_all(now, next, out);
            }
        }
    }

    fn on_subscribed(
        &mut self,
        now: Time,
        framework: FrameworkId,
        heartbeat: Duration,
        out: &mut Vec<Output>,
    ) {
        if !matches!(self.link, Link::Subscribing(_)) {
            return;
        }
        self.link = Link::Subscribed;
        self.framework = Some(framework);
        self.heartbeat = if heartbeat.is_zero() {
            DEFAULT_HEARTBEAT
        } else {
            heartbeat
        };
        self.backoff.reset();
        self.give_up_at = None;
        let again = std::mem::replace(&mut self.ever_subscribed, true);
        if self.teardown_wanted {
            return self.leave(now, out);
        }
        let said_anew = self.profile.resume();
        self.send_all(now, said_anew, out);
        for (task, grace) in std::mem::take(&mut self.kills) {
            self.send(now, SchedulerCall::Kill { task, grace }, out);
        }
        if again {
            self.reconcile_all(now, out);
            out.push(Output::Deliver(Delivery::Reconnected));
            return;
        }
        out.push(Output::Deliver(Delivery::Subscribed(framework)));
        if self.config.framework.is_some() {
            // A process before this one launched tasks that this one has never heard of.
            self.send(now, SchedulerCall::Reconcile { tasks: Vec::new() }, out);
        }
    }

    fn on_refused(&mut self, now: Time, refusal: Refusal, out: &mut Vec<Output>) {
        let is_answer =
            matches!(&refusal, Refusal::InvalidCall { call, .. } if call == profile::UPDATE);
        if is_answer && self.link == Link::Subscribed {
            let next = self.profile.on_answer(false);
            self.send_all(now, next, out);
        }
        match refusal {
            Refusal::FrameworkRemoved { .. } if self.teardown_wanted => {
                self.end(End::TornDown, out);
            }
            refusal if refusal.is_permanent() => self.end(End::Refused(refusal), out),
            // The stream ends behind other final refusals, and then it is opened anew.
            refusal => out.push(Output::Deliver(Delivery::Refused(refusal))),
        }
    }

    fn on_update(&mut self, now: Time, status: TaskStatus, out: &mut Vec<Output>) {
        self.reconciler.on_answer(&status.task);
        self.note_state(&status);
        let acknowledgement = acknowledgement(&status);
        let Some(update) = status.update else {
            return out.push(Output::Deliver(Delivery::Update(status)));
        };
        let is_new = self.seen.is_new(update);
        if is_new {
            out.push(Output::Deliver(Delivery::Update(status)));
        }
        let dealt_with = match self.config.acknowledge {
            Acknowledge::Automatic => true,
            Acknowledge::Explicit if is_new => !self.unacknowledged.insert(update),
            Acknowledge::Explicit => !self.unacknowledged.contains(&update),
        };
        if let Some(call) = acknowledgement.filter(|_| dealt_with) {
            self.send(now, call, out);
        }
    }

    /// Keeps the list of tasks to ask for.
    fn note_state(&mut self, status: &TaskStatus) {
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            self.live.remove(&status.task);
        } else if let Some(agent) = self.live.get_mut(&status.task) {
            *agent = status.agent.or(*agent);
        } else {
            self.live.insert(status.task.clone(), status.agent);
        }
    }
}

fn acknowledgement(status: &TaskStatus) -> Option<SchedulerCall> {
    Some(SchedulerCall::Acknowledge {
        agent: status.agent?,
        task: status.task.clone(),
        update: status.update?,
    })
}

/// What the scheduler wants.
impl Session {
    fn on_call(&mut self, now: Time, call: SchedulerCall, out: &mut Vec<Output>) {
        self.note_call(&call);
        match (self.link, call) {
            (Link::Leaving(_) | Link::Over, _) => {}
            (Link::Subscribed, SchedulerCall::Teardown) => self.leave(now, out),
            (link, call) if profile::is_of(&call) => {
                let stage = match link {
                    Link::Subscribed => Stage::Subscribed,
                    Link::Subscribing(_) => Stage::Subscribing,
                    _ => Stage::Away,
                };
                let calls = self.profile.change(call, stage);
                self.send_all(now, calls, out);
            }
            (Link::Subscribed, call) => {
                if let SchedulerCall::Accept {
                    offers, operations, ..
                } = &call
                {
                    self.note_launch(offers, operations);
                }
                self.send(now, call, out);
            }
            (Link::Waiting(_) | Link::Subscribing(_), call) => self.on_call_offline(now, call, out),
        }
    }

    /// Whatever has to be remembered of a call whether it can be sent or not.
    fn note_call(&mut self, call: &SchedulerCall) {
        match call {
            SchedulerCall::Acknowledge { update, .. } => {
                self.unacknowledged.remove(update);
            }
            SchedulerCall::Decline { offers, .. } => {
                for offer in offers {
                    self.offers.remove(offer);
                }
            }
            SchedulerCall::Teardown => self.teardown_wanted = true,
            _ => {}
        }
    }

    fn note_launch(&mut self, offers: &[OfferId], operations: &[Operation]) {
        let mut agent = None;
        for offer in offers {
            agent = self.offers.remove(offer).or(agent);
        }
        for task in operations.iter().flat_map(launched) {
            self.live.insert(task.id.clone(), agent);
            self.profile.on_launch(&task.resources);
        }
    }

    /// Offers are void while there is no connection, updates come again, and so only launches have to be
    /// answered and kills to be kept.
    fn on_call_offline(&mut self, now: Time, call: SchedulerCall, out: &mut Vec<Output>) {
        match call {
            SchedulerCall::Accept { operations, .. } => {
                for task in operations.iter().flat_map(launched) {
                    let status = TaskStatus::new(
                        task.id.clone(),
                        TaskState::Dropped,
                        StatusSource::Master,
                        now,
                    )
                    .because(
                        TaskReason::FrameworkDisconnected,
                        "the connection to the master was lost; the offer is void",
                    );
                    out.push(Output::Deliver(Delivery::Update(status)));
                }
            }
            SchedulerCall::Kill { task, grace } => self.kills.push((task, grace)),
            SchedulerCall::Teardown if self.is_unknown() => self.end(End::TornDown, out),
            _ => {}
        }
    }

    /// Whether no master can know of the framework, so that there is nothing to tear down.
    fn is_unknown(&self) -> bool {
        self.framework.is_none() && matches!(self.link, Link::Waiting(_))
    }

    fn leave(&mut self, now: Time, out: &mut Vec<Output>) {
        self.send(now, SchedulerCall::Teardown, out);
        self.link = Link::Leaving(now + LEAVE_TIMEOUT);
    }
}

fn launched(operation: &Operation) -> &[nesos_types::task::SharedTask] {
    match operation {
        Operation::Launch(tasks) | Operation::LaunchGroup(tasks) => tasks,
        Operation::Reservation(_) => &[],
    }
}
