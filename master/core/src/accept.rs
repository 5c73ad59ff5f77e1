//! Acceptance of offers: a fold of the operations over what was accepted. Each operation sees what the
//! earlier ones have left; what the last one leaves is turned down.

use std::sync::Arc;
use std::time::Duration;

use nesos_types::ids::{AgentId, OfferId, TaskId};
use nesos_types::message::{AgentCommand, Refusal, SchedulerEvent};
use nesos_types::offer::{Filters, Operation};
use nesos_types::reservation::ReservationChange;
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, TaskGroup, TaskReason, TaskState, TaskStatus};

use crate::decision::{Decisions, Happening};
use crate::executors::Draft;
use crate::master::Master;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, OfferSlot};
use crate::tasks::{Task, status_by_master};
use crate::validate::Invalid;
use nesos_types::ids::TaskKey;

/// Why nothing of an acceptance was done.
struct Dropped {
    reason: TaskReason,
    agent: Option<AgentId>,
    message: &'static str,
}

impl Dropped {
    const fn offers(message: &'static str) -> Self {
        Self {
            reason: TaskReason::InvalidOffers,
            agent: None,
            message,
        }
    }
}

/// An acceptance under way.
pub(crate) struct Acceptance {
    pub(crate) framework: FrameworkSlot,
    pub(crate) client: ClientSlot,
    pub(crate) agent: AgentSlot,
    /// What the operations so far have left.
    pub(crate) remaining: Resources,
    /// What they have made of other resources.
    pub(crate) fresh: Resources,
    /// What is to be launched, in order.
    launches: Vec<SharedTask>,
}

impl Master {
    /// A framework uses offers.
    pub(crate) fn on_accept(
        &mut self,
        framework: FrameworkSlot,
        offers: &[OfferId],
        operations: Vec<Operation>,
        filters: Filters,
        out: &mut Decisions,
    ) {
        match self.take_offers(framework, offers) {
            Ok(mut acceptance) => {
                for operation in operations {
                    self.operate(&mut acceptance, operation, out);
                }
                self.finish(acceptance, filters, out);
            }
            Err(dropped) => self.drop_launches(framework, operations, &dropped, out),
        }
    }

    /// Takes the offers out. If any is not valid the others are given up too: those of the caller,
    /// and of nobody else.
    fn take_offers(
        &mut self,
        framework: FrameworkSlot,
        offers: &[OfferId],
    ) -> Result<Acceptance, Dropped> {
        let slots = self.find_offers(framework, offers).inspect_err(|_| {
            for id in offers {
                if let Some(slot) = self.offers.find(*id, framework) {
                    self.discard_offer(slot);
                }
            }
        })?;
        let first = &self.offers[slots[0]];
        let mut acceptance = Acceptance {
            framework,
            client: first.client,
            agent: first.agent,
            remaining: Resources::default(),
            fresh: Resources::default(),
            launches: Vec::new(),
        };
        self.stats.offers_accepted += slots.len() as u64;
        for slot in slots {
            let offer = self.remove_offer(slot);
            acceptance.remaining = acceptance
                .remaining
                .checked_add(&offer.resources)
                .expect("offers of one agent have nothing in common and fit into it");
            self.allocator.clients[offer.client].holdings -= 1;
        }
        // Held while tasks are made of it, so that the client outlives the fold.
        self.allocator.clients[acceptance.client].holdings += 1;
        Ok(acceptance)
    }

    fn find_offers(
        &self,
        framework: FrameworkSlot,
        offers: &[OfferId],
    ) -> Result<Vec<OfferSlot>, Dropped> {
        let mut slots: Vec<OfferSlot> = Vec::with_capacity(offers.len());
        for id in offers {
            let slot = self
                .offers
                .find(*id, framework)
                .ok_or_else(|| self.why_gone(framework, *id))?;
            if slots.contains(&slot) {
                return Err(Dropped::offers("an offer is named twice"));
            }
            slots.push(slot);
        }
        let place = |slot: &OfferSlot| (self.offers[*slot].agent, self.offers[*slot].client);
        match slots.split_first() {
            None => Err(Dropped::offers("no offer is named")),
            Some((first, rest)) if rest.iter().any(|slot| place(slot) != place(first)) => Err(
                Dropped::offers("the offers are not all of one agent and one role"),
            ),
            Some(_) => Ok(slots),
        }
    }

    fn why_gone(&self, framework: FrameworkSlot, id: OfferId) -> Dropped {
        match self.offers.find_lost(id, self.frameworks[framework].id) {
            Some(lost) => Dropped {
                reason: lost.reason,
                agent: Some(lost.agent),
                message: "the agent was lost before the offer was accepted",
            },
            None => Dropped::offers("an offer is unknown, already used or taken back"),
        }
    }

    fn drop_launches(
        &mut self,
        framework: FrameworkSlot,
        operations: Vec<Operation>,
        dropped: &Dropped,
        out: &mut Decisions,
    ) {
        for operation in operations {
            let tasks = match operation {
                Operation::Launch(tasks) | Operation::LaunchGroup(tasks) => tasks,
                Operation::Reservation(change) => {
                    self.drop_change(framework, &change, dropped, out);
                    continue;
                }
            };
            for task in tasks {
                self.stats.tasks_dropped += 1;
                let mut status = status_by_master(
                    task.id.clone(),
                    TaskState::Dropped,
                    dropped.reason,
                    dropped.message,
                    self.now,
                );
                status.agent = dropped.agent;
                self.tell_status(framework, status, out);
            }
        }
    }

    fn drop_change(
        &self,
        framework: FrameworkSlot,
        change: &ReservationChange,
        dropped: &Dropped,
        out: &mut Decisions,
    ) {
        if let Some(connection) = self.frameworks[framework].connection {
            let refusal = Refusal::InvalidCall {
                call: change.name().to_owned(),
                why: dropped.message.to_owned(),
            };
            out.tell_scheduler(connection, SchedulerEvent::Refused(refusal));
        }
    }

    fn operate(&mut self, acceptance: &mut Acceptance, operation: Operation, out: &mut Decisions) {
        match operation {
            Operation::Launch(tasks) => {
                for task in tasks {
                    self.launch(acceptance, task, out);
                }
            }
            Operation::LaunchGroup(tasks) => self.launch_group(acceptance, tasks, out),
            Operation::Reservation(change) => self.change_accepted(acceptance, &change, out),
        }
    }

    fn launch(&mut self, acceptance: &mut Acceptance, task: SharedTask, out: &mut Decisions) {
        let id = task.id.clone();
        let mut draft = Draft::new(&acceptance.remaining);
        match self.draft(acceptance, &mut draft, task) {
            Ok(()) => self.take_draft(acceptance, draft, out),
            Err(invalid) => self.tell_invalid(acceptance, &id, &invalid, out),
        }
    }

    /// All or none.
    fn launch_group(
        &mut self,
        acceptance: &mut Acceptance,
        tasks: Vec<SharedTask>,
        out: &mut Decisions,
    ) {
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        let mut draft = Draft::new(&acceptance.remaining);
        for (id, task) in ids.iter().zip(tasks) {
            if let Err(invalid) = self.draft(acceptance, &mut draft, task) {
                let invalid = invalid.in_group(id);
                for id in &ids {
                    self.tell_invalid(acceptance, id, &invalid, out);
                }
                return;
            }
        }
        // Before all members, for those are launched together.
        draft.tasks.sort_by_key(|task| task.run_of().is_none());
        self.name_group(&mut draft, ids.len());
        self.take_draft(acceptance, draft, out);
    }

    /// Tells the members of a group from those of others. A group of one is none.
    fn name_group(&mut self, draft: &mut Draft, size: usize) {
        if size < 2 {
            return;
        }
        let id = self.ids.group();
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let members = draft.tasks.iter().filter(|task| task.run_of().is_none());
        let disks = members.map(|task| task.sandbox_resources().disk_bytes);
        let group = TaskGroup {
            id,
            size,
            disk_bytes: disks.fold(0, u64::saturating_add),
        };
        for task in &mut draft.tasks {
            if task.run_of().is_none() {
                Arc::make_mut(task).group = Some(group.clone());
            }
        }
    }

    fn take_draft(&mut self, acceptance: &mut Acceptance, draft: Draft, out: &mut Decisions) {
        acceptance.remaining = draft.remaining;
        for task in draft.tasks {
            self.add_launched(acceptance, task, out);
        }
    }

    fn tell_invalid(
        &mut self,
        acceptance: &Acceptance,
        task: &TaskId,
        invalid: &Invalid,
        out: &mut Decisions,
    ) {
        self.stats.tasks_invalid += 1;
        let status = status_by_master(
            task.clone(),
            invalid.state(),
            invalid.reason,
            invalid.message.clone(),
            self.now,
        );
        let agent = self.agents[acceptance.agent].id;
        self.tell_status(acceptance.framework, status.on(agent), out);
    }

    /// Takes a valid task in: its resources pass from the offer to it.
    fn add_launched(&mut self, acceptance: &mut Acceptance, task: SharedTask, out: &mut Decisions) {
        let is_run = task.run_of().is_some();
        self.stats.tasks_launched += u64::from(!is_run);
        self.stats.runs_started += u64::from(is_run);
        let role = self.allocator.clients[acceptance.client].role.clone();
        let slot = self.tasks.insert(Task {
            info: SharedTask::clone(&task),
            framework: acceptance.framework,
            client: acceptance.client,
            role,
            agent: acceptance.agent,
            state: TaskState::Staging,
            status: None,
            unacknowledged: false,
            kill: None,
            since: self.now,
            updated_at: self.now,
        });
        let framework = &mut self.frameworks[acceptance.framework];
        framework.absent_kills.remove(&task.id);
        framework.tasks.insert(task.id.clone(), slot);
        framework.bundles.note(task.bundle);
        let framework_id = framework.id;
        self.agents[acceptance.agent].enter(slot, acceptance.framework, &task);
        let client = &mut self.allocator.clients[acceptance.client];
        client.holdings += 1;
        if is_run {
            acceptance.launches.push(task);
            return;
        }
        let waits_for_nothing_more = client.wishes.satisfy(&task.resources);
        out.observed(Happening::TaskAdded {
            key: TaskKey {
                framework: framework_id,
                task: task.id.clone(),
            },
            agent: self.agents[acceptance.agent].id,
        });
        if waits_for_nothing_more {
            self.touch_client(acceptance.client, false);
        }
        acceptance.launches.push(task);
    }

    /// Sends what was launched, and turns down what is left.
    fn finish(&mut self, acceptance: Acceptance, filters: Filters, out: &mut Decisions) {
        let Acceptance {
            framework,
            client,
            agent,
            remaining,
            fresh,
            launches,
        } = acceptance;
        let refusal = self.refusal_of_rest(filters, launches.is_empty());
        if let (Some(connection), false) = (self.agents[agent].connection(), launches.is_empty()) {
            let launch = AgentCommand::Launch {
                framework: self.frameworks[framework].id,
                signers: self.signers_of(&self.allocator.clients[client].role),
                role: self.allocator.clients[client].role.clone(),
                tasks: launches,
            };
            out.tell_agent(connection, launch);
        }
        // What was set apart or given back comes again at once.
        let refused = remaining.saturating_sub(&fresh);
        if !refused.is_empty() && !refusal.is_zero() {
            self.refuse(client, agent, &refused, refusal);
        }
        self.release(client, agent, &remaining);
    }

    /// How long the rest of an accepted offer is refused. A refusal lasts one allocation interval at
    /// the least, or offer and answer would chase each other; but whoever has launched something and
    /// asks for no filter made headway, and may have the rest at once.
    fn refusal_of_rest(&self, filters: Filters, launched_nothing: bool) -> Duration {
        let asked = filters.duration();
        if asked.is_zero() && !launched_nothing {
            return Duration::ZERO;
        }
        asked.max(self.config.allocation_interval)
    }

    /// Passes a status on to a framework's scheduler, if it is there.
    pub(crate) fn tell_status(
        &mut self,
        framework: FrameworkSlot,
        status: TaskStatus,
        out: &mut Decisions,
    ) {
        match self.frameworks[framework].connection {
            Some(connection) => {
                self.stats.updates_forwarded += 1;
                out.tell_scheduler(connection, SchedulerEvent::Update(status));
            }
            None => self.stats.updates_held_back += 1,
        }
    }
}
