//! Allocation runs, and how resources move between agents and clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::message::SchedulerEvent;
use nesos_types::offer::Offer;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::time::Time;

use super::quota::{Pass, Portion};
use super::wishes::Wishes;
use super::{AgentBlocked, Allocator, Client, Rules, agent_blocked, portion};
use crate::deadlines::Deadline;
use crate::decision::Decisions;
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot};

/// How many agents are looked at together before they are served.
const LOOK_AHEAD: usize = 32;

impl Master {
    /// Offers the candidates' resources, and looks at them no more until something changes.
    pub(crate) fn allocate(&mut self, out: &mut Decisions) {
        self.allocator.due = None;
        self.stats.allocation_runs += 1;
        let mut made: BTreeMap<FrameworkSlot, Vec<Offer>> = BTreeMap::new();
        let candidates = self.allocator.take_candidates();
        self.allocator.policy.begin(self.now, candidates.len());
        for agent in &candidates {
            if !self.allocator.quotas.requires_anything() {
                break;
            }
            self.serve(*agent, Pass::Guarantees, &mut made);
        }
        for some in candidates.chunks(LOOK_AHEAD) {
            self.look_ahead(some);
            for agent in some {
                self.stats.agents_visited += 1;
                self.serve(*agent, Pass::Everybody, &mut made);
                // What was left is looked at again when something changes.
                self.allocator.set_aside(*agent);
            }
        }
        for (framework, offers) in made {
            if let Some(connection) = self.frameworks[framework].connection {
                out.tell_scheduler(connection, SchedulerEvent::Offers(offers));
            }
        }
        self.preempt(out);
        self.note_policy(out);
        self.arm_cycle();
    }

    /// Agents are visited in random order, so that in a large cluster each is far from the caches. Looked
    /// at together they arrive together: their loads wait for nothing but memory, and not for one another.
    fn look_ahead(&self, agents: &[AgentSlot]) {
        let touched = agents.iter().map(|slot| {
            let agent = &self.agents[*slot];
            Arc::strong_count(&agent.info) ^ agent.offers.len() ^ usize::from(agent.overcommitted)
        });
        std::hint::black_box(touched.fold(0, |all, one| all ^ one));
    }

    /// Offers what is free on an agent: all of it to one client, unless a quota gives it a part only.
    fn serve(
        &mut self,
        agent: AgentSlot,
        pass: Pass,
        made: &mut BTreeMap<FrameworkSlot, Vec<Offer>>,
    ) {
        while self.allocator.is_idle(agent) {
            let Some((client, portion)) = self.next_client(agent, pass) else {
                return;
            };
            let offer = self.make_offer(client, agent, portion);
            let framework = self.allocator.clients[client].framework;
            made.entry(framework).or_default().push(offer);
        }
    }

    /// What an allocation goes by in this pass.
    pub(crate) fn rules(&self, pass: Pass) -> Rules<'_> {
        Rules {
            config: &self.config,
            now: self.now,
            pass,
            holdings_unknown: self.are_holdings_unknown(),
        }
    }

    /// Whether more than a fifth of the agents have not come back since the master restarted. What roles
    /// hold on those is not known, so quotas cannot be kept. (Mesos waits for four fifths as well.) Those whose time
    /// to come back is over are not waited for.
    fn are_holdings_unknown(&self) -> bool {
        (self.recovered - self.removals.overdue) * 5 > self.agents.len()
    }

    /// Whom the policy serves with an agent's free resources, and with how much of them.
    fn next_client(&mut self, slot: AgentSlot, pass: Pass) -> Option<(ClientSlot, Portion)> {
        let holdings_unknown = self.are_holdings_unknown();
        let Allocator {
            clients,
            policy,
            filters,
            quotas,
            ..
        } = &mut self.allocator;
        let agent = &self.agents[slot];
        let rules = Rules {
            config: &self.config,
            now: self.now,
            pass,
            holdings_unknown,
        };
        let mut found = None;
        let client = policy.next(&mut |client| {
            let of = (client, slot, agent);
            found = portion(&clients[client], quotas, filters, of, &rules).ok();
            found.is_some()
        })?;
        Some((client, found?))
    }

    /// While somebody wants what is there and quotas keep it from them, a cycle looks at it from time to
    /// time. Nothing else can change without the allocator's being told.
    fn arm_cycle(&mut self) {
        if self.allocator.quotas.is_empty() {
            return;
        }
        let wanted = !self.allocator.idle.is_empty() && self.allocator.policy.anyone_wanting();
        if wanted && self.allocator.cycle_at.is_none() {
            let at = self.now + self.config.allocation_interval;
            self.allocator.cycle_at = Some(at);
            self.deadlines.insert(at, Deadline::Cycle);
        }
    }

    /// The next cycle of the allocator has come.
    pub(crate) fn on_cycle(&mut self) {
        self.allocator.cycle_at = None;
        self.allocator.next_cycle();
        self.allocate_soon();
    }

    /// Schedules a run: as soon as the driver has drained its queue, or after the window.
    fn allocate_soon(&mut self) {
        let is_wanted = !self.allocator.candidates.is_empty() || self.preemption().is_some();
        if self.allocator.due.is_none() && is_wanted {
            self.allocator.due = Some(self.now + self.config.allocation_window);
        }
    }

    /// Looks at every idle agent again, because whom they go to may have changed.
    pub(crate) fn allocate_afresh(&mut self) {
        self.allocator.touch_all();
        self.allocate_soon();
    }

    /// What keeps an agent's resources from everybody.
    pub(crate) fn agent_blocked(&self, slot: AgentSlot) -> Option<AgentBlocked> {
        agent_blocked(&self.agents[slot], &self.offers, |free| {
            self.allocator.is_worth_it(free, &self.config)
        })
    }

    /// Changes which offers a client wants to see.
    pub(crate) fn set_wishes(&mut self, client: ClientSlot, wishes: Wishes) {
        if self.allocator.set_wishes(client, wishes) {
            for slot in self.agents.slots() {
                self.touch_agent(slot);
            }
        }
    }

    /// Tells the allocator that an agent, or what is free on it, has changed.
    pub(crate) fn touch_agent(&mut self, slot: AgentSlot) {
        let blocked = self.agent_blocked(slot);
        let free = blocked.is_none().then_some(&self.agents[slot].free);
        self.allocator.touch(slot, free);
        self.allocate_soon();
    }

    /// An agent is no longer there.
    pub(crate) fn forget_agent(&mut self, slot: AgentSlot) {
        self.allocator.touch(slot, None);
        self.clear_agent_filters(slot);
    }

    /// Forgets every refusal on an agent.
    pub(crate) fn clear_agent_filters(&mut self, slot: AgentSlot) {
        for (at, client) in self.allocator.filters.clear_agent(slot) {
            self.deadlines.remove(at, Deadline::Filter(client, slot));
        }
    }

    /// Tells the allocator that a client's wishes have changed. When it wants offers now and did not
    /// before, or when `afresh`, all idle agents are looked at again.
    pub(crate) fn touch_client(&mut self, slot: ClientSlot, afresh: bool) {
        let wanting = self.allocator.clients[slot].blocked().is_none();
        self.allocator.policy.set_wanting(slot, wanting);
        if wanting && afresh {
            self.allocate_afresh();
        }
    }

    /// Forgets a client's refusals.
    pub(crate) fn clear_client_filters(&mut self, slot: ClientSlot) {
        self.allocator.clients[slot].epoch = self.allocator.filters.new_epoch();
    }

    /// Keeps resources of an agent from a client that turned them down.
    pub(crate) fn refuse(
        &mut self,
        client: ClientSlot,
        agent: AgentSlot,
        resources: &Resources,
        refusal: Duration,
    ) {
        let epoch = self.allocator.clients[client].epoch;
        let until = self.now + refusal;
        let filters = &mut self.allocator.filters;
        let set = filters.refuse(client, epoch, agent, resources.clone(), until);
        if let Some((before, first)) = set {
            let deadline = Deadline::Filter(client, agent);
            if let Some(before) = before {
                self.deadlines.remove(before, deadline);
            }
            self.deadlines.insert(first, deadline);
        }
    }

    /// A refusal is over: its client may be offered the agent again.
    pub(crate) fn on_filter_expired(&mut self, client: ClientSlot, agent: AgentSlot) {
        let epoch = self.allocator.clients.get(client).map(|it| it.epoch);
        let filters = &mut self.allocator.filters;
        if let Some(next) = filters.expire(client, epoch, agent, self.now) {
            self.deadlines.insert(next, Deadline::Filter(client, agent));
        }
        self.touch_agent(agent);
    }

    /// The client of a framework in a role, made if it is not there.
    pub(crate) fn client_of(&mut self, framework: FrameworkSlot, role: &Role) -> ClientSlot {
        if let Some(client) = self.frameworks[framework].clients.get(role) {
            return *client;
        }
        let epoch = self.allocator.filters.new_epoch();
        let mut client = Client::new(framework, role.clone(), epoch);
        client.quotas = self.allocator.quotas.path(role);
        let slot = self.allocator.clients.insert(client);
        self.allocator.policy.add(slot, role);
        self.frameworks[framework]
            .clients
            .insert(role.clone(), slot);
        slot
    }

    /// Removes a client that neither wants nor holds anything.
    pub(crate) fn drop_client_if_unused(&mut self, slot: ClientSlot) {
        let client = &self.allocator.clients[slot];
        if client.subscribed || client.holdings > 0 {
            return;
        }
        self.allocator.policy.set_wanting(slot, false);
        self.allocator.policy.remove(slot);
        self.allocator.set_wishes(slot, Wishes::default());
        self.break_promises(slot);
        let client = self.allocator.clients.remove(slot);
        self.frameworks[client.framework]
            .clients
            .remove(&client.role);
    }

    /// Resources that a client held on an agent are free again.
    pub(crate) fn release(&mut self, client: ClientSlot, agent: AgentSlot, resources: &Resources) {
        self.allocator.refund(client, resources);
        self.allocator.clients[client].holdings -= 1;
        self.drop_client_if_unused(client);
        self.give_back(agent, resources);
    }

    /// Adds to what is free on an agent.
    pub(crate) fn give_back(&mut self, agent: AgentSlot, resources: &Resources) {
        let free = self.agents[agent].free.checked_add(resources);
        match free {
            Some(free) if !self.agents[agent].overcommitted => self.agents[agent].free = free,
            _ => self.recount(agent),
        }
        if resources.revocable_cpu_milli() > 0 {
            self.fit_revocable(agent);
        }
        self.touch_agent(agent);
    }

    /// Works out anew what is free on an agent whose tasks do not fit it.
    pub(crate) fn recount(&mut self, slot: AgentSlot) {
        // What tasks hold of what is revocable the agent has, whatever it says of its slack.
        self.fit_revocable(slot);
        let agent = &mut self.agents[slot];
        let tasks = agent.tasks.clone();
        let offers = agent.offers.clone();
        let by_tasks = tasks
            .iter()
            .map(|task| &self.tasks[*task])
            .filter(|task| task.holds())
            .map(|task| &task.info.resources);
        let by_offers = offers.iter().map(|offer| &self.offers[*offer].resources);
        agent.recount(by_tasks.chain(by_offers));
    }

    /// What tasks and offers hold on an agent.
    pub(crate) fn held_on(&self, slot: AgentSlot) -> impl Iterator<Item = &Resources> {
        let agent = &self.agents[slot];
        let tasks = agent.tasks.iter().map(|task| &self.tasks[*task]);
        let by_tasks = tasks
            .filter(|task| task.holds())
            .map(|task| &task.info.resources);
        let offers = agent.offers.iter();
        by_tasks.chain(offers.map(|offer| &self.offers[*offer].resources))
    }

    /// The earliest moment at which something is to be done.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines
            .next()
            .into_iter()
            .chain(self.allocator.due)
            .min()
    }
}
