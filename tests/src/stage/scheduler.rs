//! A scheduler that does as it is told and remembers what it heard.

use std::collections::BTreeSet;
use std::time::Duration;

use nesos_master_core::ConnectionId;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::message::{Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::offer::Offer;
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, TaskInfo, TaskState, TaskStatus};

/// A scheduler on the stage.
#[derive(Debug)]
pub struct StageScheduler {
    pub(super) info: FrameworkInfo,
    pub(super) id: Option<FrameworkId>,
    pub(super) connection: Option<ConnectionId>,
    /// Offers that it holds.
    pub offers: Vec<Offer>,
    /// Statuses that it heard and nobody has looked at, oldest first.
    pub updates: Vec<TaskStatus>,
    /// Offers that were taken back, as far as nobody has looked.
    pub rescinded: usize,
    /// Agents that were lost, as far as nobody has looked.
    pub lost: Vec<AgentId>,
    /// What was refused, as far as nobody has looked.
    pub refused: Vec<Refusal>,
}

impl StageScheduler {
    pub(super) fn new(info: FrameworkInfo) -> Self {
        Self {
            info,
            id: None,
            connection: None,
            offers: Vec::new(),
            updates: Vec::new(),
            rescinded: 0,
            lost: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub(super) fn connect(&mut self, connection: ConnectionId) -> SchedulerCall {
        self.connection = Some(connection);
        SchedulerCall::Subscribe {
            framework: self.id,
            info: self.info.clone(),
            suppressed: BTreeSet::new(),
        }
    }

    pub(super) fn hear(&mut self, event: SchedulerEvent) -> Vec<SchedulerCall> {
        match event {
            SchedulerEvent::Subscribed { framework, .. } => self.id = Some(framework),
            SchedulerEvent::Offers(offers) => self.offers.extend(offers),
            SchedulerEvent::Rescind(offer) => {
                self.rescinded += 1;
                self.offers.retain(|held| held.id != offer);
            }
            SchedulerEvent::Update(status) => self.updates.push(status),
            SchedulerEvent::AgentLost(agent) => self.lost.push(agent),
            SchedulerEvent::FrameworkUpdated
            | SchedulerEvent::Message { .. }
            | SchedulerEvent::ExecutorEnded { .. } => {}
            SchedulerEvent::Refused(refusal) => self.refused.push(refusal),
            SchedulerEvent::Heartbeat => return vec![SchedulerCall::Heartbeat],
        }
        Vec::new()
    }

    pub(super) fn acknowledgements(&self) -> Vec<SchedulerCall> {
        let updates = self.updates.iter();
        updates
            .filter_map(|status| {
                Some(SchedulerCall::Acknowledge {
                    agent: status.agent?,
                    task: status.task.clone(),
                    update: status.update?,
                })
            })
            .collect()
    }

    /// What was told of tasks since the last look, as `(task, state)`.
    pub fn take_states(&mut self) -> Vec<(String, TaskState)> {
        let updates = std::mem::take(&mut self.updates);
        updates
            .into_iter()
            .map(|status| (status.task.to_string(), status.state))
            .collect()
    }
}

/// A task that wants these resources.
///
/// # Panics
/// If the id is not one.
#[must_use]
pub fn task(id: &str, resources: Resources) -> SharedTask {
    let mut info = TaskInfo::new(id.parse().expect("a task id"), Digest([0; 32]), resources);
    info.kill_grace = Some(Duration::ZERO);
    SharedTask::new(info)
}
