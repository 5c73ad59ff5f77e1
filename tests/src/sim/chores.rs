//! What operators want: asked again and again until a master says that it is done.

use std::time::Duration;

use nesos_master_core::{Event, OperatorReply, OperatorRequest, RequestId};
use nesos_types::resources::{Amounts, Scalar};
use nesos_types::role::{Role, RoleChange};

use super::world::{What, World};

/// How long an operator waits for an answer before asking again.
const PATIENCE: Duration = Duration::from_secs(5);

impl World {
    /// An operator wants something from now on.
    pub(super) fn ask(&mut self, request: OperatorRequest) {
        let number = self.chores.len();
        self.chores.push(Some(request));
        self.queue.push(self.now, What::Chore(number));
    }

    /// An operator asks, if there still is a reason to.
    pub(super) fn on_chore(&mut self, number: usize) {
        let Some(request) = self.chores[number].clone() else {
            return;
        };
        self.queue.push(self.now + PATIENCE, What::Chore(number));
        if let Some(leader) = self.leader() {
            let id = RequestId(number as u64);
            self.tell_master(leader, Event::Operator(id, request));
        }
    }

    /// An operator is answered.
    pub(super) fn on_reply(&mut self, RequestId(number): RequestId, reply: &OperatorReply) {
        let number = usize::try_from(number).expect("it was made of one");
        let done = match reply {
            OperatorReply::Done | OperatorReply::FrameworkUnknown(_) => true,
            _ => panic!("an operator was told {reply:?}"),
        };
        if done
            && let Some(OperatorRequest::ChangeRoles { changes, .. }) = self.chores[number].take()
            && self.ledger.kept
        {
            for change in changes {
                let limit = change.limit.and_then(|limit| limit.get(&Scalar::Cpu));
                self.ledger.limits(change.role, limit.unwrap_or(u64::MAX));
            }
        }
    }

    pub(super) fn has_chores(&self) -> bool {
        self.chores.iter().any(Option::is_some)
    }

    /// Some roles get a limit, which is still enough for one task of any size at a time.
    pub(super) fn set_limits(&mut self) {
        let cpus = u64::try_from(self.options.agents).expect("few") * 1000;
        let changes = [0, 1, 2].map(|i| {
            let role: Role = format!("role-{i}").parse().expect("a role");
            let limit: Amounts = [(Scalar::Cpu, cpus.max(2000))].into_iter().collect();
            RoleChange {
                limit: Some(limit),
                ..RoleChange::of(role)
            }
        });
        self.ask(OperatorRequest::ChangeRoles {
            changes: changes.into(),
            force: true,
        });
    }
}
