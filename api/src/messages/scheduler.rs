//! The conversation of a scheduler with the master.

use std::collections::BTreeSet;
use std::time::Duration;

use nesos_types::ids::{AgentId, OfferId, TaskId};
use nesos_types::message::{SchedulerCall, SchedulerEvent};
use nesos_types::offer::Operation;
use nesos_types::role::Role;

use crate::common::{filters, texts, to_micros};
use crate::task::{reason, reason_number, shared_tasks, state, state_number, wire_tasks};
use crate::v1;
use crate::wire_error::{WireError, all, parse, parse_optional, required};

fn roles(field: &'static str, wire: &[String]) -> Result<BTreeSet<Role>, WireError> {
    wire.iter().map(|role| parse(field, role)).collect()
}

fn offer_ids(wire: &[String]) -> Result<Vec<OfferId>, WireError> {
    wire.iter().map(|id| parse("offer_ids", id)).collect()
}

impl From<&SchedulerCall> for v1::SchedulerCall {
    fn from(call: &SchedulerCall) -> Self {
        use v1::scheduler_call::Call;
        let call = match call {
            SchedulerCall::Subscribe {
                framework,
                info,
                suppressed,
            } => Call::Subscribe(v1::Subscribe {
                framework_id: framework.map(|id| id.to_string()).unwrap_or_default(),
                info: Some(info.into()),
                suppressed_roles: texts(suppressed),
            }),
            SchedulerCall::Teardown => Call::Teardown(v1::Teardown {}),
            SchedulerCall::Accept {
                offers,
                operations,
                filters,
            } => Call::Accept(v1::Accept {
                offer_ids: texts(offers),
                operations: operations.iter().map(Into::into).collect(),
                filters: Some((*filters).into()),
            }),
            SchedulerCall::Decline { offers, filters } => Call::Decline(v1::Decline {
                offer_ids: texts(offers),
                filters: Some((*filters).into()),
            }),
            SchedulerCall::Request { demands } => Call::Request(v1::Request {
                demands: demands.iter().map(Into::into).collect(),
            }),
            SchedulerCall::UpdateFramework { info, suppressed } => {
                Call::UpdateFramework(v1::UpdateFramework {
                    info: Some(info.into()),
                    suppressed_roles: texts(suppressed),
                })
            }
            SchedulerCall::Revive { roles } => Call::Revive(v1::Revive {
                roles: texts(roles),
            }),
            SchedulerCall::Suppress { roles } => Call::Suppress(v1::Suppress {
                roles: texts(roles),
            }),
            SchedulerCall::Kill { task, grace } => Call::Kill(v1::Kill {
                task_id: task.to_string(),
                grace_us: grace.map(to_micros),
            }),
            SchedulerCall::Acknowledge {
                agent,
                task,
                update,
            } => Call::Acknowledge(v1::Acknowledge {
                agent_id: agent.to_string(),
                task_id: task.to_string(),
                update_id: update.to_string(),
            }),
            SchedulerCall::Reconcile { tasks } => Call::Reconcile(v1::Reconcile {
                tasks: tasks.iter().map(wire_reconcile).collect(),
            }),
            SchedulerCall::Message { agent, to, data } => Call::Message(v1::MessageToGuest {
                agent_id: agent.to_string(),
                to: Some(to.into()),
                data: data.clone(),
            }),
            SchedulerCall::ShutdownExecutor {
                agent,
                executor,
                grace,
            } => Call::ShutdownExecutor(v1::ShutdownExecutor {
                agent_id: agent.to_string(),
                executor_id: executor.to_string(),
                grace_us: grace.map(to_micros),
            }),
            SchedulerCall::Heartbeat => Call::Heartbeat(v1::Heartbeat {}),
        };
        Self { call: Some(call) }
    }
}

fn wire_reconcile((task, agent): &(TaskId, Option<AgentId>)) -> v1::ReconcileTask {
    v1::ReconcileTask {
        task_id: task.to_string(),
        agent_id: agent.map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn reconcile(wire: &v1::ReconcileTask) -> Result<(TaskId, Option<AgentId>), WireError> {
    Ok((
        parse("reconcile.task_id", &wire.task_id)?,
        parse_optional("reconcile.agent_id", &wire.agent_id)?,
    ))
}

impl TryFrom<v1::SchedulerCall> for SchedulerCall {
    type Error = WireError;
    fn try_from(wire: v1::SchedulerCall) -> Result<Self, WireError> {
        use v1::scheduler_call::Call;
        let call = wire
            .call
            .ok_or(WireError::UnknownMessage("SchedulerCall"))?;
        Ok(match call {
            Call::Subscribe(call) => Self::Subscribe {
                framework: parse_optional("framework_id", &call.framework_id)?,
                info: required("info", call.info)?.try_into()?,
                suppressed: roles("suppressed_roles", &call.suppressed_roles)?,
            },
            Call::Teardown(v1::Teardown {}) => Self::Teardown,
            Call::Accept(call) => Self::Accept {
                offers: offer_ids(&call.offer_ids)?,
                operations: all(call.operations)?,
                filters: filters(call.filters),
            },
            Call::Decline(call) => Self::Decline {
                offers: offer_ids(&call.offer_ids)?,
                filters: filters(call.filters),
            },
            Call::Request(call) => Self::Request {
                demands: all(call.demands)?,
            },
            Call::UpdateFramework(call) => Self::UpdateFramework {
                info: required("info", call.info)?.try_into()?,
                suppressed: roles("suppressed_roles", &call.suppressed_roles)?,
            },
            Call::Revive(call) => Self::Revive {
                roles: roles("roles", &call.roles)?,
            },
            Call::Suppress(call) => Self::Suppress {
                roles: roles("roles", &call.roles)?,
            },
            Call::Kill(call) => Self::Kill {
                task: parse("task_id", &call.task_id)?,
                grace: call.grace_us.map(Duration::from_micros),
            },
            Call::Acknowledge(call) => Self::Acknowledge {
                agent: parse("agent_id", &call.agent_id)?,
                task: parse("task_id", &call.task_id)?,
                update: parse("update_id", &call.update_id)?,
            },
            Call::Reconcile(call) => Self::Reconcile {
                tasks: call.tasks.iter().map(reconcile).collect::<Result<_, _>>()?,
            },
            Call::Message(call) => Self::Message {
                agent: parse("agent_id", &call.agent_id)?,
                to: required("to", call.to)?.try_into()?,
                data: call.data,
            },
            Call::ShutdownExecutor(call) => Self::ShutdownExecutor {
                agent: parse("agent_id", &call.agent_id)?,
                executor: parse("executor_id", &call.executor_id)?,
                grace: call.grace_us.map(Duration::from_micros),
            },
            Call::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
        })
    }
}

impl v1::SchedulerCall {
    /// The call's name, for messages about it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        use v1::scheduler_call::Call;
        match &self.call {
            None => "an unknown call",
            Some(Call::Subscribe(_)) => "Subscribe",
            Some(Call::Teardown(_)) => "Teardown",
            Some(Call::Accept(_)) => "Accept",
            Some(Call::Decline(_)) => "Decline",
            Some(Call::Request(_)) => "Request",
            Some(Call::UpdateFramework(_)) => "UpdateFramework",
            Some(Call::Revive(_)) => "Revive",
            Some(Call::Suppress(_)) => "Suppress",
            Some(Call::Kill(_)) => "Kill",
            Some(Call::Acknowledge(_)) => "Acknowledge",
            Some(Call::Reconcile(_)) => "Reconcile",
            Some(Call::Heartbeat(_)) => "Heartbeat",
            Some(Call::Message(_)) => "Message",
            Some(Call::ShutdownExecutor(_)) => "ShutdownExecutor",
        }
    }
}

impl From<&Operation> for v1::Operation {
    fn from(operation: &Operation) -> Self {
        use v1::operation::Operation as Wire;
        Self {
            operation: Some(match operation {
                Operation::Launch(tasks) => Wire::Launch(v1::Launch {
                    tasks: wire_tasks(tasks),
                }),
                Operation::LaunchGroup(tasks) => Wire::LaunchGroup(v1::LaunchGroup {
                    tasks: wire_tasks(tasks),
                }),
                Operation::Reservation(change) => Wire::Reservation(change.into()),
            }),
        }
    }
}

impl TryFrom<v1::Operation> for Operation {
    type Error = WireError;
    fn try_from(wire: v1::Operation) -> Result<Self, WireError> {
        use v1::operation::Operation as Wire;
        let operation = wire
            .operation
            .ok_or(WireError::UnknownMessage("Operation"))?;
        Ok(match operation {
            Wire::Launch(launch) => Self::Launch(shared_tasks(launch.tasks)?),
            Wire::LaunchGroup(launch) => Self::LaunchGroup(shared_tasks(launch.tasks)?),
            Wire::Reservation(change) => Self::Reservation(change.try_into()?),
        })
    }
}

impl From<&SchedulerEvent> for v1::SchedulerEvent {
    fn from(event: &SchedulerEvent) -> Self {
        use v1::scheduler_event::Event;
        let event = match event {
            SchedulerEvent::Subscribed {
                framework,
                heartbeat,
            } => Event::Subscribed(v1::Subscribed {
                framework_id: framework.to_string(),
                heartbeat_us: to_micros(*heartbeat),
            }),
            SchedulerEvent::Offers(offers) => Event::Offers(v1::Offers {
                offers: offers.iter().map(Into::into).collect(),
            }),
            SchedulerEvent::Rescind(offer) => Event::Rescind(v1::Rescind {
                offer_id: offer.to_string(),
            }),
            SchedulerEvent::Update(status) => Event::Update(status.into()),
            SchedulerEvent::AgentLost(agent) => Event::AgentLost(v1::AgentLost {
                agent_id: agent.to_string(),
            }),
            SchedulerEvent::Refused(refusal) => Event::Refused(refusal.into()),
            SchedulerEvent::Message { agent, from, data } => Event::Message(v1::MessageFromGuest {
                agent_id: agent.to_string(),
                from: Some(from.into()),
                data: data.clone(),
            }),
            SchedulerEvent::ExecutorEnded {
                agent,
                executor,
                state,
                reason,
                message,
            } => Event::ExecutorEnded(v1::ExecutorEnded {
                agent_id: agent.to_string(),
                executor_id: executor.to_string(),
                state: state_number(*state),
                reason: reason.map(reason_number).unwrap_or_default(),
                message: message.clone(),
            }),
            SchedulerEvent::Heartbeat => Event::Heartbeat(v1::Heartbeat {}),
            SchedulerEvent::FrameworkUpdated => Event::FrameworkUpdated(v1::FrameworkUpdated {}),
        };
        Self { event: Some(event) }
    }
}

impl TryFrom<v1::SchedulerEvent> for SchedulerEvent {
    type Error = WireError;
    fn try_from(wire: v1::SchedulerEvent) -> Result<Self, WireError> {
        use v1::scheduler_event::Event;
        let event = wire
            .event
            .ok_or(WireError::UnknownMessage("SchedulerEvent"))?;
        Ok(match event {
            Event::Subscribed(event) => Self::Subscribed {
                framework: parse("framework_id", &event.framework_id)?,
                heartbeat: Duration::from_micros(event.heartbeat_us),
            },
            Event::Offers(event) => Self::Offers(all(event.offers)?),
            Event::Rescind(event) => Self::Rescind(parse("offer_id", &event.offer_id)?),
            Event::Update(status) => Self::Update(status.try_into()?),
            Event::AgentLost(event) => Self::AgentLost(parse("agent_id", &event.agent_id)?),
            Event::Refused(refusal) => Self::Refused(refusal.try_into()?),
            Event::Message(event) => Self::Message {
                agent: parse("agent_id", &event.agent_id)?,
                from: required("from", event.from)?.try_into()?,
                data: event.data,
            },
            Event::ExecutorEnded(event) => Self::ExecutorEnded {
                agent: parse("agent_id", &event.agent_id)?,
                executor: parse("executor_id", &event.executor_id)?,
                state: state("state", event.state)?,
                reason: reason(event.reason)?,
                message: event.message,
            },
            Event::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
            Event::FrameworkUpdated(v1::FrameworkUpdated {}) => Self::FrameworkUpdated,
        })
    }
}
