//! How frameworks end: torn down, or away beyond their failover timeout.

use std::collections::BTreeSet;

use nesos_types::message::Refusal;
use nesos_types::task::{TaskReason, TaskState};

use super::CompletedFramework;
use crate::deadlines::Deadline;
use crate::decision::{Decisions, Happening, Record};
use crate::master::Master;
use crate::table::FrameworkSlot;

impl Master {
    /// A scheduler ends its framework. Its stream ends with it.
    pub(crate) fn on_teardown(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        if let Some(connection) = self.frameworks[slot].connection {
            self.connections.remove(&connection);
            self.detach(slot);
            out.close(connection);
        }
        self.remove_framework(slot, out);
    }

    /// Ends a framework: its id is barred, its tasks are killed without further updates.
    pub(crate) fn remove_framework(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        self.stats.frameworks_removed += 1;
        let framework = &self.frameworks[slot];
        let (id, connection) = (framework.id, framework.connection);
        let removed = Record::FrameworkRemoved {
            framework: id,
            info: framework.info.clone(),
            since: framework.since,
            at: self.now,
        };
        self.record(removed, out);
        out.observed(Happening::FrameworkRemoved(id));
        self.detach(slot);
        if let Some(connection) = connection {
            self.refuse_scheduler(connection, Refusal::FrameworkRemoved { framework: id }, out);
        }
        self.end_tasks_of(slot, out);
        for client in self.frameworks[slot].clients.clone().into_values() {
            self.allocator.clients[client].subscribed = false;
            self.drop_client_if_unused(client);
        }
        let framework = self.frameworks.remove(slot);
        self.deadlines
            .remove(framework.deadline, Deadline::Framework(slot));
        self.frameworks.completed.push_back(CompletedFramework {
            id,
            info: framework.info,
            since: framework.since,
            removed_at: self.now,
            tasks: framework.completed,
        });
        if self.frameworks.completed.len() > self.config.max_completed_frameworks {
            self.frameworks.completed.pop_front();
        }
    }

    fn end_tasks_of(&mut self, slot: FrameworkSlot, out: &mut Decisions) {
        let id = self.frameworks[slot].id;
        let mut agents = BTreeSet::new();
        for task in std::mem::take(&mut self.frameworks[slot].tasks).into_values() {
            agents.insert(self.tasks[task].agent);
            self.advance(
                task,
                TaskState::Killed,
                Some(TaskReason::FrameworkRemoved),
                out,
            );
            self.retire(task);
        }
        for agent in agents {
            self.shut_down(agent, id, out);
        }
    }
}
