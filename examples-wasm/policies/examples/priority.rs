//! Strict priority with ageing: the role with the highest priority is served first, but whoever waits
//! rises by one priority every ten seconds, so that nobody waits for ever. Equals take turns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use nesos_policies::{Change, ClientId, Policy, policy};

/// How long one waits to rise by one priority.
const STEP_MS: u64 = 10_000;

struct Client {
    role: String,
    wanting: bool,
    /// Since when it waits: its last offer, or its wish for one. `None` until the next turn, which
    /// brings the time.
    since_ms: Option<u64>,
    /// The turn in which it was served last.
    served: u64,
}

/// Priorities of roles, clients, and those still to be named in this turn.
#[derive(Default)]
struct Ageing {
    priorities: BTreeMap<String, i32>,
    clients: BTreeMap<ClientId, Client>,
    /// The next to be named is the last.
    queue: Vec<ClientId>,
    turn: u64,
}

impl Ageing {
    /// That of the role, or of the nearest role above it for which one was decided.
    fn priority(&self, role: &str) -> i32 {
        let ends = role
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([role.len()]);
        let mut nearest = ends
            .rev()
            .filter_map(|end| self.priorities.get(&role[..end]));
        nearest.next().copied().unwrap_or(0)
    }

    fn set_wanting(&mut self, id: ClientId, wanting: bool) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.wanting = wanting;
            client.since_ms = None;
        }
    }

    fn put(&mut self, id: ClientId, role: String) {
        let client = Client {
            role,
            wanting: false,
            since_ms: None,
            served: 0,
        };
        self.clients.insert(id, client);
    }

    fn serve(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.since_ms = None;
            client.served = self.turn;
        }
    }
}

impl Policy for Ageing {
    fn change(&mut self, change: Change) {
        match change {
            Change::Configure(settings) => {
                self.priorities.insert(settings.role, settings.priority);
            }
            Change::PutClient(client) => self.put(client.id, client.role),
            Change::RemoveClient(id) => {
                self.clients.remove(&id);
            }
            Change::SetWanting(wish) => self.set_wanting(wish.client, wish.wanting),
            Change::Served(id) => self.serve(id),
            // How much anybody holds does not count here.
            Change::Grow(_) | Change::Shrink(_) | Change::Charge(_) | Change::Refund(_) => {}
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.turn += 1;
        for client in self.clients.values_mut() {
            client.since_ms.get_or_insert(now_ms);
        }
        let wanting = self.clients.iter().filter(|(_, client)| client.wanting);
        let mut queue: Vec<_> = wanting
            .map(|(id, client)| {
                let waited_ms = now_ms.saturating_sub(client.since_ms.unwrap_or(now_ms));
                let risen = i64::try_from(waited_ms / STEP_MS).unwrap_or(i64::MAX);
                let rank = i64::from(self.priority(&client.role)).saturating_add(risen);
                (rank, Reverse(client.served), Reverse(*id))
            })
            .collect();
        queue.sort_unstable();
        self.queue = queue.into_iter().map(|(.., Reverse(id))| id).collect();
    }

    fn next(&mut self) -> Option<ClientId> {
        self.queue.pop()
    }
}

policy!(Ageing);
