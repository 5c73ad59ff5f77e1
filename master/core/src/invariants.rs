//! Invariants: what holds between any two events. Called by tests and by the simulator.

use std::collections::{BTreeMap, BTreeSet};

use nesos_types::agent::AgentOrders;
use nesos_types::resources::Resources;
use nesos_types::time::Time;

use crate::agents::{Agent, Link};
use crate::allocator::quantities::Quantities;
use crate::allocator::quota::Pass;
use crate::deadlines::Deadline;
use crate::master::{Master, Peer};
use crate::registry::{AgentFact, FrameworkFact};
use crate::snapshot::Overdue;
use crate::table::{AgentSlot, ClientSlot, Slot};

impl Master {
    /// Asserts what must hold over the whole state. Costs as much as the state is large.
    ///
    /// # Panics
    /// If it does not hold: that is a bug.
    pub fn check_invariants(&self) {
        self.check_registry();
        self.check_connections();
        self.check_tasks();
        self.check_offers();
        self.check_agents();
        self.check_promises();
        self.check_clients();
        self.check_deadlines();
        self.check_nothing_waits();
        self.allocator.policy.check_invariants();
        self.allocator.filters.check_invariants();
    }

    /// Asserts that the books of one agent are exact: cheap enough for every event of a simulation.
    /// Another `salt` picks another agent.
    ///
    /// # Panics
    /// If they are not: that is a bug.
    pub fn check_some(&self, salt: usize) {
        let slot = AgentSlot::at(salt % self.agents.len().max(1));
        if self.agents.get(slot).is_some() {
            self.check_books(slot);
        }
    }

    /// What is durable and what is in memory agree on who there is.
    fn check_registry(&self) {
        let live = self
            .registry
            .frameworks()
            .filter_map(|(id, fact)| matches!(fact, FrameworkFact::Live { .. }).then_some(id));
        let present = self.frameworks.by_id().map(|(_, framework)| framework.id);
        assert!(
            live.eq(present),
            "live frameworks are those in the registry"
        );
        let admitted = self
            .registry
            .agents()
            .filter_map(|(id, fact)| matches!(fact, AgentFact::Admitted { .. }).then_some(id));
        let present = self.agents.by_id().map(|(_, agent)| agent.id);
        assert!(admitted.eq(present), "agents are those in the registry");
        for (id, fact) in self.registry.agents() {
            if let AgentFact::Gone { .. } = fact {
                let orders = self.registry.orders(id);
                assert_eq!(
                    orders,
                    AgentOrders::default(),
                    "nothing is ordered of the dead"
                );
                let lost = self
                    .frameworks
                    .iter()
                    .flat_map(|(_, f)| f.unreachable.values());
                let mut lost = lost.filter(|task| task.view.agent == id);
                assert!(lost.next().is_none(), "what is gone is not waited for");
            }
        }
    }

    fn check_connections(&self) {
        for (connection, peer) in &self.connections {
            match peer {
                Peer::Scheduler(slot) => {
                    assert_eq!(self.frameworks[*slot].connection, Some(*connection));
                }
                Peer::Agent(slot) => {
                    assert_eq!(self.agents[*slot].link, Link::Connected(*connection));
                }
                Peer::NewScheduler | Peer::NewAgent => {}
            }
        }
        for (slot, framework) in self.frameworks.iter() {
            if let Some(connection) = framework.connection {
                let peer = self.connections.get(&connection);
                assert_eq!(peer, Some(&Peer::Scheduler(slot)));
            }
        }
        for (slot, agent) in self.agents.iter() {
            if let Some(connection) = agent.connection() {
                assert_eq!(self.connections.get(&connection), Some(&Peer::Agent(slot)));
            }
        }
    }

    fn check_tasks(&self) {
        for (slot, task) in self.tasks.iter() {
            let framework = &self.frameworks[task.framework];
            assert_eq!(framework.tasks.get(&task.info.id), Some(&slot));
            assert!(self.agents[task.agent].tasks.contains(&slot));
            assert!(
                !framework.unreachable.contains_key(&task.info.id),
                "a task is here or unreachable, not both"
            );
            if task.holds() {
                let client = &self.allocator.clients[task.client];
                assert_eq!(client.framework, task.framework);
                assert_eq!(client.role, task.role);
            }
        }
        for (_, agent) in self.agents.iter() {
            let live = agent.tasks.iter().filter_map(|slot| {
                let task = &self.tasks[*slot];
                let executor = task.info.run_of().filter(|_| task.holds())?;
                Some((task.framework, executor.clone()))
            });
            let live: BTreeSet<_> = live.collect();
            assert!(agent.runs.keys().eq(&live), "runs of executors");
            for ((framework, executor), slot) in &agent.runs {
                let task = &self.tasks[*slot];
                assert!(task.holds() && task.framework == *framework);
                assert_eq!(task.info.run_of(), Some(executor));
            }
        }
        let by_framework: usize = self.frameworks.iter().map(|(_, f)| f.tasks.len()).sum();
        let by_agent: usize = self.agents.iter().map(|(_, agent)| agent.tasks.len()).sum();
        assert_eq!(by_framework, self.tasks.len());
        assert_eq!(by_agent, self.tasks.len());
    }

    fn check_offers(&self) {
        for (slot, offer) in self.offers.iter() {
            let agent = &self.agents[offer.agent];
            assert!(agent.offers.contains(&slot));
            assert!(
                agent.connection().is_some(),
                "nobody offers an absent agent"
            );
            assert!(agent.orders.allow_offers(), "nobody offers a drained agent");
            let framework = &self.frameworks[offer.framework];
            assert!(framework.offers.contains(&slot));
            assert!(
                framework.connection.is_some(),
                "nobody offers to the absent"
            );
        }
        let by_framework: usize = self.frameworks.iter().map(|(_, f)| f.offers.len()).sum();
        let by_agent: usize = self
            .agents
            .iter()
            .map(|(_, agent)| agent.offers.len())
            .sum();
        assert_eq!(by_framework, self.offers.len());
        assert_eq!(by_agent, self.offers.len());
    }

    fn check_agents(&self) {
        let recovered = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.link == Link::Recovered);
        assert_eq!(recovered.count(), self.recovered);
        let overdue = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.link == Link::Recovered && agent.overdue.is_some());
        assert_eq!(overdue.count(), self.removals.overdue);
        let waiting = self
            .agents
            .iter()
            .filter_map(|(slot, agent)| match agent.overdue {
                Some(Overdue::Waits { since }) => Some((since, slot)),
                Some(Overdue::Held) | None => None,
            });
        let waiting: BTreeSet<_> = waiting.collect();
        assert_eq!(waiting, self.removals.waiting, "turns");
        let total: Quantities = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.is_counted())
            .map(|(_, agent)| &agent.info.resources)
            .collect();
        assert_eq!(&total, self.allocator.policy.total());
        for (slot, _) in self.agents.iter() {
            self.check_books(slot);
        }
    }

    /// Offered, allocated and free are exactly what the agent has.
    fn check_books(&self, slot: AgentSlot) {
        let agent = &self.agents[slot];
        let tasks = agent.tasks.iter().map(|task| &self.tasks[*task]);
        let sandboxes = tasks.filter(|task| task.holds() && task.info.has_sandbox());
        let sandboxes = sandboxes.count();
        assert_eq!(agent.sandboxes as usize, sandboxes, "sandboxes are counted");
        if agent.overcommitted {
            assert!(
                agent.free.is_empty(),
                "an overcommitted agent has nothing free"
            );
            return;
        }
        let sum = self
            .held_on(slot)
            .try_fold(agent.free.clone(), |sum, held| sum.checked_add(held));
        assert_eq!(sum.as_ref(), Some(&agent.total));
        let orders = self.registry.orders(agent.id);
        assert_eq!(orders, agent.orders, "orders are durable");
        let set_apart = self.registry.set_apart(agent.id);
        assert_eq!(
            set_apart.cloned().unwrap_or_default(),
            agent.set_apart,
            "what is set apart is durable"
        );
        let expected = Agent::total_of(&agent.info.resources, &agent.set_apart.resources);
        let volumes = agent.set_apart.resources.volumes();
        let volumes: BTreeSet<_> = volumes.map(|(volume, _)| &volume.id).collect();
        assert!(
            volumes.into_iter().eq(agent.set_apart.incarnations.keys()),
            "each volume has its incarnation"
        );
        let expected = expected.and_then(|total| total.checked_add(&agent.revocable()));
        assert_eq!(expected.as_ref(), Some(&agent.total));
    }

    /// Each client is charged for what its tasks and offers hold.
    fn check_clients(&self) {
        let mut held: BTreeMap<ClientSlot, (usize, Vec<&Resources>)> = BTreeMap::new();
        let by_tasks = self.tasks.iter().map(|(_, task)| task);
        let by_tasks = by_tasks
            .filter(|task| task.holds())
            .map(|task| (task.client, &task.info.resources));
        let by_offers = self.offers.iter().map(|(_, offer)| offer);
        let by_offers = by_offers.map(|offer| (offer.client, &offer.resources));
        for (client, resources) in by_tasks.chain(by_offers) {
            let (count, bags) = held.entry(client).or_default();
            *count += 1;
            bags.push(resources);
        }
        for (slot, client) in self.allocator.clients.iter() {
            let framework = &self.frameworks[client.framework];
            assert_eq!(framework.clients.get(&client.role), Some(&slot));
            assert_eq!(client.connected, framework.connection.is_some());
            let (count, bags) = held.remove(&slot).unwrap_or_default();
            assert_eq!(client.holdings, count);
            assert!(client.subscribed || count > 0, "unused clients are dropped");
            let charged: Quantities = bags.into_iter().collect();
            assert_eq!(&charged, self.allocator.policy.held(slot));
        }
        assert!(held.is_empty(), "whoever holds something is a client");
        self.allocator.quotas.check_invariants(&self.quotas_anew());
    }

    /// Every deadline has an owner that waits for it, and every owner its deadline.
    fn check_deadlines(&self) {
        let mut expected: Vec<(Time, Deadline)> = Vec::new();
        expected.extend(
            self.agents
                .iter()
                .map(|(slot, agent)| (agent.deadline, Deadline::Agent(slot))),
        );
        expected.extend(
            self.frameworks
                .iter()
                .map(|(slot, framework)| (framework.deadline, Deadline::Framework(slot))),
        );
        expected.extend(
            self.offers
                .iter()
                .map(|(slot, offer)| (offer.expires, Deadline::Offer(slot))),
        );
        let filters = self.allocator.filters.deadlines();
        expected.extend(filters.map(|(at, client, agent)| (at, Deadline::Filter(client, agent))));
        expected.push((self.removals.deadline, Deadline::Removal));
        expected.extend(self.allocator.cycle_at().map(|at| (at, Deadline::Cycle)));
        expected.retain(|(at, _)| *at < Time::MAX);
        expected.sort_unstable();
        assert!(
            self.deadlines.iter().eq(expected.iter().copied()),
            "deadlines are those that their owners wait for"
        );
    }

    /// Whatever could be offered is about to be looked at: nothing waits for a cycle. Only quotas may
    /// let something wait for it, for a change on one agent can free what they keep back on all others.
    fn check_nothing_waits(&self) {
        if self.next_deadline().is_some_and(|due| due <= self.now) {
            return;
        }
        let may_wait = !self.allocator.quotas.is_empty() && self.allocator.cycle_at().is_some();
        let rules = self.rules(Pass::Everybody);
        for (slot, agent) in self.agents.iter() {
            let blocked = self.agent_blocked(slot);
            assert_eq!(self.allocator.is_idle(slot), blocked.is_none());
            if blocked.is_some() || self.allocator.is_candidate(slot) {
                continue;
            }
            for (client, state) in self.allocator.clients.iter() {
                let blocked = state
                    .blocked()
                    .or_else(|| self.allocator.portion(client, slot, agent, &rules).err());
                let is_held_back = blocked.is_some() || may_wait;
                assert!(is_held_back, "{} is held back for nothing", agent.id);
            }
        }
    }
}
