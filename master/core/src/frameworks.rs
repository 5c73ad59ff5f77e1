//! Frameworks as the master sees them: who may be offered resources, and what they run. How they
//! come and go is in `subscription` and `removal`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{FrameworkId, TaskId};
use nesos_types::role::Role;
use nesos_types::time::Time;

use crate::event::ConnectionId;
use crate::snapshot::TaskView;
use crate::table::{ClientSlot, FrameworkSlot, OfferSlot, Table, TaskSlot};
use crate::tasks::Unreachable;
use crate::tasks::kill::Kill;

mod bundles;
mod removal;
mod subscription;

use bundles::RecentBundles;

/// A framework that has not been removed.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) info: Arc<FrameworkInfo>,
    /// When its id was given out.
    pub(crate) since: Time,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) last_heard: Time,
    /// When its scheduler is to hear a heartbeat, or when it is to be removed if it is away.
    pub(crate) deadline: Time,
    /// The roles that it subscribes in, and those in which it still holds something.
    pub(crate) clients: BTreeMap<Role, ClientSlot>,
    /// Live tasks, and ended ones until they are acknowledged.
    pub(crate) tasks: BTreeMap<TaskId, TaskSlot>,
    /// Tasks on agents that were lost from sight.
    pub(crate) unreachable: BTreeMap<TaskId, Unreachable>,
    /// Kills of what the master does not have and an agent may bring: executors' runs on agents that were lost
    /// from sight, and tasks on agents that have still to come back after a restart of the master.
    pub(crate) absent_kills: BTreeMap<TaskId, Kill>,
    /// Ended tasks, oldest first.
    pub(crate) completed: VecDeque<TaskView>,
    pub(crate) offers: BTreeSet<OfferSlot>,
    pub(crate) bundles: RecentBundles,
}

impl Framework {
    pub(crate) fn new(id: FrameworkId, info: Arc<FrameworkInfo>, since: Time) -> Self {
        Self {
            id,
            info,
            since,
            connection: None,
            last_heard: since,
            deadline: Time::MAX,
            clients: BTreeMap::new(),
            tasks: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            absent_kills: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: BTreeSet::new(),
            bundles: RecentBundles::default(),
        }
    }

    /// Remembers a kill of what is not here, unless there are too many.
    pub(crate) fn kill_absent(&mut self, id: TaskId, kill: Kill, most: usize) {
        let earlier = self.absent_kills.get(&id).copied();
        if earlier.is_some() || self.absent_kills.len() < most {
            self.absent_kills.insert(id, kill.after(earlier));
        }
    }

    /// Remembers an ended task, and forgets the oldest if there are more than `most`.
    pub(crate) fn remember(&mut self, ended: TaskView, most: usize) {
        self.completed.push_back(ended);
        if self.completed.len() > most {
            self.completed.pop_front();
        }
    }
}

/// A framework that was removed, kept for operators to look at.
#[derive(Debug)]
pub(crate) struct CompletedFramework {
    pub(crate) id: FrameworkId,
    pub(crate) info: Arc<FrameworkInfo>,
    pub(crate) since: Time,
    pub(crate) removed_at: Time,
    pub(crate) tasks: VecDeque<TaskView>,
}

/// All frameworks.
#[derive(Debug)]
pub(crate) struct Frameworks {
    table: Table<FrameworkSlot, Framework>,
    by_id: BTreeMap<FrameworkId, FrameworkSlot>,
    /// Removed ones, oldest first, bounded.
    pub(crate) completed: VecDeque<CompletedFramework>,
}

impl Frameworks {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            by_id: BTreeMap::new(),
            completed: VecDeque::new(),
        }
    }

    pub(crate) fn insert(&mut self, framework: Framework) -> FrameworkSlot {
        let id = framework.id;
        let slot = self.table.insert(framework);
        self.by_id.insert(id, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: FrameworkSlot) -> Framework {
        let framework = self.table.remove(slot);
        self.by_id.remove(&framework.id);
        framework
    }

    pub(crate) fn find(&self, id: FrameworkId) -> Option<FrameworkSlot> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FrameworkSlot, &Framework)> {
        self.table.iter()
    }

    /// In the order of ids.
    pub(crate) fn by_id(&self) -> impl Iterator<Item = (FrameworkSlot, &Framework)> {
        self.by_id.values().map(|slot| (*slot, &self.table[*slot]))
    }

    /// The connections of those whose scheduler is there.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.table
            .iter()
            .filter_map(|(_, framework)| framework.connection)
    }
}

impl std::ops::Index<FrameworkSlot> for Frameworks {
    type Output = Framework;
    fn index(&self, slot: FrameworkSlot) -> &Framework {
        &self.table[slot]
    }
}

impl std::ops::IndexMut<FrameworkSlot> for Frameworks {
    fn index_mut(&mut self, slot: FrameworkSlot) -> &mut Framework {
        &mut self.table[slot]
    }
}
