//! Preemption: under strict priority, tasks of lower priority are ended for a demand of a higher one that
//! an allocation could not serve. Which tasks, on which agent, and what is kept for whom meanwhile.
//!
//! Only what clients have said that they wait for counts, one shape of it at a time. Of all agents that one
//! is chosen on which the least harm does: the lowest priority, then the fewest tasks, then the newest.
//! Until the tasks have ended the agent has a promise and is offered to nobody else, for others would take
//! each piece as it comes free. It does not offer anything: once the tasks are gone, the order does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, TaskReason};
use nesos_types::time::Time;

use crate::agents::Link;
use crate::allocator::Client;
use crate::config::Preemption;
use crate::decision::Decisions;
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, TaskSlot};
use crate::tasks::Task;
use crate::tasks::kill::Kill;

/// What an agent will have for a client when some of its tasks have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) client: ClientSlot,
    pub(crate) role: Role,
    pub(crate) shape: Resources,
    /// The tasks that it waits for.
    pub(crate) tasks: BTreeSet<TaskSlot>,
}

/// How much it takes to make room: the highest priority among the tasks that it ends, how many they are,
/// and how old the oldest of them is. Tasks that end anyway do no harm.
type Harm = (Option<i32>, usize, Reverse<Time>);

/// Clients of lower priority that hold something, with their priorities.
type Lower = BTreeMap<ClientSlot, i32>;

impl Master {
    /// Ends tasks for whatever the run before has left unserved.
    pub(crate) fn preempt(&mut self, out: &mut Decisions) {
        let Some(preemption) = self.preemption() else {
            return;
        };
        for client in self.allocator.policy.order().unwrap_or_default() {
            for (shape, count) in self.unserved(client) {
                self.make_room(client, &shape, count, preemption, out);
            }
        }
        if !self.allocator.has_candidates() {
            // All that has changed during the run was looked at here.
            self.allocator.put_off();
        }
    }

    /// What a client waits for, less what it is offered and promised.
    fn unserved(&self, slot: ClientSlot) -> Vec<(Resources, u32)> {
        let client = &self.allocator.clients[slot];
        let mut demand = client.wishes.demand().to_vec();
        if demand.is_empty() {
            return demand;
        }
        for promise in self.promises_for(|other| other == slot) {
            let promised = demand.iter_mut().find(|(shape, _)| *shape == promise.shape);
            if let Some((_, count)) = promised {
                *count = count.saturating_sub(1);
            }
        }
        let offers = self.frameworks[client.framework].offers.iter();
        let offers = offers.map(|offer| &self.offers[*offer]);
        for offer in offers.filter(|offer| offer.client == slot) {
            take_off(&mut demand, offer.resources.flattened());
        }
        demand.retain(|(_, count)| *count > 0);
        demand
    }

    fn promises_for(&self, is_for: impl Fn(ClientSlot) -> bool) -> impl Iterator<Item = &Promise> {
        let any = self
            .allocator
            .clients
            .iter()
            .any(|(_, client)| client.promises > 0);
        let agents = self.agents.iter().filter(move |_| any);
        let promises = agents.flat_map(|(_, agent)| &agent.promises);
        promises.filter(move |promise| is_for(promise.client))
    }

    /// Makes room for so many tasks of one shape, as far as that is possible.
    fn make_room(
        &mut self,
        client: ClientSlot,
        shape: &Resources,
        count: u32,
        preemption: Preemption,
        out: &mut Decisions,
    ) {
        let lower = self.lower_than(client);
        if lower.is_empty() {
            return;
        }
        let agents = self.agents.slots().into_iter();
        let mut ranked: BTreeSet<(Harm, AgentSlot)> = agents
            .filter_map(|agent| Some((self.plan(client, shape, agent, &lower)?.0, agent)))
            .collect();
        for _ in 0..count {
            if !self.quotas_leave_room(client, shape) {
                return;
            }
            let Some((_, agent)) = ranked.pop_first() else {
                return;
            };
            if let Some((_, tasks)) = self.plan(client, shape, agent, &lower) {
                self.promise(client, shape, agent, tasks, preemption, out);
            }
            let again = self.plan(client, shape, agent, &lower);
            ranked.extend(again.map(|(harm, _)| (harm, agent)));
        }
    }

    fn lower_than(&self, client: ClientSlot) -> Lower {
        let clients = self.allocator.clients.iter();
        let others = clients.filter(|(other, state)| *other != client && state.holdings > 0);
        others
            .filter_map(|(other, _)| {
                let (own, theirs) = self.allocator.policy.parting(client, other);
                (theirs.priority < own.priority).then_some((other, theirs.priority))
            })
            .collect()
    }

    /// Whether limits and guarantees would let a client have this too, beside what is promised to those
    /// under the same quotas.
    fn quotas_leave_room(&self, client: ClientSlot, shape: &Resources) -> bool {
        let clients = &self.allocator.clients;
        let path = &clients[client].quotas;
        if path.is_empty() && self.allocator.quotas.is_empty() {
            return true;
        }
        let is_beside =
            |other: ClientSlot| clients[other].quotas.iter().any(|at| path.contains(at));
        let mut promised = self.promises_for(is_beside).map(|promise| &promise.shape);
        let all = promised.try_fold(shape.clone(), |sum, more| sum.checked_add(more));
        all.is_some_and(|all| self.allocator.quotas.shape_blocked(path, &all).is_none())
    }

    /// The tasks that must end on an agent before a client can have this shape there, and what harm that
    /// does. `None` if it cannot, or could without any.
    fn plan(
        &self,
        slot: ClientSlot,
        shape: &Resources,
        agent_slot: AgentSlot,
        lower: &Lower,
    ) -> Option<(Harm, Vec<TaskSlot>)> {
        let agent = &self.agents[agent_slot];
        let client = &self.allocator.clients[slot];
        let is_here = matches!(agent.link, Link::Connected(_)) && agent.orders.allow_offers();
        if !is_here || agent.overcommitted || client.wishes.agent_blocked(&agent.info).is_some() {
            return None;
        }
        let mut promised = agent.promises.iter().map(|promise| &promise.shape);
        let wanted = promised.try_fold(shape.clone(), |sum, more| sum.checked_add(more))?;
        let free = agent.free.unclaimed();
        let (tasks, room) = self.fewest(free, &wanted, self.by_harm(agent_slot, lower))?;
        let refused = self.would_refuse(slot, client, agent_slot, &room);
        (!refused && !tasks.is_empty()).then(|| (self.harm(&tasks, lower), tasks))
    }

    /// Tasks that may end for others, the least harm first: those that end anyway, then by priority, the
    /// newest of each first.
    fn by_harm(&self, agent: AgentSlot, lower: &Lower) -> Vec<TaskSlot> {
        let tasks = self.agents[agent].tasks.iter().copied();
        let mut tasks: Vec<_> = tasks
            .filter(|slot| {
                let task = &self.tasks[*slot];
                // A run goes only when no task is in it.
                let may_end = lower.contains_key(&task.client)
                    && (task.info.run_of().is_none() || !self.is_busy(*slot));
                task.holds() && (task.is_ending() || may_end)
            })
            .collect();
        tasks.sort_by_key(|slot| {
            let task = &self.tasks[*slot];
            let priority = priority_of(task, lower);
            (priority, Reverse(task.since), Reverse(*slot))
        });
        tasks
    }

    /// Of these tasks, in their order, those that are needed to have as much as is wanted, and what is
    /// there when they have ended.
    fn fewest(
        &self,
        free: Resources,
        wanted: &Resources,
        tasks: Vec<TaskSlot>,
    ) -> Option<(Vec<TaskSlot>, Resources)> {
        let freed = |slot: &TaskSlot| self.tasks[*slot].info.resources.unclaimed();
        let mut room = free;
        let mut chosen = Vec::new();
        for slot in tasks {
            if room.contains(wanted) {
                break;
            }
            room = room.checked_add(&freed(&slot))?;
            chosen.push(slot);
        }
        if !room.contains(wanted) {
            return None;
        }
        // The last ones do the most harm; with one of them some before it may not be needed.
        let mut needed = Vec::new();
        for slot in chosen.into_iter().rev() {
            match room.checked_sub(&freed(&slot)) {
                Some(less) if less.contains(wanted) => room = less,
                _ => needed.push(slot),
            }
        }
        needed.reverse();
        Some((needed, room))
    }

    /// Whether a client would not see an offer of this, or has turned as much down.
    fn would_refuse(
        &self,
        slot: ClientSlot,
        client: &Client,
        agent: AgentSlot,
        room: &Resources,
    ) -> bool {
        let filters = &self.allocator.filters;
        let filtered = filters.blocks(slot, client.epoch, agent, room, self.now);
        let blocked = client.wishes.resources_blocked(room, &self.config);
        filtered.is_some() || blocked.is_some()
    }

    fn harm(&self, tasks: &[TaskSlot], lower: &Lower) -> Harm {
        let victims = tasks.iter().map(|slot| &self.tasks[*slot]);
        let victims: Vec<_> = victims.filter(|task| !task.is_ending()).collect();
        let highest = victims
            .iter()
            .filter_map(|task| priority_of(task, lower))
            .max();
        let oldest = victims.iter().map(|task| task.since).min();
        (highest, victims.len(), Reverse(oldest.unwrap_or(Time::MAX)))
    }

    /// Ends tasks of an agent for a client.
    fn promise(
        &mut self,
        client: ClientSlot,
        shape: &Resources,
        agent: AgentSlot,
        tasks: Vec<TaskSlot>,
        preemption: Preemption,
        out: &mut Decisions,
    ) {
        let kill = Kill {
            grace: preemption.grace,
            reason: TaskReason::Preempted,
        };
        for task in &tasks {
            if !self.tasks[*task].is_ending() {
                self.stats.tasks_preempted += 1;
                self.kill(*task, kill, out);
            }
        }
        self.allocator.clients[client].promises += 1;
        let promise = Promise {
            client,
            role: self.allocator.clients[client].role.clone(),
            shape: shape.clone(),
            tasks: tasks.into_iter().collect(),
        };
        self.agents[agent].promises.push(promise);
    }

    /// A task has ended: promises that wait for nothing else are kept.
    fn keep_promises(&mut self, agent: AgentSlot, task: TaskSlot) {
        let clients = &mut self.allocator.clients;
        self.agents[agent].promises.retain_mut(|promise| {
            let waits = !promise.tasks.remove(&task) || !promise.tasks.is_empty();
            if !waits {
                clients[promise.client].promises -= 1;
            }
            waits
        });
    }

    /// A task holds nothing of its agent any more, and its resources are about to be free.
    pub(crate) fn let_go(
        &mut self,
        agent: AgentSlot,
        task: TaskSlot,
        framework: FrameworkSlot,
        info: &TaskInfo,
    ) {
        self.agents[agent].leave(task, framework, info);
        self.find_other_run(agent, framework, info);
        self.keep_promises(agent, task);
    }

    /// A client is no longer there: what was promised to it is anybody's.
    pub(crate) fn break_promises(&mut self, client: ClientSlot) {
        if self.allocator.clients[client].promises == 0 {
            return;
        }
        for slot in self.agents.slots() {
            let promises = &mut self.agents[slot].promises;
            let before = promises.len();
            promises.retain(|promise| promise.client != client);
            if promises.len() < before {
                self.touch_agent(slot);
            }
        }
        self.allocator.clients[client].promises = 0;
    }

    /// Asserts that promises wait for tasks that are about to end, and are counted.
    pub(crate) fn check_promises(&self) {
        let mut counts: BTreeMap<ClientSlot, usize> = BTreeMap::new();
        for (slot, agent) in self.agents.iter() {
            for promise in &agent.promises {
                assert!(!promise.tasks.is_empty(), "a promise waits for something");
                for task in &promise.tasks {
                    let task = &self.tasks[*task];
                    let ends = task.agent == slot && task.holds() && task.is_ending();
                    assert!(ends, "a promise waits for a task that will end");
                }
                *counts.entry(promise.client).or_default() += 1;
            }
        }
        for (slot, client) in self.allocator.clients.iter() {
            let count = counts.remove(&slot).unwrap_or_default();
            assert_eq!(client.promises, count, "promises are counted");
        }
        assert!(counts.is_empty(), "promises are to clients that there are");
    }
}

/// The priority of a task's client where it parts with the one that is to be served; none if the task ends
/// anyway.
fn priority_of(task: &Task, lower: &Lower) -> Option<i32> {
    let priority = lower.get(&task.client).copied();
    priority.filter(|_| !task.is_ending())
}

/// Takes off a demand what fits into some resources.
fn take_off(demand: &mut [(Resources, u32)], mut resources: Resources) {
    for (shape, count) in demand {
        while *count > 0 {
            let Some(rest) = resources.checked_sub(shape) else {
                break;
            };
            resources = rest;
            *count -= 1;
        }
    }
}
