//! How a snapshot is made of the master's state.

use std::collections::{BTreeMap, BTreeSet};

use nesos_types::agent::AgentOrders;
use nesos_types::ids::{AgentId, FrameworkId, RunId};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::time::Time;

use super::{
    AgentStanding, AgentView, ExecutorView, FrameworkView, OfferView, RoleView, Snapshot, TaskView,
};
use crate::agents::{Agent, Link};
use crate::allocator::quantities::Quantities;
use crate::executors;
use crate::frameworks::{CompletedFramework, Framework};
use crate::master::Master;
use crate::registry::AgentFact;
use crate::table::TaskSlot;

impl Master {
    /// Everything that operators may see, copied.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: self.now,
            agents: self.agent_views(),
            frameworks: self
                .frameworks
                .by_id()
                .map(|(_, framework)| self.framework_view(framework))
                .collect(),
            completed_frameworks: self
                .frameworks
                .completed
                .iter()
                .map(completed_view)
                .collect(),
            roles: self.role_views(),
            policy: self.policy(),
            offers: self.offer_views(),
            stats: self.stats,
        }
    }

    fn agent_views(&self) -> Vec<AgentView> {
        let present = self.agents.by_id().map(|(_, agent)| self.agent_view(agent));
        let away = self.registry.agents().filter_map(|(id, fact)| match fact {
            AgentFact::Unreachable {
                hostname,
                since,
                at,
            } => Some(AgentView {
                orders: self.registry.orders(id),
                ..unreachable_view(id, hostname, *since, *at)
            }),
            AgentFact::Admitted { .. } | AgentFact::Removed { .. } | AgentFact::Gone { .. } => None,
        });
        let mut views: Vec<_> = present.chain(away).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    fn agent_view(&self, agent: &Agent) -> AgentView {
        let offers = agent.offers.iter().map(|slot| &self.offers[*slot]);
        AgentView {
            id: agent.id,
            hostname: agent.info.hostname.clone(),
            standing: match agent.link {
                Link::Connected(_) => AgentStanding::Active,
                Link::Disconnected { .. } => AgentStanding::Disconnected,
                Link::Recovered => AgentStanding::Recovered,
            },
            since: agent.since,
            last_heard: agent.last_heard,
            info: Some(agent.info.clone()),
            allocated: sum(self.held_by_tasks(agent.tasks.iter())),
            offered: sum(offers.map(|offer| &offer.resources)),
            free: agent.free.clone(),
            total: agent.total.clone(),
            tasks: agent.tasks.len() - agent.runs.len(),
            ended: agent
                .tasks
                .iter()
                .filter(|slot| self.tasks[**slot].state.is_terminal())
                .count(),
            orders: agent.orders,
            drained: agent.is_drained(),
            overdue: agent.overdue,
        }
    }

    /// The resources of those of the tasks that still hold some.
    fn held_by_tasks<'a>(
        &'a self,
        tasks: impl Iterator<Item = &'a TaskSlot>,
    ) -> impl Iterator<Item = &'a Resources> {
        tasks
            .map(|slot| &self.tasks[*slot])
            .filter(|task| task.holds())
            .map(|task| &task.info.resources)
    }

    fn framework_view(&self, framework: &Framework) -> FrameworkView {
        let allocated: Quantities = self.held_by_tasks(framework.tasks.values()).collect();
        let offers = framework.offers.iter().map(|slot| &self.offers[*slot]);
        let offered: Quantities = offers.map(|offer| &offer.resources).collect();
        let mut held = allocated.clone();
        held.add(&offered.to_resources());
        let clients = framework.clients.iter();
        let suppressed = clients.filter(|(_, slot)| {
            let client = &self.allocator.clients[**slot];
            client.subscribed && client.suppressed
        });
        FrameworkView {
            id: framework.id,
            info: framework.info.clone(),
            connected: framework.connection.is_some(),
            since: framework.since,
            removed_at: None,
            suppressed: suppressed.map(|(role, _)| role.clone()).collect(),
            dominant_share: held.dominant_share(&self.allocator.policy.counted()),
            allocated: allocated.to_resources(),
            offered: offered.to_resources(),
            tasks: self.task_views(framework),
            executors: self.executor_views(framework),
            unreachable_tasks: framework
                .unreachable
                .values()
                .map(|task| task.view.clone())
                .collect(),
            completed_tasks: framework.completed.iter().cloned().collect(),
        }
    }

    fn task_views(&self, framework: &Framework) -> Vec<TaskView> {
        let tasks = framework.tasks.values().map(|slot| &self.tasks[*slot]);
        tasks
            .filter(|task| task.info.run_of().is_none())
            .map(|task| task.view(framework.id, self.agents[task.agent].id))
            .collect()
    }

    fn executor_views(&self, framework: &Framework) -> Vec<ExecutorView> {
        let mut tasks: BTreeMap<RunId, usize> = BTreeMap::new();
        let known = framework.tasks.values().map(|slot| &self.tasks[*slot]);
        for run in known
            .filter(|task| task.holds())
            .filter_map(|task| task.info.run())
        {
            *tasks.entry(run).or_default() += 1;
        }
        let known = framework.tasks.values().map(|slot| &self.tasks[*slot]);
        let runs = known.filter(|task| task.holds()).filter_map(|task| {
            let run = executors::as_run(&task.info.id)?;
            Some(ExecutorView {
                executor: task.info.run_of()?.clone(),
                run: task.view(framework.id, self.agents[task.agent].id),
                tasks: tasks.get(&run).copied().unwrap_or_default(),
            })
        });
        let mut views: Vec<_> = runs.collect();
        views.sort_by(|a, b| (&a.executor, a.run.agent).cmp(&(&b.executor, b.run.agent)));
        views
    }

    fn role_views(&self) -> Vec<RoleView> {
        let mut roles: BTreeMap<Role, (Quantities, BTreeSet<FrameworkId>)> = self
            .known_roles()
            .into_iter()
            .map(|role| (role, Default::default()))
            .collect();
        for (slot, client) in self.allocator.clients.iter() {
            let held = self.allocator.policy.held(slot);
            for role in client.role.path() {
                roles.entry(role).or_default().0.extend(held);
            }
            let framework = self.frameworks[client.framework].id;
            roles
                .entry(client.role.clone())
                .or_default()
                .1
                .insert(framework);
        }
        roles
            .into_iter()
            .map(|(role, (held, frameworks))| RoleView {
                settings: self.role_settings(&role),
                dominant_share: held.dominant_share(&self.allocator.policy.counted()),
                held: held.to_resources(),
                frameworks: frameworks.into_iter().collect(),
                role,
            })
            .collect()
    }

    fn offer_views(&self) -> Vec<OfferView> {
        let offers = self.offers.iter().map(|(_, offer)| OfferView {
            id: offer.id,
            framework: self.frameworks[offer.framework].id,
            role: self.allocator.clients[offer.client].role.clone(),
            agent: self.agents[offer.agent].id,
            resources: offer.resources.clone(),
            free_sandboxes: self.agents[offer.agent].free_sandboxes(),
            compiled_bundles: self.frameworks[offer.framework]
                .bundles
                .among(&self.agents[offer.agent].compiled),
            since: offer.since,
        });
        let mut views: Vec<_> = offers.collect();
        views.sort_by_key(|view| view.id);
        views
    }
}

/// Resources of one agent, summed. An agent whose tasks do not fit it shows what can be added up.
fn sum<'a>(bags: impl Iterator<Item = &'a Resources>) -> Resources {
    bags.fold(Resources::default(), |sum, bag| {
        sum.checked_add(bag).unwrap_or(sum)
    })
}

fn unreachable_view(id: AgentId, hostname: &str, since: Time, at: Time) -> AgentView {
    AgentView {
        id,
        hostname: hostname.to_owned(),
        standing: AgentStanding::Unreachable,
        since,
        last_heard: at,
        info: None,
        allocated: Resources::default(),
        offered: Resources::default(),
        free: Resources::default(),
        total: Resources::default(),
        tasks: 0,
        ended: 0,
        orders: AgentOrders::default(),
        drained: false,
        overdue: None,
    }
}

fn completed_view(framework: &CompletedFramework) -> FrameworkView {
    FrameworkView {
        id: framework.id,
        info: framework.info.clone(),
        connected: false,
        since: framework.since,
        removed_at: Some(framework.removed_at),
        suppressed: BTreeSet::new(),
        dominant_share: 0.0,
        allocated: Resources::default(),
        offered: Resources::default(),
        tasks: Vec::new(),
        executors: Vec::new(),
        unreachable_tasks: Vec::new(),
        completed_tasks: framework.tasks.iter().cloned().collect(),
    }
}
