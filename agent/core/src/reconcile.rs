//! Answers to the master's questions about tasks.

use std::sync::Arc;

use nesos_types::bundle::Digest;
use nesos_types::ids::TaskKey;
use nesos_types::message::AgentEvent;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::decision::{Decisions, Effect};
use crate::tasks::{Task, TaskHandle};

impl Agent {
    pub(crate) fn on_reconcile(&mut self, now: Time, keys: Vec<TaskKey>, out: &mut Decisions) {
        for key in keys {
            match self.tasks.find(&key) {
                Some(handle) => self.answer_known(now, handle, out),
                None => self.answer_unknown(now, key, out),
            }
        }
    }

    /// The status in flight says it; where there is none, the state as it was last said.
    fn answer_known(&mut self, now: Time, handle: TaskHandle, out: &mut Decisions) {
        let task = &self.tasks[handle];
        if task.updates.head().is_some() {
            self.stats.updates_repeated += 1;
            self.forward(now, handle, out);
            return;
        }
        let mut status =
            TaskStatus::new(task.key.task.clone(), task.latest, StatusSource::Agent, now)
                .because(TaskReason::Reconciliation, "");
        status.agent = self.id;
        out.push(Effect::SendMaster(AgentEvent::Update {
            framework: task.key.framework,
            status,
            latest: task.latest,
        }));
    }

    /// The launch never arrived: whatever arrived is in the table, the checkpoint or a cell, and the
    /// agent registers only after it has asked its cells.
    pub(crate) fn answer_unknown(&mut self, now: Time, key: TaskKey, out: &mut Decisions) {
        let info = TaskInfo::new(key.task.clone(), Digest([0; 32]), Resources::default());
        let mut task = Task::new(key, Role::default_role(), Arc::new(info), None);
        task.answer = true;
        let message = "the agent was never given the task";
        self.answer(
            now,
            task,
            TaskState::Dropped,
            TaskReason::TaskUnknown,
            message,
            out,
        );
    }
}
