//! A policy that names a client that nobody told it of.

use nesos_policies::{Change, ClientId, Policy, policy};

#[derive(Default)]
struct Nonsense;

impl Policy for Nonsense {
    fn change(&mut self, _: Change) {}

    fn begin(&mut self, _: u64) {}

    fn next(&mut self) -> Option<ClientId> {
        Some(ClientId::MAX)
    }
}

policy!(Nonsense);
