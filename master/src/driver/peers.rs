//! The connections that the driver knows, and what is to be said to each at the end of a batch.

use std::collections::{HashMap, VecDeque};

use nesos_master_core::ConnectionId;

use super::outbox::{End, Outbox};

/// Connections of one kind. They belong to the driver alone, so there is nothing to lock.
#[derive(Debug)]
pub(crate) struct Peers<M> {
    peers: HashMap<ConnectionId, Peer<M>>,
    /// Connections with something pending, each once.
    dirty: Vec<ConnectionId>,
    /// Connections that were cut because they do not read, until the core is told.
    cut: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Peer<M> {
    outbox: Outbox<M>,
    pending: VecDeque<M>,
}

impl<M> Peers<M> {
    pub(crate) fn new() -> Self {
        Self {
            peers: HashMap::new(),
            dirty: Vec::new(),
            cut: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, connection: ConnectionId, outbox: Outbox<M>) {
        let peer = Peer {
            outbox,
            pending: VecDeque::new(),
        };
        self.peers.insert(connection, peer);
    }

    pub(crate) fn contains(&self, connection: ConnectionId) -> bool {
        self.peers.contains_key(&connection)
    }

    /// Forgets a connection that has ended. Answers false if it was forgotten before.
    pub(crate) fn remove(&mut self, connection: ConnectionId) -> bool {
        self.peers
            .remove(&connection)
            .inspect(|peer| peer.outbox.close(End::Closed))
            .is_some()
    }

    /// Queues a message. One for a connection that is gone is dropped.
    pub(crate) fn push(&mut self, connection: ConnectionId, message: M) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            if peer.pending.is_empty() {
                self.dirty.push(connection);
            }
            peer.pending.push_back(message);
        }
    }

    /// Ends a connection after what was queued for it, and forgets it.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        if let Some(mut peer) = self.peers.remove(&connection) {
            // Whether the peer was too slow for its last words makes no difference any more.
            let _ = peer.outbox.send(&mut peer.pending);
            peer.outbox.close(End::Closed);
        }
    }

    /// Ends all connections without another word.
    pub(crate) fn close_all(&mut self, end: End) {
        for (_, peer) in self.peers.drain() {
            peer.outbox.close(end);
        }
        self.dirty.clear();
    }

    /// Hands all that was queued to the doors. Connections that do not read are cut and forgotten.
    pub(crate) fn flush(&mut self) {
        for connection in self.dirty.drain(..) {
            let Some(peer) = self.peers.get_mut(&connection) else {
                continue;
            };
            if !peer.outbox.send(&mut peer.pending) {
                self.peers.remove(&connection);
                self.cut.push(connection);
            }
        }
    }

    /// Whether there are connections that were cut and not yet taken.
    pub(crate) fn has_cut(&self) -> bool {
        !self.cut.is_empty()
    }

    /// The connections that were cut since the last time.
    pub(crate) fn take_cut(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.cut)
    }
}

/// However the driver ends, nobody is left waiting for it.
impl<M> Drop for Peers<M> {
    fn drop(&mut self) {
        for peer in self.peers.values() {
            peer.outbox.close(End::Stopping);
        }
    }
}
