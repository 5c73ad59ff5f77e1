//! What operators order about agents: to offer nothing of them, to end their tasks, to take them for dead.
//!
//! An order is a durable fact before anything follows from it. To drain is to kill: the agent learns of nothing else,
//! keeps kills in its checkpoint as it does any other, and is sent no launches because it is offered to nobody. An
//! agent that is away is drained when it comes back. It *is* drained when the master holds no task of it, not even
//! one whose end its scheduler has still to acknowledge; a scheduler that never does is what then blocks.

use nesos_types::agent::{AgentOrders, Drain};
use nesos_types::ids::AgentId;
use nesos_types::message::Refusal;
use nesos_types::task::{TaskReason, TaskState, TaskStatus};

use super::liveness::{Ending, Fate};
use super::{Agent, Link};
use crate::decision::{Decisions, Happening, OperatorReply, Record, Subject};
use crate::event::AgentOrder;
use crate::master::Master;
use crate::registry::AgentFact;
use crate::table::AgentSlot;
use crate::tasks::kill::Kill;

impl Agent {
    /// Whether it was to be drained and has been. Of one that has not come back since the master restarted nobody
    /// knows.
    pub(crate) fn is_drained(&self) -> bool {
        self.orders.drain.is_some() && self.tasks.is_empty() && self.link != Link::Recovered
    }
}

impl Master {
    pub(crate) fn on_order_agent(
        &mut self,
        agent: AgentId,
        order: AgentOrder,
        out: &mut Decisions,
    ) -> OperatorReply {
        let known = self.registry.agent(agent);
        if !matches!(
            known,
            Some(AgentFact::Admitted { .. } | AgentFact::Unreachable { .. })
        ) {
            return OperatorReply::AgentUnknown(agent);
        }
        let orders = self.registry.orders(agent);
        let slot = self.agents.find(agent);
        let drained = slot.is_some_and(|slot| self.agents[slot].is_drained());
        match order {
            AgentOrder::Reactivate if orders.drain.is_some() && !drained => {
                return OperatorReply::AgentDraining(agent);
            }
            AgentOrder::Reactivate => self.order(agent, AgentOrders::default(), out),
            AgentOrder::Deactivate => self.order(
                agent,
                AgentOrders {
                    deactivated: true,
                    ..orders
                },
                out,
            ),
            AgentOrder::Drain(drain) => self.order(
                agent,
                AgentOrders {
                    drain: Some(drain.after(orders.drain)),
                    ..orders
                },
                out,
            ),
            AgentOrder::Gone => self.take_for_dead(agent, out),
        }
        OperatorReply::Done
    }

    /// The durable fact first, then what follows from it.
    fn order(&mut self, agent: AgentId, orders: AgentOrders, out: &mut Decisions) {
        if orders == AgentOrders::default() {
            self.forget_orders(agent, out);
        } else {
            self.record(Record::AgentOrdered { agent, orders }, out);
        }
        if let Some(slot) = self.agents.find(agent) {
            self.agents[slot].orders = orders;
            if !orders.allow_offers() {
                let reason = match orders.drain {
                    Some(_) => TaskReason::AgentDraining,
                    None => TaskReason::InvalidOffers,
                };
                self.rescind_agent(slot, reason, out);
            }
            self.go_on_draining(slot, out);
            self.touch_agent(slot);
        }
        out.observed(Happening::AgentOrdered(agent));
    }

    pub(crate) fn forget_orders(&mut self, agent: AgentId, out: &mut Decisions) {
        if self.registry.orders(agent) != AgentOrders::default() {
            self.record(Record::Forgotten(Subject::AgentOrders(agent)), out);
        }
    }

    /// Ends the tasks of an agent that is to be drained and is there.
    pub(crate) fn go_on_draining(&mut self, slot: AgentSlot, out: &mut Decisions) {
        let Some(drain) = self.agents[slot].orders.drain else {
            return;
        };
        for task in self.agents[slot].tasks.clone() {
            let own = self.tasks[task].info.kill_grace;
            let kill = Kill {
                grace: [own, drain.grace].into_iter().flatten().min(),
                reason: TaskReason::AgentDraining,
            };
            self.kill(task, kill, out);
        }
        self.draining.push(slot);
    }

    /// Looks at agents that are being drained and have a task less: perhaps it was the last.
    pub(crate) fn settle_drains(&mut self, out: &mut Decisions) {
        for slot in std::mem::take(&mut self.draining) {
            self.settle_drain(slot, out);
        }
    }

    fn settle_drain(&mut self, slot: AgentSlot, out: &mut Decisions) {
        let Some(agent) = self.agents.get(slot).filter(|agent| agent.is_drained()) else {
            return;
        };
        out.observed(Happening::AgentOrdered(agent.id));
        let is_to_go = agent.orders.drain.is_some_and(|drain| drain.mark_gone);
        if is_to_go && agent.connection().is_some() {
            self.take_for_dead(agent.id, out);
        }
    }

    /// What a scheduler is told of a task that was ended for its agent to go.
    pub(crate) fn told_of_drain(
        &self,
        agent: AgentSlot,
        mut status: TaskStatus,
        latest: TaskState,
    ) -> (TaskStatus, TaskState) {
        let drain = self.agents[agent].orders.drain;
        let goes = drain.is_some_and(|drain: Drain| drain.mark_gone);
        let for_drain = status.reason == Some(TaskReason::AgentDraining);
        if goes && for_drain && status.state == TaskState::Killed {
            status.state = TaskState::GoneByOperator;
            return (status, TaskState::GoneByOperator);
        }
        (status, latest)
    }

    /// An agent is dead, whether it is here, away or lost from sight.
    fn take_for_dead(&mut self, agent: AgentId, out: &mut Decisions) {
        if let Some(slot) = self.agents.find(agent) {
            if let Some(connection) = self.agents[slot].connection() {
                self.refuse_agent(connection, Refusal::AgentRemoved { agent }, out);
            }
            self.remove_agent(slot, Fate::Gone, out);
        } else if let Some(AgentFact::Unreachable { hostname, .. }) = self.registry.agent(agent) {
            let gone = Record::AgentGone {
                agent,
                hostname: hostname.clone(),
                at: self.now,
            };
            self.record(gone, out);
            self.forget_set_apart(agent, out);
            self.forget_orders(agent, out);
            out.observed(Happening::AgentRemoved(agent));
        }
        let gone = Ending {
            state: TaskState::GoneByOperator,
            reason: TaskReason::AgentRemovedByOperator,
            message: "an operator has said that the task's agent is gone",
        };
        self.give_up_lost(agent, gone, out);
    }
}
