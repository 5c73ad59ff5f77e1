//! A policy that answers like any other until its third turn, and then traps.

use std::collections::BTreeSet;

use nesos_policies::{Change, ClientId, Policy, policy};

#[derive(Default)]
struct Trap {
    wanting: BTreeSet<ClientId>,
    next_from: ClientId,
    turns: u32,
}

impl Policy for Trap {
    fn change(&mut self, change: Change) {
        if let Change::SetWanting(wish) = change {
            if wish.wanting {
                self.wanting.insert(wish.client);
            } else {
                self.wanting.remove(&wish.client);
            }
        }
    }

    fn begin(&mut self, _: u64) {
        self.turns += 1;
        assert!(self.turns < 3, "this is what it is for");
        self.next_from = 0;
    }

    fn next(&mut self) -> Option<ClientId> {
        let client = *self.wanting.range(self.next_from..).next()?;
        self.next_from = client + 1;
        Some(client)
    }
}

policy!(Trap);
