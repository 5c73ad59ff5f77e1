//! The thin shell around a [`Session`]: opens streams, moves frames, calls the scheduler.
//!
//! It decides nothing by itself. It reads whatever has come, hands it to the session, performs what
//! the session answers, and sends what the scheduler wanted in one frame.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nesos_api::v1;
use nesos_api::v1::scheduler_service_client::SchedulerServiceClient;
use nesos_types::message::{Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::time::Time;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use crate::client::{MasterClient, describe};
use crate::outbox::{Outbox, outbox};
use crate::scheduler::{Actions, Scheduler};
use crate::session::{Delivery, End, Input, Output, Session, SessionConfig};

/// Why a driver ended although nobody asked it to.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The master will not have this framework.
    #[error("the master refused the framework: {0}")]
    Refused(#[source] Refusal),
    /// No master took the subscription within the configured patience.
    #[error("no master at {url}: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// The last cause.
        why: String,
    },
}

/// Speaks to a scheduler that a driver runs. Cheap to clone.
#[derive(Debug)]
pub struct Handle<I>(mpsc::UnboundedSender<I>);

impl<I> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I> Handle<I> {
    /// Gives the scheduler an input. Answers whether the driver still runs.
    pub fn send(&self, input: I) -> bool {
        self.0.send(input).is_ok()
    }
}

/// How many inputs are dealt with before what they brought about is sent.
const INPUTS_AT_ONCE: usize = 1024;

/// How long to wait for the master to take the last calls of a driver that stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a [`Scheduler`] against a master.
#[derive(Debug)]
pub struct Driver<S: Scheduler> {
    scheduler: S,
    actions: Actions,
    master: MasterClient,
    session: Session,
    inputs: mpsc::UnboundedReceiver<S::Input>,
    clock: Clock,
    link: Link,
    outputs: Vec<Output>,
    frame: Vec<v1::SchedulerCall>,
}

impl<S: Scheduler> Driver<S> {
    /// A driver and a handle to speak to its scheduler. Nothing happens until [`Driver::run`].
    pub fn new(
        scheduler: S,
        master: MasterClient,
        config: SessionConfig,
    ) -> (Self, Handle<S::Input>) {
        let (handle, inputs) = mpsc::unbounded_channel();
        let clock = Clock::new();
        let driver = Self {
            scheduler,
            actions: Actions::default(),
            master,
            session: Session::new(config, StdRng::from_os_rng().next_u64(), clock.now()),
            inputs,
            clock,
            link: Link::None,
            outputs: Vec::new(),
            frame: Vec::new(),
        };
        (driver, Handle(handle))
    }

    /// Runs until the scheduler stops or tears the framework down, and gives the scheduler back.
    ///
    /// # Errors
    /// If the master refuses the framework for good, or was not found within the configured patience.
    pub async fn run(mut self) -> Result<S, DriverError> {
        let mut inputs = Vec::with_capacity(INPUTS_AT_ONCE);
        let mut alarm = Alarm::new();
        loop {
            if let Some(end) = self.perform() {
                return self.finish(end);
            }
            if self.actions.is_stopped() {
                self.flush().await;
                return Ok(self.scheduler);
            }
            let deadline = self.clock.until(self.session.next_deadline());
            let deaf = self.inputs.is_closed() && self.inputs.is_empty();
            tokio::select! {
                heard = self.link.next() => self.on_link(heard),
                _ = self.inputs.recv_many(&mut inputs, INPUTS_AT_ONCE), if !deaf => {
                    self.on_inputs(&mut inputs);
                }
                () = alarm.at(deadline) => self.handle(Input::Tick),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        self.session.handle(now, input, &mut self.outputs);
    }

    fn on_inputs(&mut self, inputs: &mut Vec<S::Input>) {
        self.actions.set_now(self.clock.now());
        for input in inputs.drain(..) {
            self.scheduler.input(&mut self.actions, input);
        }
    }

    fn on_link(&mut self, heard: Heard) {
        match heard {
            Heard::Open(stream) => self.link.open(stream),
            Heard::Frame(frame) => self.on_frame(frame),
            Heard::Broken(status) => {
                let why = describe(&status);
                warn!(
                    master = self.master.url(),
                    why, "no connection to the master"
                );
                self.link = Link::None;
                self.handle(Input::Lost(why));
            }
        }
    }

    fn on_frame(&mut self, frame: v1::SchedulerEvents) {
        let now = self.clock.now();
        for event in frame.events {
            match SchedulerEvent::try_from(event) {
                Ok(event) => self
                    .session
                    .handle(now, Input::Heard(event), &mut self.outputs),
                Err(error) => warn!(%error, "skipped an event that was not understood"),
            }
        }
    }

    /// Performs what the session decided and what the scheduler then wanted, until neither has more.
    fn perform(&mut self) -> Option<End> {
        self.actions.set_now(self.clock.now());
        let mut end = None;
        loop {
            let mut outputs = std::mem::take(&mut self.outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Connect(subscribe) => self.connect(&subscribe),
                    Output::Close => self.link = Link::None,
                    Output::Send(call) => self.frame.push((&call).into()),
                    Output::Deliver(delivery) => self.deliver(delivery),
                    Output::End(how) => end = Some(how),
                }
            }
            self.outputs = outputs;
            self.act();
            if self.outputs.is_empty() {
                break;
            }
        }
        self.link.send(&mut self.frame);
        end
    }

    /// Hands the session what the scheduler wants.
    fn act(&mut self) {
        let now = self.clock.now();
        for call in self.actions.drain() {
            self.session
                .handle(now, Input::Act(call), &mut self.outputs);
        }
    }

    fn connect(&mut self, subscribe: &SchedulerCall) {
        let (outbox, frames) = outbox();
        outbox.push(&mut vec![subscribe.into()]);
        let master = self.master.clone();
        let opening = Box::pin(async move {
            let channel = master.channel_for_attempt().await?;
            let mut client = SchedulerServiceClient::new(channel)
                .max_decoding_message_size(nesos_api::MAX_FRAME_BYTES)
                .max_encoding_message_size(nesos_api::MAX_FRAME_BYTES);
            Ok(client.converse(frames).await?.into_inner())
        });
        self.link = Link::Opening { outbox, opening };
    }

    fn deliver(&mut self, delivery: Delivery) {
        let (scheduler, actions) = (&mut self.scheduler, &mut self.actions);
        match delivery {
            Delivery::Subscribed(framework) => scheduler.subscribed(actions, framework),
            Delivery::Reconnected => scheduler.reconnected(actions),
            Delivery::Disconnected => scheduler.disconnected(actions),
            Delivery::Offers(offers) => scheduler.offers(actions, offers),
            Delivery::Rescind(offer) => scheduler.rescind(actions, offer),
            Delivery::Update(status) => scheduler.update(actions, status),
            Delivery::AgentLost(agent) => scheduler.agent_lost(actions, agent),
            Delivery::Message { agent, from, data } => {
                scheduler.message(actions, agent, from, data);
            }
            Delivery::ExecutorEnded {
                agent,
                executor,
                end,
            } => scheduler.executor_ended(actions, agent, executor, end),
            Delivery::Refused(refusal) => scheduler.refused(actions, refusal),
        }
    }

    fn finish(self, end: End) -> Result<S, DriverError> {
        match end {
            End::TornDown => Ok(self.scheduler),
            End::Refused(refusal) => Err(DriverError::Refused(refusal)),
            End::Unreachable(why) => Err(DriverError::Unreachable {
                url: self.master.listed(),
                why,
            }),
        }
    }

    /// Closes the stream and waits until the master has read all of it.
    async fn flush(&mut self) {
        let Link::Open { outbox, mut stream } = std::mem::replace(&mut self.link, Link::None)
        else {
            return;
        };
        drop(outbox);
        let drained = async { while let Ok(Some(_)) = stream.message().await {} };
        if tokio::time::timeout(FLUSH_TIMEOUT, drained).await.is_err() {
            debug!("the master did not close the stream in time");
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<v1::SchedulerEvents>, Status>> + Send>>;

/// The stream to the master.
enum Link {
    None,
    Opening {
        outbox: Outbox,
        opening: Opening,
    },
    Open {
        outbox: Outbox,
        stream: Box<Streaming<v1::SchedulerEvents>>,
    },
}

enum Heard {
    Open(Box<Streaming<v1::SchedulerEvents>>),
    Frame(v1::SchedulerEvents),
    Broken(Status),
}

impl Link {
    /// What the stream brings next. Cancelling it loses nothing.
    async fn next(&mut self) -> Heard {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening { opening, .. } => match opening.await {
                Ok(stream) => Heard::Open(Box::new(stream)),
                Err(status) => Heard::Broken(status),
            },
            Self::Open { stream, .. } => match stream.message().await {
                Ok(Some(frame)) => Heard::Frame(frame),
                Ok(None) => Heard::Broken(Status::unavailable("the master closed the stream")),
                Err(status) => Heard::Broken(status),
            },
        }
    }

    fn open(&mut self, stream: Box<Streaming<v1::SchedulerEvents>>) {
        if let Self::Opening { outbox, .. } = std::mem::replace(self, Self::None) {
            *self = Self::Open { outbox, stream };
        }
    }

    /// Sends a frame; without a stream it is lost, as the session knows.
    fn send(&mut self, frame: &mut Vec<v1::SchedulerCall>) {
        match self {
            Self::Opening { outbox, .. } | Self::Open { outbox, .. } if !frame.is_empty() => {
                outbox.push(frame);
            }
            _ => frame.clear(),
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Opening { .. } => "Opening",
            Self::Open { .. } => "Open",
        })
    }
}

/// Time that never runs backwards: the wall clock at the start plus a monotonic clock since.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
    wall: Time,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            origin: Instant::now(),
            wall: Time::ZERO + since,
        }
    }

    fn now(&self) -> Time {
        self.wall + self.origin.elapsed()
    }

    /// The instant of a time; a day from now for one that never comes.
    fn until(&self, time: Time) -> Instant {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        self.origin + time.since(self.wall).min(self.origin.elapsed() + DAY)
    }
}

/// A timer that is re-armed only when it would ring too late: deadlines move away with each message,
/// and a ring too many costs less than touching the timer each time.
#[derive(Debug)]
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new() -> Self {
        Self(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    async fn at(&mut self, deadline: Instant) {
        let deadline = deadline.into();
        if self.0.deadline() > deadline || self.0.is_elapsed() {
            self.0.as_mut().reset(deadline);
        }
        self.0.as_mut().await;
    }
}
