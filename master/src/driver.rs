//! The one task that owns the core.
//!
//! Take a batch of what the doors heard, let the core decide on each, make the records of the batch
//! durable in one commit, and only then perform the effects. Batches grow by themselves while the
//! driver is busy, so nothing here waits for more to come; a batch without records does not wait for
//! the disk either.

use std::sync::Arc;
use std::time::Instant;

use nesos_master_core::snapshot::PolicyView;
use nesos_master_core::{
    Decisions, Effect, Event, Explanation, Happening, Master as Core, OperatorReply, RequestId,
    Snapshot,
};
use nesos_types::ids::FrameworkId;
use nesos_types::message::{AgentCommand, SchedulerEvent};
use nesos_types::resources::Resources;
use nesos_types::time::Time;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::batch::Batch;
use crate::store::fence::Fence;
use crate::store::{Store, StoreError};

pub(crate) mod input;
pub(crate) mod outbox;
mod peers;
mod timer;
pub(crate) mod watch;

use input::Input;
use outbox::End;
use peers::Peers;
use timer::Timer;
use watch::{Watchers, Watching};

/// How many inputs make a batch at most: a bound on how long a reply may wait for its batch.
pub(crate) const BATCH: usize = 256;

/// Why the driver gave up.
#[derive(Debug, Error)]
pub(crate) enum DriverError {
    /// A batch could not be made durable. Its effects were not performed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that writes to the store was lost.
    #[error("the registry's writer was lost")]
    Writer(#[source] JoinError),
}

/// Owns the core, and everything by which its effects leave.
pub(crate) struct Driver<S> {
    core: Core,
    clock: Clock,
    /// Out while a commit is under way.
    store: Option<S>,
    /// What is asked before the effects of a batch are performed.
    fence: Fence,
    inputs: mpsc::Receiver<Input>,
    schedulers: Peers<SchedulerEvent>,
    agents: Peers<AgentCommand>,
    watchers: Watchers,
    replies: Vec<oneshot::Sender<OperatorReply>>,
    readers: Vec<Reader>,
    decisions: Decisions,
    /// The records of the batch so far.
    records: Batch,
}

/// Somebody who reads the core's state. Served at the end of a batch, so that what was read is durable.
enum Reader {
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    Watch(oneshot::Sender<Watching>),
    Explain(FrameworkId, Option<Resources>, oneshot::Sender<Explanation>),
    Policy(oneshot::Sender<PolicyView>),
}

impl<S: Store> Driver<S> {
    pub(crate) fn new(core: Core, clock: Clock, store: S, inputs: mpsc::Receiver<Input>) -> Self {
        Self {
            core,
            clock,
            fence: store.fence(),
            store: Some(store),
            inputs,
            schedulers: Peers::new(),
            agents: Peers::new(),
            watchers: Watchers::new(),
            replies: Vec::new(),
            readers: Vec::new(),
            decisions: Decisions::default(),
            records: Batch::default(),
        }
    }

    /// Drives the core until it is told to stop or another master leads. What was heard until then is still
    /// dealt with. That the driver is dropped then is the goodbye.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), DriverError> {
        let ended = self.drive(stop).await;
        if let Err(DriverError::Store(StoreError::Deposed)) = &ended {
            self.schedulers.close_all(End::Deposed);
            self.agents.close_all(End::Deposed);
        }
        ended
    }

    async fn drive(&mut self, stop: CancellationToken) -> Result<(), DriverError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut timer = Timer::new();
        let mut stopping = std::pin::pin!(stop.cancelled());
        let fence = self.fence.clone();
        let mut deposed = std::pin::pin!(fence.fallen());
        loop {
            timer.arm(self.next_instant());
            tokio::select! {
                biased;
                () = &mut deposed => return Err(StoreError::Deposed.into()),
                () = &mut stopping => break,
                heard = self.inputs.recv_many(&mut batch, BATCH) => if heard == 0 { break },
                () = timer.due() => {}
            }
            self.turn(&mut batch).await?;
        }
        self.finish(&mut batch).await
    }

    /// When the core wants to be woken; `None` if never.
    fn next_instant(&self) -> Option<Instant> {
        if self.schedulers.has_cut() || self.agents.has_cut() {
            return self.clock.instant_of(Time::ZERO);
        }
        self.core
            .next_deadline()
            .and_then(|deadline| self.clock.instant_of(deadline))
    }

    /// Deals with one batch from end to end.
    async fn turn(&mut self, batch: &mut Vec<Input>) -> Result<(), DriverError> {
        let now = self.clock.now();
        self.report_cut(now);
        for input in batch.drain(..) {
            self.take(now, input);
        }
        if self.core.next_deadline().is_some_and(|due| due <= now) {
            self.handle(now, Event::Tick);
        }
        self.commit().await?;
        self.check_fence()?;
        self.perform();
        self.schedulers.flush();
        self.agents.flush();
        self.watchers.flush(now);
        self.answer_readers();
        Ok(())
    }

    /// Deals with what is queued already.
    async fn finish(&mut self, batch: &mut Vec<Input>) -> Result<(), DriverError> {
        let queued = self.inputs.len();
        self.inputs.recv_many(batch, queued).await;
        self.turn(batch).await
    }

    fn handle(&mut self, now: Time, event: Event) {
        self.core.handle(now, event, &mut self.decisions);
        self.records.add(self.decisions.records.drain(..));
    }

    /// A master may have been paused for longer than its lease: then others have been told since what it
    /// does not know.
    fn check_fence(&self) -> Result<(), StoreError> {
        if self.fence.holds() {
            Ok(())
        } else {
            Err(StoreError::Deposed)
        }
    }

    /// Tells the core of peers that were cut at the end of the last batch.
    fn report_cut(&mut self, now: Time) {
        for connection in self.schedulers.take_cut() {
            tracing::warn!(
                connection = connection.0,
                "cut a scheduler that does not read"
            );
            self.handle(now, Event::SchedulerDisconnected(connection));
        }
        for connection in self.agents.take_cut() {
            tracing::warn!(connection = connection.0, "cut an agent that does not read");
            self.handle(now, Event::AgentDisconnected(connection));
        }
    }

    /// Hands one input to the core. Whatever comes of a connection that was ended is ignored.
    fn take(&mut self, now: Time, input: Input) {
        match input {
            Input::SchedulerConnected(connection, outbox) => {
                self.schedulers.insert(connection, outbox);
                self.handle(now, Event::SchedulerConnected(connection));
            }
            Input::SchedulerCalled(connection, calls) => {
                if self.schedulers.contains(connection) {
                    for call in calls {
                        self.handle(now, Event::SchedulerCalled(connection, call));
                    }
                }
            }
            Input::SchedulerDisconnected(connection) => {
                if self.schedulers.remove(connection) {
                    self.handle(now, Event::SchedulerDisconnected(connection));
                }
            }
            Input::AgentConnected(connection, outbox) => {
                self.agents.insert(connection, outbox);
                self.handle(now, Event::AgentConnected(connection));
            }
            Input::AgentSaid(connection, events) => {
                if self.agents.contains(connection) {
                    for event in events {
                        self.handle(now, Event::AgentSaid(connection, event));
                    }
                }
            }
            Input::AgentDisconnected(connection) => {
                if self.agents.remove(connection) {
                    self.handle(now, Event::AgentDisconnected(connection));
                }
            }
            Input::Operator(request, reply) => {
                let id = RequestId(self.replies.len() as u64);
                self.replies.push(reply);
                self.handle(now, Event::Operator(id, request));
            }
            Input::SetPolicy(policy, reply) => {
                self.core.set_policy(now, policy, &mut self.decisions);
                self.records.add(self.decisions.records.drain(..));
                self.readers.push(Reader::Policy(reply));
            }
            Input::Snapshot(reply) => self.readers.push(Reader::Snapshot(reply)),
            Input::Watch(reply) => self.readers.push(Reader::Watch(reply)),
            Input::Explain(framework, shape, reply) => {
                self.readers.push(Reader::Explain(framework, shape, reply));
            }
        }
    }

    /// Makes the records of the batch durable, on a thread that may block.
    async fn commit(&mut self) -> Result<(), DriverError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        let mut store = self.store.take().expect("commits follow one another");
        let commit = task::spawn_blocking(move || {
            let result = store.commit(&records);
            (store, result)
        });
        let (store, result) = commit.await.map_err(DriverError::Writer)?;
        self.store = Some(store);
        Ok(result?)
    }

    /// Performs the effects of the batch, in order.
    fn perform(&mut self) {
        let mut replies = std::mem::take(&mut self.replies)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        for effect in self.decisions.effects.drain(..) {
            match effect {
                Effect::ToScheduler(connection, event) => self.schedulers.push(connection, event),
                Effect::ToAgent(connection, command) => self.agents.push(connection, command),
                Effect::Close(connection) => {
                    self.schedulers.close(connection);
                    self.agents.close(connection);
                }
                Effect::Reply(request, reply) => answer(&mut replies, request, reply),
                Effect::Observed(happening) => {
                    log(&happening);
                    self.watchers.push(happening);
                }
            }
        }
    }

    /// Serves those who read. All of one batch share one snapshot.
    fn answer_readers(&mut self) {
        let mut shared: Option<Arc<Snapshot>> = None;
        for reader in std::mem::take(&mut self.readers) {
            let mut snapshot =
                || Arc::clone(shared.get_or_insert_with(|| Arc::new(self.core.snapshot())));
            // A reader that has gone away meanwhile misses nothing.
            match reader {
                Reader::Snapshot(reply) => drop(reply.send(snapshot())),
                Reader::Watch(reply) => drop(reply.send(self.watchers.watch(snapshot()))),
                Reader::Explain(framework, shape, reply) => {
                    drop(reply.send(self.core.explain_for(framework, shape.as_ref())));
                }
                Reader::Policy(reply) => drop(reply.send(self.core.policy())),
            }
        }
    }
}

/// What an operator should know of who does not watch.
fn log(happening: &Happening) {
    let policy = match happening {
        Happening::RemovalLimitReached { removed, known } => {
            tracing::error!(
                removed,
                known,
                "no more agents are taken for lost that have not come back since the restart: \
                 liveness.recovery_agent_removal_limit is reached; see nesos agents"
            );
            return;
        }
        Happening::PolicyChanged(policy) => policy,
        _ => return,
    };
    match &policy.fault {
        None => tracing::info!(policy = policy.name, "another policy decides"),
        Some(fault) => {
            tracing::warn!(
                policy = policy.name,
                fault,
                "the policy failed; DRF decides"
            );
        }
    }
}

fn answer(
    replies: &mut [Option<oneshot::Sender<OperatorReply>>],
    request: RequestId,
    reply: OperatorReply,
) {
    let asked = usize::try_from(request.0)
        .ok()
        .and_then(|index| replies.get_mut(index))
        .and_then(Option::take);
    if let Some(asked) = asked {
        // An operator who has gone away meanwhile misses nothing.
        let _ = asked.send(reply);
    }
}
