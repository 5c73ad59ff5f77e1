//! Where a cell's events go: to the newest connection of its agent, or nowhere.
//!
//! Nothing is kept here. What must not be lost is in the ledgers and is repeated on each connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nesos_api::v1;
use nesos_runtime::MessageRefused;
use nesos_types::cell::CellEvent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The agent's end of the conversation, if it is there.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: u64,
    current: Option<Connection>,
}

/// How many messages of guests may wait to be sent.
const MAX_MESSAGES: usize = 1024;

#[derive(Debug)]
struct Connection {
    number: u64,
    /// Messages of guests that wait to be sent.
    messages: Arc<AtomicUsize>,
    events: mpsc::UnboundedSender<v1::CellEvent>,
    replaced: CancellationToken,
}

/// One connection of the agent, from its begin to its end.
#[derive(Debug)]
pub(super) struct Session {
    /// Tells connections apart.
    pub(super) number: u64,
    /// What is to be sent.
    pub(super) events: mpsc::UnboundedReceiver<v1::CellEvent>,
    /// How many of them are messages of guests; whoever takes one out counts down.
    pub(super) messages: Arc<AtomicUsize>,
    /// Cancelled when a newer connection has taken over.
    pub(super) replaced: CancellationToken,
}

impl Outbox {
    /// Opens a connection in place of the one there was. `opening` is called while events wait, and
    /// what it gives is sent before them.
    pub(super) fn connect(&self, opening: impl FnOnce() -> Vec<CellEvent>) -> Session {
        let (events, queue) = mpsc::unbounded_channel();
        let replaced = CancellationToken::new();
        let mut state = self.lock();
        state.connections += 1;
        let number = state.connections;
        for event in opening() {
            // The receiver is held right here.
            let _ = events.send((&event).into());
        }
        let messages = Arc::<AtomicUsize>::default();
        let older = state.current.replace(Connection {
            number,
            messages: messages.clone(),
            events,
            replaced: replaced.clone(),
        });
        drop(state);
        if let Some(older) = older {
            older.replaced.cancel();
        }
        Session {
            number,
            events: queue,
            messages,
            replaced,
        }
    }

    /// Takes note that a connection has ended; answers whether it was the one in use.
    pub(super) fn disconnect(&self, number: u64) -> bool {
        let mut state = self.lock();
        let ended = state
            .current
            .take_if(|connection| connection.number == number);
        ended.is_some()
    }

    /// Ends the current connection once everything that was sent on it has left.
    pub(super) fn hang_up(&self) {
        self.lock().current = None;
    }

    /// Whether an agent is there.
    pub(super) fn is_connected(&self) -> bool {
        self.lock().current.is_some()
    }

    /// Sends an event, if an agent is there.
    pub(super) fn send(&self, event: &CellEvent) {
        let event = event.into();
        if let Some(connection) = &self.lock().current {
            // A closed queue is a connection that is about to be seen to end.
            let _ = connection.events.send(event);
        }
    }

    /// Sends a guest's message, if an agent is there and takes them as fast as they come.
    pub(super) fn send_message(&self, event: &CellEvent) -> Result<(), MessageRefused> {
        let state = self.lock();
        let connection = state.current.as_ref().ok_or(MessageRefused::NoScheduler)?;
        if connection.messages.load(Ordering::Relaxed) >= MAX_MESSAGES {
            return Err(MessageRefused::Flooding);
        }
        connection.messages.fetch_add(1, Ordering::Relaxed);
        // A closed queue is a connection that is about to be seen to end.
        let _ = connection.events.send(event.into());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
