//! A policy that never answers: it takes as much fuel as it is given.

use nesos_policies::{Change, ClientId, Policy, policy};

#[derive(Default)]
struct Loop {
    rounds: u64,
}

impl Policy for Loop {
    fn change(&mut self, _: Change) {}

    fn begin(&mut self, now_ms: u64) {
        self.rounds = now_ms;
    }

    fn next(&mut self) -> Option<ClientId> {
        loop {
            self.rounds = std::hint::black_box(self.rounds.wrapping_add(1));
        }
    }
}

policy!(Loop);
