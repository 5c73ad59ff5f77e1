//! Dominant resource fairness for clients that each have a role of their own at the top of the tree, as
//! a guest: the simplest code that could be right, to be compared with what is fast.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use nesos_master_core::{PolicyFault, PolicyGuest};
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::time::Time;

#[derive(Debug)]
struct Client {
    weight: u128,
    wanting: bool,
    cpu: u128,
    mem: u128,
    served: u64,
}

#[derive(Debug, Default)]
pub(crate) struct FairGuest {
    weights: BTreeMap<Role, u128>,
    clients: BTreeMap<u32, Client>,
    cpu: u128,
    mem: u128,
    served: u64,
    /// Clients still to be named in this turn; the next is the last.
    queue: Vec<u32>,
    turns: u64,
    fails_after: Option<u64>,
}

impl FairGuest {
    /// One that fails in the turn after so many.
    pub(crate) fn failing_after(turns: u64) -> Self {
        Self {
            fails_after: Some(turns),
            ..Self::default()
        }
    }

    /// The dominant share as a fraction, over the weight.
    fn share(&self, client: &Client) -> (u128, u128) {
        let of = |held: u128, total: u128| (held, total.max(1) * client.weight);
        let (cpu, mem) = (of(client.cpu, self.cpu), of(client.mem, self.mem));
        if compare(cpu, mem).is_gt() { cpu } else { mem }
    }

    fn client(&mut self, client: u32) -> &mut Client {
        self.clients.get_mut(&client).expect("it was put")
    }

    fn begin_turn(&mut self) {
        let wanting = self.clients.iter().filter(|(_, client)| client.wanting);
        let mut queue: Vec<_> = wanting
            .map(|(id, client)| (self.share(client), client.served, *id))
            .collect();
        queue.sort_by(|left, right| {
            compare(left.0, right.0).then((left.1, left.2).cmp(&(right.1, right.2)))
        });
        self.queue = queue.into_iter().rev().map(|(.., id)| id).collect();
    }
}

fn compare(left: (u128, u128), right: (u128, u128)) -> Ordering {
    (left.0 * right.1).cmp(&(right.0 * left.1))
}

impl PolicyGuest for FairGuest {
    fn configure(&mut self, role: &Role, settings: &RoleSettings) {
        let weight = u128::from(settings.weight.milli());
        self.weights.insert(role.clone(), weight);
    }

    fn grow(&mut self, agent: &Resources) {
        self.cpu += u128::from(agent.cpu_milli);
        self.mem += u128::from(agent.mem_bytes);
    }

    fn shrink(&mut self, agent: &Resources) {
        self.cpu -= u128::from(agent.cpu_milli);
        self.mem -= u128::from(agent.mem_bytes);
    }

    fn put_client(&mut self, client: u32, role: &Role) {
        let client_of_role = Client {
            weight: self.weights.get(role).copied().unwrap_or(1000),
            wanting: false,
            cpu: 0,
            mem: 0,
            served: 0,
        };
        self.clients.insert(client, client_of_role);
    }

    fn remove_client(&mut self, client: u32) {
        self.clients.remove(&client);
    }

    fn set_wanting(&mut self, client: u32, wanting: bool) {
        self.client(client).wanting = wanting;
    }

    fn charge(&mut self, client: u32, resources: &Resources) {
        let client = self.client(client);
        client.cpu += u128::from(resources.cpu_milli);
        client.mem += u128::from(resources.mem_bytes);
    }

    fn refund(&mut self, client: u32, resources: &Resources) {
        let client = self.client(client);
        client.cpu -= u128::from(resources.cpu_milli);
        client.mem -= u128::from(resources.mem_bytes);
    }

    fn served(&mut self, client: u32) {
        self.served += 1;
        self.client(client).served = self.served;
    }

    fn begin(&mut self, _: usize) {}

    fn turn(&mut self, _: Time) -> Result<Option<u32>, PolicyFault> {
        self.turns += 1;
        if self.fails_after.is_some_and(|most| self.turns > most) {
            return Err(PolicyFault::OutOfFuel);
        }
        self.begin_turn();
        Ok(self.queue.pop())
    }

    fn another(&mut self, most: u32) -> Result<Vec<u32>, PolicyFault> {
        let next = std::iter::from_fn(|| self.queue.pop());
        Ok(next.take(most as usize).collect())
    }

    fn fuel_used(&self) -> u64 {
        self.turns
    }
}
