//! What is said for good is durable by then: nobody hears of what a crash could still undo.

use nesos_master_core::{ConnectionId, Record, Subject};
use nesos_types::message::{AgentCommand, SchedulerEvent};
use nesos_types::task::{TaskReason, TaskState};

use super::{Check, Ledger, must};
use crate::sim::store::Store;

impl Ledger {
    /// A master tells a scheduler something.
    pub(crate) fn scheduler_may_hear(&self, event: &SchedulerEvent, store: &Store) -> Check {
        let (holds, who) = match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                let record = store.records.get(&Subject::Framework(*framework));
                let live = matches!(record, Some(Record::FrameworkSubscribed { .. }));
                (live, framework.to_string())
            }
            SchedulerEvent::AgentLost(agent) => {
                let record = store.records.get(&Subject::Agent(*agent));
                let admitted = matches!(record, Some(Record::AgentAdmitted { .. }));
                (!admitted, agent.to_string())
            }
            SchedulerEvent::Update(status)
                if status.state == TaskState::Unreachable
                    && status.reason == Some(TaskReason::AgentDisconnected) =>
            {
                let Some(agent) = status.agent else {
                    return Ok(());
                };
                let record = store.records.get(&Subject::Agent(agent));
                let admitted = matches!(record, Some(Record::AgentAdmitted { .. }));
                (!admitted, agent.to_string())
            }
            _ => return Ok(()),
        };
        must(holds, &[&who], || {
            format!("a scheduler hears {event:?}, and the store does not have it")
        })
    }

    /// A master tells an agent something.
    pub(crate) fn agent_may_hear(
        &self,
        connection: ConnectionId,
        command: &AgentCommand,
        store: &Store,
    ) -> Check {
        let AgentCommand::Registered { agent, .. } = command else {
            return Ok(());
        };
        let record = store.records.get(&Subject::Agent(*agent));
        let admitted = matches!(record, Some(Record::AgentAdmitted { .. }));
        must(admitted, &[agent, &format!("{connection:?}")], || {
            format!("{agent} hears that it is registered, and the store does not have it")
        })
    }
}
