//! Agents as the master sees them: who is there, over which connection, and whose resources they
//! hold. How they come and go is in `registration` and `liveness`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nesos_types::agent::{AgentInfo, AgentOrders};
use nesos_types::bundle::Digest;
use nesos_types::ids::{AgentId, ExecutorId};
use nesos_types::reservation::SetApart;
use nesos_types::resources::Resources;
use nesos_types::task::TaskInfo;
use nesos_types::time::Time;

use crate::event::ConnectionId;
use crate::preemption::Promise;
use crate::snapshot::Overdue;
use crate::table::{AgentSlot, ClientSlot, FrameworkSlot, OfferSlot, Table, TaskSlot};

mod liveness;
mod orders;
mod registration;
mod removal;

pub(crate) use removal::Removals;

/// How many compiled bundles are remembered of one agent.
const MAX_COMPILED: usize = 4096;

/// How the master reaches an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Over this connection.
    Connected(ConnectionId),
    /// Not since its connection broke.
    Disconnected { since: Time },
    /// Not since the master restarted.
    Recovered,
}

/// An agent that is present, or has some time to come back.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) info: Arc<AgentInfo>,
    /// When its id was given out.
    pub(crate) since: Time,
    pub(crate) link: Link,
    pub(crate) last_heard: Time,
    /// When it is to be pinged, or to be given up if it is away.
    pub(crate) deadline: Time,
    /// All that it has: what its configuration gives it as it is set apart now, and what is revocable.
    pub(crate) total: Resources,
    /// What was set apart at run time.
    pub(crate) set_apart: SetApart,
    /// CPU of its tasks that they do not use, as far as it has said, in thousandths of a core.
    pub(crate) slack_milli: u64,
    /// What neither a task nor an offer holds.
    pub(crate) free: Resources,
    /// Its tasks use more than it has: it came back smaller, or brought tasks that do not fit.
    /// Nothing is free until enough of them have ended.
    pub(crate) overcommitted: bool,
    /// Bundles that it has compiled, as far as it has said on this connection.
    pub(crate) compiled: BTreeSet<Digest>,
    pub(crate) tasks: BTreeSet<TaskSlot>,
    /// Those of them that are runs of executors and have not ended.
    pub(crate) runs: BTreeMap<(FrameworkSlot, ExecutorId), TaskSlot>,
    pub(crate) offers: Vec<OfferSlot>,
    /// How many of its tasks hold a sandbox.
    pub(crate) sandboxes: u32,
    /// For whom tasks are being ended.
    pub(crate) promises: Vec<Promise>,
    /// What operators have decided of it.
    pub(crate) orders: AgentOrders,
    /// Why it is not taken for lost although its time is over.
    pub(crate) overdue: Option<Overdue>,
}

impl Agent {
    pub(crate) fn new(
        id: AgentId,
        info: Arc<AgentInfo>,
        set_apart: SetApart,
        since: Time,
        link: Link,
    ) -> Self {
        let total = Self::total_of(&info.resources, &set_apart.resources);
        let total = total.expect("an agent with less than is set apart on it is not admitted");
        Self {
            id,
            free: total.clone(),
            total,
            set_apart,
            slack_milli: 0,
            info,
            since,
            link,
            last_heard: since,
            deadline: Time::MAX,
            overcommitted: false,
            compiled: BTreeSet::new(),
            tasks: BTreeSet::new(),
            runs: BTreeMap::new(),
            offers: Vec::new(),
            sandboxes: 0,
            promises: Vec::new(),
            orders: AgentOrders::default(),
            overdue: None,
        }
    }

    /// Takes in a task that has not ended.
    pub(crate) fn enter(&mut self, slot: TaskSlot, framework: FrameworkSlot, task: &TaskInfo) {
        self.tasks.insert(slot);
        self.sandboxes += u32::from(task.has_sandbox());
        if let Some(executor) = task.run_of() {
            // An agent may bring two by mistake; the first one counts.
            self.runs
                .entry((framework, executor.clone()))
                .or_insert(slot);
        }
    }

    /// A task has ended, and holds nothing any more.
    pub(crate) fn leave(&mut self, slot: TaskSlot, framework: FrameworkSlot, task: &TaskInfo) {
        self.sandboxes -= u32::from(task.has_sandbox());
        if let Some(executor) = task.run_of() {
            let key = (framework, executor.clone());
            if self.runs.get(&key) == Some(&slot) {
                self.runs.remove(&key);
            }
        }
    }

    /// How many more sandboxes it can hold.
    pub(crate) fn free_sandboxes(&self) -> u32 {
        let most = self.info.max_sandboxes;
        most.map_or(u32::MAX, |most| most.saturating_sub(self.sandboxes))
    }

    /// Whom it is kept for, if not for this client.
    pub(crate) fn promised_to_others(&self, client: ClientSlot) -> Option<&Promise> {
        let own = self.promises.iter().any(|promise| promise.client == client);
        self.promises.first().filter(|_| !own)
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Connected(connection) => Some(connection),
            Link::Disconnected { .. } | Link::Recovered => None,
        }
    }

    /// It has compiled some bundles, and has others no more. Beyond what a sane cache holds nobody wants to
    /// know.
    pub(crate) fn note_compiled(&mut self, compiled: Vec<Digest>, dropped: &[Digest]) {
        for digest in dropped {
            self.compiled.remove(digest);
        }
        let room = MAX_COMPILED.saturating_sub(self.compiled.len());
        self.compiled.extend(compiled.into_iter().take(room));
    }

    /// Whether what it has counts as the cluster's: it has been here since the master started.
    pub(crate) fn is_counted(&self) -> bool {
        self.link != Link::Recovered
    }

    /// What of its total is revocable.
    pub(crate) fn revocable(&self) -> Resources {
        self.total
            .only_parts()
            .with_parts_if(|claim| claim.revocable)
    }

    /// Works out what is free from what is held, in the order given.
    pub(crate) fn recount<'a>(&mut self, mut held: impl Iterator<Item = &'a Resources>) {
        let free = held.try_fold(self.total.clone(), |free, held| free.checked_sub(held));
        self.overcommitted = free.is_none();
        self.free = free.unwrap_or_default();
    }
}

/// All agents that are present or may come back soon.
#[derive(Debug)]
pub(crate) struct Agents {
    table: Table<AgentSlot, Agent>,
    by_id: BTreeMap<AgentId, AgentSlot>,
    /// What agents' engines support. Most are alike, and share one set.
    features: BTreeSet<Arc<BTreeSet<String>>>,
}

impl Agents {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            by_id: BTreeMap::new(),
            features: BTreeSet::new(),
        }
    }

    /// A set that is equal to this one, and the same for all agents that have it.
    pub(crate) fn share(&mut self, features: &Arc<BTreeSet<String>>) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.features.get(features) {
            return Arc::clone(known);
        }
        // Those that nobody has any more.
        self.features.retain(|known| Arc::strong_count(known) > 1);
        self.features.insert(Arc::clone(features));
        Arc::clone(features)
    }

    pub(crate) fn insert(&mut self, agent: Agent) -> AgentSlot {
        let id = agent.id;
        let slot = self.table.insert(agent);
        self.by_id.insert(id, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: AgentSlot) -> Agent {
        let agent = self.table.remove(slot);
        self.by_id.remove(&agent.id);
        agent
    }

    pub(crate) fn find(&self, id: AgentId) -> Option<AgentSlot> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn get(&self, slot: AgentSlot) -> Option<&Agent> {
        self.table.get(slot)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AgentSlot, &Agent)> {
        self.table.iter()
    }

    pub(crate) fn slots(&self) -> Vec<AgentSlot> {
        self.table.slots().collect()
    }

    /// In the order of ids.
    pub(crate) fn by_id(&self) -> impl Iterator<Item = (AgentSlot, &Agent)> {
        self.by_id.values().map(|slot| (*slot, &self.table[*slot]))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

impl std::ops::Index<AgentSlot> for Agents {
    type Output = Agent;
    fn index(&self, slot: AgentSlot) -> &Agent {
        &self.table[slot]
    }
}

impl std::ops::IndexMut<AgentSlot> for Agents {
    fn index_mut(&mut self, slot: AgentSlot) -> &mut Agent {
        &mut self.table[slot]
    }
}
