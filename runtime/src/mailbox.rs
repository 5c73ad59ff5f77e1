//! What waits for a guest: events from outside, and the wish that it should stop.
//!
//! A mailbox is bounded in events and in bytes, and its bytes are charged to the guest's memory. What the guest
//! is, and so which events it can hear, is known only once its program is loaded; until then everything is
//! kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nesos_types::ids::TaskId;
use nesos_types::task::{SharedTask, TaskInfo};
use thiserror::Error;

use crate::awaitable::Awaitable;
use crate::ledger::Ledger;
use crate::uplink::MAX_MESSAGE_BYTES;

/// The most events that wait.
const MAX_EVENTS: usize = 1024;

/// The most bytes that wait, as [`weight`] reckons them.
const MAX_BYTES: u64 = 1 << 20;

/// What an event takes beside its contents.
const EVENT_BYTES: u64 = 128;

/// Something that a guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// To an executor: run this task.
    Launch(SharedTask),
    /// To an executor: end one of its tasks.
    Kill {
        /// Which.
        task: TaskId,
        /// How long the task has.
        grace: Duration,
    },
    /// From the scheduler, to an executor or a task.
    Message(Bytes),
}

/// Why an event was not put into a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PostError {
    /// The guest cannot hear it: a command hears nothing, or messages only.
    #[error("the guest cannot hear this event")]
    NotHeard,
    /// Too many events, or too many bytes, wait already; or the guest's memory does not allow for more.
    #[error("the guest's mailbox is full")]
    Full,
    /// It is a message that is too long.
    #[error("the message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    /// The sandbox is over.
    #[error("the sandbox is over")]
    Over,
}

/// Who reads a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Audience {
    /// It is not known yet.
    #[default]
    Unknown,
    /// Somebody who hears nothing.
    Deaf,
    /// A task: messages only.
    Task,
    /// An executor.
    Executor,
    /// Nobody any more.
    Over,
}

impl Audience {
    fn hears(self, event: &GuestEvent) -> Result<(), PostError> {
        match (self, event) {
            (Self::Over, _) => Err(PostError::Over),
            (Self::Unknown | Self::Executor, _) | (Self::Task, GuestEvent::Message(_)) => Ok(()),
            (Self::Deaf | Self::Task, _) => Err(PostError::NotHeard),
        }
    }
}

/// The mailbox of one sandbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Awaitable<State>,
    ledger: Arc<Ledger>,
}

#[derive(Debug, Default)]
struct State {
    audience: Audience,
    events: VecDeque<GuestEvent>,
    bytes: u64,
    stop_at: Option<Instant>,
    /// The guest waits for an event.
    at_rest: bool,
}

impl Mailbox {
    /// An empty one, whose contents are charged to `ledger`.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            state: Awaitable::default(),
            ledger,
        }
    }

    /// Puts an event in, at the end.
    pub(crate) fn post(&self, event: GuestEvent) -> Result<(), PostError> {
        self.state.change(|state| {
            state.audience.hears(&event)?;
            if matches!(&event, GuestEvent::Message(data) if data.len() > MAX_MESSAGE_BYTES) {
                return Err(PostError::TooLarge);
            }
            let bytes = weight(&event);
            let full = state.events.len() >= MAX_EVENTS || state.bytes + bytes > MAX_BYTES;
            if full || !self.ledger.take(bytes) {
                return Err(PostError::Full);
            }
            state.bytes += bytes;
            state.at_rest = false;
            state.events.push_back(event);
            Ok(())
        })
    }

    /// It is known who reads this. What they cannot hear is thrown away.
    pub(crate) fn open(&self, audience: Audience) {
        let mut state = self.state.lock();
        state.audience = audience;
        if state.events.is_empty() {
            return;
        }
        let before = state.bytes;
        state.events.retain(|event| audience.hears(event).is_ok());
        state.bytes = state.events.iter().map(weight).sum();
        self.ledger.give_back(before - state.bytes);
    }

    /// Takes out the first event.
    pub(crate) fn take(&self) -> Option<GuestEvent> {
        let mut state = self.state.lock();
        let taken = state.events.pop_front()?;
        let bytes = weight(&taken);
        state.bytes -= bytes;
        self.ledger.give_back(bytes);
        Some(taken)
    }

    /// The guest begins or ends to wait for an event.
    pub(crate) fn set_at_rest(&self, at_rest: bool) {
        let mut state = self.state.lock();
        state.at_rest = at_rest && state.events.is_empty();
    }

    /// Whether the guest waits for an event and there is none.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.state.lock().at_rest
    }

    /// Whether nobody reads this any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().audience == Audience::Over
    }

    /// The guest should stop by then. It may be told again, but only that it has less time.
    pub(crate) fn request_stop(&self, by: Instant) {
        self.state.change(|state| {
            state.at_rest = false;
            state.stop_at = Some(state.stop_at.map_or(by, |before| before.min(by)));
        });
    }

    /// When the guest will be dropped, if it should stop.
    pub(crate) fn stop_at(&self) -> Option<Instant> {
        self.state.lock().stop_at
    }

    /// Waits until an event waits.
    pub(crate) async fn until_event(&self) {
        self.state.until(|state| !state.events.is_empty()).await;
    }

    /// Waits until the guest should stop.
    pub(crate) async fn until_stop(&self) {
        self.state.until(|state| state.stop_at.is_some()).await;
    }
}

/// What an event takes of its guest's memory.
fn weight(event: &GuestEvent) -> u64 {
    EVENT_BYTES
        + match event {
            GuestEvent::Launch(task) => task_weight(task),
            GuestEvent::Kill { .. } => 0,
            GuestEvent::Message(data) => data.len() as u64,
        }
}

/// What a task's description takes.
pub(crate) fn task_weight(task: &TaskInfo) -> u64 {
    let args = task.args.iter().map(String::len);
    let env = task
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let labels = task.labels.iter();
    let labels = labels.map(|(name, value)| name.len() + value.len());
    let texts: usize = args.chain(env).chain(labels).sum();
    (task.name.len() + texts + task.data.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(memory: u64) -> Mailbox {
        Mailbox::new(Arc::new(Ledger::new(memory, Arc::default())))
    }

    fn message(bytes: usize) -> GuestEvent {
        GuestEvent::Message(vec![0; bytes].into())
    }

    #[test]
    fn a_mailbox_is_bounded_in_events_bytes_and_the_guests_memory() {
        let many = mailbox(1 << 30);
        for _ in 0..MAX_EVENTS {
            many.post(message(1)).unwrap();
        }
        assert_eq!(many.post(message(1)), Err(PostError::Full));
        let large = mailbox(1 << 30);
        for _ in 0..15 {
            large.post(message(MAX_MESSAGE_BYTES)).unwrap();
        }
        assert_eq!(large.post(message(MAX_MESSAGE_BYTES)), Err(PostError::Full));
        assert_eq!(
            large.post(message(MAX_MESSAGE_BYTES + 1)),
            Err(PostError::TooLarge)
        );
        let poor = mailbox(1000);
        poor.post(message(800)).unwrap();
        assert_eq!(poor.post(message(1)), Err(PostError::Full));
        assert!(poor.take().is_some());
        poor.post(message(800)).unwrap();
    }

    #[test]
    fn what_a_guest_cannot_hear_is_refused_once_it_is_known() {
        let mailbox = mailbox(1000);
        let kill = GuestEvent::Kill {
            task: "t".parse().unwrap(),
            grace: Duration::ZERO,
        };
        mailbox.post(kill.clone()).unwrap();
        mailbox.post(message(1)).unwrap();
        mailbox.open(Audience::Task);
        assert_eq!(mailbox.post(kill), Err(PostError::NotHeard));
        assert_eq!(mailbox.take(), Some(message(1)));
        assert_eq!(mailbox.take(), None);
        assert_eq!(mailbox.ledger.used(), 0);
        mailbox.open(Audience::Deaf);
        assert_eq!(mailbox.post(message(1)), Err(PostError::NotHeard));
        mailbox.open(Audience::Over);
        assert_eq!(mailbox.post(message(1)), Err(PostError::Over));
    }

    #[test]
    fn a_later_wish_to_stop_only_shortens_the_time() {
        let (mailbox, now) = (mailbox(0), Instant::now());
        assert_eq!(mailbox.stop_at(), None);
        let second = Duration::from_secs(1);
        mailbox.request_stop(now + second);
        mailbox.request_stop(now + second * 2);
        assert_eq!(mailbox.stop_at(), Some(now + second));
        mailbox.request_stop(now);
        assert_eq!(mailbox.stop_at(), Some(now));
    }
}
