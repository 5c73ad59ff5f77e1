//! Whose turn comes first for an agent that no rule keeps from a client: by the policy's own order, and
//! by the two passes in which an allocation goes through it.

use std::cell::OnceCell;

use serde::Serialize;

use super::Blocked;
use crate::allocator::quota::Pass;
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot};

/// Why another client comes first. Shares are in millionths, over weight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Precedence {
    /// It has not got yet what its role is guaranteed.
    Guarantee,
    /// Its role has the higher priority.
    Priority {
        /// The other's.
        theirs: i32,
        /// The framework's own.
        own: i32,
    },
    /// It has the lower share.
    Share {
        /// The other's.
        theirs: u64,
        /// The framework's own.
        own: u64,
    },
    /// Their shares are equal, and it was served longer ago.
    Turn {
        /// The share of either.
        share: u64,
    },
}

/// Everybody who wants offers, in order; worked out when it is asked for first.
#[derive(Debug, Default)]
pub(super) struct Line(OnceCell<Option<Vec<ClientSlot>>>);

impl Line {
    fn of(&self, master: &Master) -> Option<&[ClientSlot]> {
        let order = || master.allocator.policy.order();
        self.0.get_or_init(order).as_deref()
    }
}

impl Master {
    /// What keeps an agent from a client now that nothing keeps it from everybody: a rule, or another
    /// client's turn.
    pub(super) fn in_line(&self, client: ClientSlot, agent: AgentSlot, line: &Line) -> Blocked {
        if let Err(blocked) = self.portion_in(Pass::Everybody, client, agent) {
            return blocked;
        }
        match self.guaranteed_first(client, agent, line) {
            Ok(pass) => self.first_of_pass(pass, client, agent, line),
            Err(blocked) => Some(blocked),
        }
        .unwrap_or(Blocked::NextInLine)
    }

    fn portion_in(&self, pass: Pass, client: ClientSlot, agent: AgentSlot) -> Result<(), Blocked> {
        let rules = self.rules(pass);
        let agent_now = &self.agents[agent];
        let portion = self.allocator.portion(client, agent, agent_now, &rules);
        portion.map(drop)
    }

    fn takes(&self, pass: Pass, client: ClientSlot, agent: AgentSlot) -> bool {
        let wants = self.allocator.clients[client].blocked().is_none();
        wants && self.portion_in(pass, client, agent).is_ok()
    }

    /// The pass in which a client's turn comes, unless another is served in an earlier one.
    fn guaranteed_first(
        &self,
        client: ClientSlot,
        agent: AgentSlot,
        line: &Line,
    ) -> Result<Pass, Blocked> {
        let is_first_pass = self.allocator.quotas.requires_anything();
        if !is_first_pass {
            return Ok(Pass::Everybody);
        }
        if self.takes(Pass::Guarantees, client, agent) {
            return Ok(Pass::Guarantees);
        }
        let takes = |other: &ClientSlot| self.takes(Pass::Guarantees, *other, agent);
        let first = match line.of(self) {
            Some(line) => line.iter().copied().find(takes),
            None => self.allocator.clients.slots().find(takes),
        };
        first.map_or(Ok(Pass::Everybody), |first| {
            Err(self.behind(first, client, Precedence::Guarantee))
        })
    }

    /// Who is asked before a client within a pass, and would take the agent.
    fn first_of_pass(
        &self,
        pass: Pass,
        client: ClientSlot,
        agent: AgentSlot,
        line: &Line,
    ) -> Option<Blocked> {
        let Some(line) = line.of(self) else {
            return self.rivals(pass, client, agent);
        };
        let mut ahead = line.iter().copied().take_while(|other| *other != client);
        let first = ahead.find(|other| self.takes(pass, *other, agent))?;
        Some(self.behind(first, client, self.precedence(first, client)))
    }

    fn rivals(&self, pass: Pass, client: ClientSlot, agent: AgentSlot) -> Option<Blocked> {
        let others = self.allocator.clients.slots();
        let others = others.filter(|other| *other != client && self.takes(pass, *other, agent));
        let others = others.count();
        (others > 0).then(|| Blocked::RankedByPlugin {
            plugin: self.policy().name,
            others,
        })
    }

    fn precedence(&self, first: ClientSlot, client: ClientSlot) -> Precedence {
        let (theirs, own) = self.allocator.policy.parting(first, client);
        if theirs.priority != own.priority {
            let (theirs, own) = (theirs.priority, own.priority);
            return Precedence::Priority { theirs, own };
        }
        let equal = theirs.share == own.share;
        let (theirs, own) = (theirs.share.millionths(), own.share.millionths());
        match equal {
            true => Precedence::Turn { share: own },
            false => Precedence::Share { theirs, own },
        }
    }

    fn behind(&self, first: ClientSlot, client: ClientSlot, by: Precedence) -> Blocked {
        let (theirs, own) = self.allocator.policy.parting(first, client);
        let framework = self.allocator.clients[first].framework;
        Blocked::Behind {
            framework: self.frameworks[framework].id,
            role: theirs.role,
            own_role: own.role,
            by,
        }
    }
}
