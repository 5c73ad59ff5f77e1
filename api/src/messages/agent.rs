//! The conversation of an agent with the master.

use std::sync::Arc;
use std::time::Duration;

use nesos_types::ids::TaskKey;
use nesos_types::message::{AgentCommand, AgentEvent, AgentTask};
use nesos_types::task::TaskInfo;

use crate::common::{digests, texts, to_micros};
use crate::executor::text;
use crate::task::{kill_reason, reason_number, shared_tasks, state, state_number, wire_tasks};
use crate::v1;
use crate::wire_error::{WireError, all, parse, parse_optional, required};

impl From<&AgentCommand> for v1::AgentCommand {
    fn from(command: &AgentCommand) -> Self {
        use v1::agent_command::Command;
        let command = match command {
            AgentCommand::Registered {
                agent,
                ping_interval,
            } => Command::Registered(v1::Registered {
                agent_id: agent.to_string(),
                ping_interval_us: to_micros(*ping_interval),
            }),
            AgentCommand::Refused(refusal) => Command::Refused(refusal.into()),
            AgentCommand::Launch {
                framework,
                role,
                signers,
                tasks,
            } => Command::Launch(v1::LaunchTasks {
                framework_id: framework.to_string(),
                role: role.to_string(),
                signers: signers.to_vec(),
                tasks: wire_tasks(tasks),
            }),
            AgentCommand::Message { key, data } => Command::Message(wire_message(key, data)),
            AgentCommand::Prewarm { bundle, repository } => Command::Prewarm(v1::Prewarm {
                bundle: bundle.to_string(),
                repository: text(repository.as_ref()),
            }),
            AgentCommand::Kill { key, grace, reason } => Command::Kill(v1::KillTask {
                key: Some(key.into()),
                grace_us: grace.map(to_micros),
                reason: reason_number(*reason),
            }),
            AgentCommand::SetApart(set_apart) => Command::SetApart(set_apart.into()),
            AgentCommand::Acknowledge { key, update } => {
                Command::Acknowledge(v1::AcknowledgeUpdate {
                    key: Some(key.into()),
                    update_id: update.to_string(),
                })
            }
            AgentCommand::ShutdownFramework(framework) => {
                Command::ShutdownFramework(v1::ShutdownFramework {
                    framework_id: framework.to_string(),
                })
            }
            AgentCommand::Reconcile(keys) => Command::Reconcile(v1::ReconcileTasks {
                keys: keys.iter().map(Into::into).collect(),
            }),
            AgentCommand::Ping => Command::Ping(v1::Ping {}),
        };
        Self {
            command: Some(command),
        }
    }
}

impl TryFrom<v1::AgentCommand> for AgentCommand {
    type Error = WireError;
    fn try_from(wire: v1::AgentCommand) -> Result<Self, WireError> {
        use v1::agent_command::Command;
        let command = wire
            .command
            .ok_or(WireError::UnknownMessage("AgentCommand"))?;
        Ok(match command {
            Command::Registered(command) => Self::Registered {
                agent: parse("agent_id", &command.agent_id)?,
                ping_interval: Duration::from_micros(command.ping_interval_us),
            },
            Command::Refused(refusal) => Self::Refused(refusal.try_into()?),
            Command::Launch(command) => Self::Launch {
                framework: parse("framework_id", &command.framework_id)?,
                role: parse("role", &command.role)?,
                signers: command.signers.into(),
                tasks: shared_tasks(command.tasks)?,
            },
            Command::Message(message) => {
                let (key, data) = self::message(message)?;
                Self::Message { key, data }
            }
            Command::Prewarm(command) => Self::Prewarm {
                bundle: parse("bundle", &command.bundle)?,
                repository: parse_optional("repository", &command.repository)?,
            },
            Command::Kill(command) => Self::Kill {
                key: required("key", command.key)?.try_into()?,
                grace: command.grace_us.map(Duration::from_micros),
                reason: kill_reason(command.reason)?,
            },
            Command::SetApart(command) => Self::SetApart(command.try_into()?),
            Command::Acknowledge(command) => Self::Acknowledge {
                key: required("key", command.key)?.try_into()?,
                update: parse("update_id", &command.update_id)?,
            },
            Command::ShutdownFramework(command) => {
                Self::ShutdownFramework(parse("framework_id", &command.framework_id)?)
            }
            Command::Reconcile(command) => Self::Reconcile(all(command.keys)?),
            Command::Ping(v1::Ping {}) => Self::Ping,
        })
    }
}

impl From<&AgentEvent> for v1::AgentEvent {
    fn from(event: &AgentEvent) -> Self {
        use v1::agent_event::Event;
        let event = match event {
            AgentEvent::Register { agent, info, tasks } => Event::Register(v1::Register {
                agent_id: agent.map(|id| id.to_string()).unwrap_or_default(),
                info: Some(info.into()),
                tasks: tasks.iter().map(Into::into).collect(),
            }),
            AgentEvent::Update {
                framework,
                status,
                latest,
            } => Event::Update(v1::AgentUpdate {
                framework_id: framework.to_string(),
                status: Some(status.into()),
                latest: state_number(*latest),
            }),
            AgentEvent::Bundles { compiled, dropped } => Event::Bundles(v1::Bundles {
                compiled: texts(compiled),
                dropped: texts(dropped),
            }),
            AgentEvent::Slack { cpu_milli } => Event::Slack(v1::Slack {
                cpu_milli: *cpu_milli,
            }),
            AgentEvent::Message { key, data } => Event::Message(wire_message(key, data)),
            AgentEvent::Pong => Event::Pong(v1::Pong {}),
            AgentEvent::Unregister => Event::Unregister(v1::Unregister {}),
        };
        Self { event: Some(event) }
    }
}

impl TryFrom<v1::AgentEvent> for AgentEvent {
    type Error = WireError;
    fn try_from(wire: v1::AgentEvent) -> Result<Self, WireError> {
        use v1::agent_event::Event;
        let event = wire.event.ok_or(WireError::UnknownMessage("AgentEvent"))?;
        Ok(match event {
            Event::Register(event) => Self::Register {
                agent: parse_optional("agent_id", &event.agent_id)?,
                info: required("info", event.info)?.try_into()?,
                tasks: all(event.tasks)?,
            },
            Event::Update(event) => Self::Update {
                framework: parse("framework_id", &event.framework_id)?,
                status: required("status", event.status)?.try_into()?,
                latest: state("latest", event.latest)?,
            },
            Event::Bundles(event) => Self::Bundles {
                compiled: digests("bundles.compiled", &event.compiled)?,
                dropped: digests("bundles.dropped", &event.dropped)?,
            },
            Event::Slack(event) => Self::Slack {
                cpu_milli: event.cpu_milli,
            },
            Event::Message(message) => {
                let (key, data) = self::message(message)?;
                Self::Message { key, data }
            }
            // Whoever hears it puts it together before.
            Event::Brought(_) => return Err(WireError::UnknownMessage("BroughtTasks")),
            Event::Pong(v1::Pong {}) => Self::Pong,
            Event::Unregister(v1::Unregister {}) => Self::Unregister,
        })
    }
}

fn wire_message(key: &TaskKey, data: &[u8]) -> v1::GuestMessage {
    v1::GuestMessage {
        key: Some(key.into()),
        data: data.to_vec(),
    }
}

fn message(wire: v1::GuestMessage) -> Result<(TaskKey, Vec<u8>), WireError> {
    Ok((required("key", wire.key)?.try_into()?, wire.data))
}

impl From<&AgentTask> for v1::AgentTask {
    fn from(task: &AgentTask) -> Self {
        Self {
            framework_id: task.framework.to_string(),
            role: task.role.to_string(),
            task: Some(task.task.as_ref().into()),
            latest: state_number(task.latest),
            unacknowledged: task.unacknowledged.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::AgentTask> for AgentTask {
    type Error = WireError;
    fn try_from(wire: v1::AgentTask) -> Result<Self, WireError> {
        Ok(Self {
            framework: parse("tasks.framework_id", &wire.framework_id)?,
            role: parse("tasks.role", &wire.role)?,
            task: Arc::new(TaskInfo::try_from(required("tasks.task", wire.task)?)?),
            latest: state("tasks.latest", wire.latest)?,
            unacknowledged: wire.unacknowledged.map(TryInto::try_into).transpose()?,
        })
    }
}
