//! The network: connections that keep the order of their messages, take their time, break, and fall
//! silent.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_master_core::ConnectionId;
use nesos_types::time::Time;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Who is at the other end of a connection to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Scheduler(usize),
    /// An agent, and the number that its core gave the attempt.
    Agent(usize, u64),
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Master,
    Peer,
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    /// Which master's.
    seat: usize,
    /// Whether the end still believes in the connection.
    master_open: bool,
    peer_open: bool,
    /// When the last message to that end arrives: the next cannot overtake it.
    to_master: Time,
    to_peer: Time,
    /// Everything sent to that end is lost from now on, and nobody is told.
    deaf_master: bool,
    deaf_peer: bool,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    next: u64,
    delay: (Duration, Duration),
}

impl Network {
    pub(crate) fn new(delay: (Duration, Duration)) -> Self {
        Self {
            connections: BTreeMap::new(),
            next: 0,
            delay,
        }
    }

    pub(crate) fn delay(&self, rng: &mut ChaCha8Rng) -> Duration {
        let (least, most) = self.delay;
        if least == most {
            return least;
        }
        rng.random_range(least..most)
    }

    pub(crate) fn connect(&mut self, peer: Peer, seat: usize, now: Time) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        let connection = Connection {
            peer,
            seat,
            master_open: true,
            peer_open: true,
            to_master: now,
            to_peer: now,
            deaf_master: false,
            deaf_peer: false,
        };
        self.connections.insert(id, connection);
        id
    }

    /// When a message that is sent now arrives; `None` if it never does.
    pub(crate) fn send(
        &mut self,
        id: ConnectionId,
        to: End,
        now: Time,
        rng: &mut ChaCha8Rng,
    ) -> Option<Time> {
        let delay = self.delay(rng);
        let connection = self.connections.get_mut(&id)?;
        let (last, deaf) = match to {
            End::Master => (&mut connection.to_master, connection.deaf_master),
            End::Peer => (&mut connection.to_peer, connection.deaf_peer),
        };
        if deaf {
            return None;
        }
        *last = (*last).max(now + delay);
        Some(*last)
    }

    /// The peer, if this end still believes in the connection.
    pub(crate) fn open(&self, id: ConnectionId, end: End) -> Option<Peer> {
        let connection = self.connections.get(&id)?;
        let open = match end {
            End::Master => connection.master_open,
            End::Peer => connection.peer_open,
        };
        open.then_some(connection.peer)
    }

    /// An end gives the connection up, or learns that it is over.
    pub(crate) fn close(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match end {
            End::Master => connection.master_open = false,
            End::Peer => connection.peer_open = false,
        }
        if !connection.master_open && !connection.peer_open {
            self.connections.remove(&id);
        }
    }

    /// Loses from now on whatever is sent on a connection to these ends.
    pub(crate) fn silence(&mut self, id: ConnectionId, ends: &[End]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.deaf_master |= ends.contains(&End::Master);
            connection.deaf_peer |= ends.contains(&End::Peer);
        }
    }

    /// Who is, or was, at the two ends of a connection that one of them believes in.
    pub(crate) fn ends(&self, id: ConnectionId) -> Option<(usize, Peer)> {
        let connection = self.connections.get(&id)?;
        Some((connection.seat, connection.peer))
    }

    /// Every connection to a master's seat.
    pub(crate) fn of_seat(&self, seat: usize) -> Vec<ConnectionId> {
        let all = self.connections.iter();
        let own = all.filter(|(_, connection)| connection.seat == seat);
        own.map(|(id, _)| *id).collect()
    }
}
