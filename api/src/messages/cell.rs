//! The conversation of an agent with a cell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::cell::{
    CellCommand, CellEvent, CpuSample, SandboxLaunch, SandboxReport, SandboxVolume,
};
use nesos_types::ids::TaskKey;
use nesos_types::task::{SharedTask, TaskInfo};
use nesos_types::time::Time;

use crate::common::to_micros;
use crate::executor::text;
use crate::task::{metering, metering_number, state, state_number};
use crate::v1;
use crate::wire_error::{WireError, all, parse, parse_optional, required};

impl From<&CellCommand> for v1::CellCommand {
    fn from(command: &CellCommand) -> Self {
        use v1::cell_command::Command;
        let command = match command {
            CellCommand::Launch(launch) => Command::Launch(launch.as_ref().into()),
            CellCommand::Kill { key, grace } => Command::Kill(v1::KillSandbox {
                key: Some(key.into()),
                grace_us: to_micros(*grace),
            }),
            CellCommand::Acknowledge { key, sequence } => {
                Command::Acknowledge(v1::AcknowledgeStatus {
                    key: Some(key.into()),
                    sequence: *sequence,
                })
            }
            CellCommand::Throttle { key, cpu_milli } => Command::Throttle(v1::ThrottleSandbox {
                key: Some(key.into()),
                cpu_milli: *cpu_milli,
            }),
            CellCommand::MeasureUsage { interval } => Command::MeasureUsage(v1::MeasureUsage {
                interval_us: to_micros(*interval),
            }),
            CellCommand::Assign { key, task } => Command::Assign(v1::AssignTask {
                framework_id: key.framework.to_string(),
                task: Some(task.as_ref().into()),
            }),
            CellCommand::Message { key, data } => Command::Message(wire_message(key, data)),
            CellCommand::BundleReady { request, compiled } => {
                use v1::bundle_ready::Compiled;
                let compiled = match compiled {
                    Ok(path) => Compiled::Path(path.to_string_lossy().into_owned()),
                    Err(why) => Compiled::WhyNot(why.clone()),
                };
                Command::BundleReady(v1::BundleReady {
                    request: *request,
                    compiled: Some(compiled),
                })
            }
            CellCommand::Retire => Command::Retire(v1::Retire {}),
        };
        Self {
            command: Some(command),
        }
    }
}

impl TryFrom<v1::CellCommand> for CellCommand {
    type Error = WireError;
    fn try_from(wire: v1::CellCommand) -> Result<Self, WireError> {
        use v1::cell_command::Command;
        let command = wire
            .command
            .ok_or(WireError::UnknownMessage("CellCommand"))?;
        Ok(match command {
            Command::Launch(launch) => Self::Launch(Box::new(launch.try_into()?)),
            Command::Kill(command) => Self::Kill {
                key: required("key", command.key)?.try_into()?,
                grace: Duration::from_micros(command.grace_us),
            },
            Command::Acknowledge(command) => Self::Acknowledge {
                key: required("key", command.key)?.try_into()?,
                sequence: command.sequence,
            },
            Command::Throttle(command) => Self::Throttle {
                key: required("key", command.key)?.try_into()?,
                cpu_milli: command.cpu_milli,
            },
            Command::MeasureUsage(command) => Self::MeasureUsage {
                interval: Duration::from_micros(command.interval_us),
            },
            Command::Assign(command) => {
                let (key, task) = keyed_task(&command.framework_id, command.task)?;
                Self::Assign { key, task }
            }
            Command::Message(message) => {
                let (key, data) = self::message(message)?;
                Self::Message { key, data }
            }
            Command::BundleReady(answer) => {
                use v1::bundle_ready::Compiled;
                let compiled = match required("compiled", answer.compiled)? {
                    Compiled::Path(path) => Ok(PathBuf::from(path)),
                    Compiled::WhyNot(why) => Err(why),
                };
                let request = answer.request;
                Self::BundleReady { request, compiled }
            }
            Command::Retire(v1::Retire {}) => Self::Retire,
        })
    }
}

fn wire_message(key: &TaskKey, data: &[u8]) -> v1::CellMessage {
    v1::CellMessage {
        key: Some(key.into()),
        data: data.to_vec(),
    }
}

fn message(wire: v1::CellMessage) -> Result<(TaskKey, Vec<u8>), WireError> {
    Ok((required("key", wire.key)?.try_into()?, wire.data))
}

/// A task and what names it in the cluster.
fn keyed_task(
    framework: &str,
    task: Option<v1::TaskInfo>,
) -> Result<(TaskKey, SharedTask), WireError> {
    let task = TaskInfo::try_from(required("task", task)?)?;
    let key = TaskKey {
        framework: parse("framework_id", framework)?,
        task: task.id.clone(),
    };
    Ok((key, Arc::new(task)))
}

impl From<&SandboxLaunch> for v1::LaunchSandbox {
    fn from(launch: &SandboxLaunch) -> Self {
        Self {
            framework_id: launch.key.framework.to_string(),
            task: Some(launch.task.as_ref().into()),
            compiled_path: launch.compiled.to_string_lossy().into_owned(),
            directory: launch.directory.to_string_lossy().into_owned(),
            fuel_per_cpu_second: launch.fuel_per_cpu_second,
            volumes: launch.volumes.iter().map(wire_volume).collect(),
            agent_id: text(launch.agent.as_ref()),
            hostname: launch.hostname.clone(),
        }
    }
}

fn wire_volume(volume: &SandboxVolume) -> v1::SandboxVolume {
    v1::SandboxVolume {
        host: volume.host.to_string_lossy().into_owned(),
        guest: volume.guest.clone(),
        read_only: volume.read_only,
        max_bytes: volume.max_bytes,
    }
}

fn volume(wire: v1::SandboxVolume) -> SandboxVolume {
    SandboxVolume {
        host: PathBuf::from(wire.host),
        guest: wire.guest,
        read_only: wire.read_only,
        max_bytes: wire.max_bytes,
    }
}

impl TryFrom<v1::LaunchSandbox> for SandboxLaunch {
    type Error = WireError;
    fn try_from(wire: v1::LaunchSandbox) -> Result<Self, WireError> {
        let (key, task) = keyed_task(&wire.framework_id, wire.task)?;
        Ok(Self {
            key,
            task,
            agent: parse_optional("agent_id", &wire.agent_id)?,
            hostname: wire.hostname,
            compiled: PathBuf::from(wire.compiled_path),
            directory: PathBuf::from(wire.directory),
            fuel_per_cpu_second: wire.fuel_per_cpu_second,
            volumes: wire.volumes.into_iter().map(volume).collect(),
        })
    }
}

impl From<&CellEvent> for v1::CellEvent {
    fn from(event: &CellEvent) -> Self {
        use v1::cell_event::Event;
        let event = match event {
            CellEvent::Message { key, data } => Event::Message(wire_message(key, data)),
            CellEvent::BundleWanted {
                request,
                key,
                bundle,
                metering,
            } => Event::BundleWanted(v1::BundleWanted {
                request: *request,
                key: Some(key.into()),
                bundle: bundle.to_string(),
                metering: metering_number(*metering),
            }),
            CellEvent::Hello { pid, sandboxes } => Event::Hello(v1::Hello {
                pid: *pid,
                sandboxes: sandboxes.iter().map(Into::into).collect(),
            }),
            CellEvent::Update {
                key,
                sequence,
                status,
            } => Event::Update(v1::CellUpdate {
                framework_id: key.framework.to_string(),
                sequence: *sequence,
                status: Some(status.into()),
            }),
            CellEvent::Usage { at, samples } => Event::Usage(v1::CellUsage {
                at_us: at.as_micros(),
                samples: samples.iter().map(Into::into).collect(),
            }),
        };
        Self { event: Some(event) }
    }
}

impl TryFrom<v1::CellEvent> for CellEvent {
    type Error = WireError;
    fn try_from(wire: v1::CellEvent) -> Result<Self, WireError> {
        use nesos_types::task::TaskStatus;
        use v1::cell_event::Event;
        let event = wire.event.ok_or(WireError::UnknownMessage("CellEvent"))?;
        Ok(match event {
            Event::Message(message) => {
                let (key, data) = self::message(message)?;
                Self::Message { key, data }
            }
            Event::BundleWanted(event) => Self::BundleWanted {
                request: event.request,
                key: required("key", event.key)?.try_into()?,
                bundle: parse("bundle", &event.bundle)?,
                metering: metering("metering", event.metering)?,
            },
            Event::Hello(event) => Self::Hello {
                pid: event.pid,
                sandboxes: all(event.sandboxes)?,
            },
            Event::Update(event) => {
                let status = TaskStatus::try_from(required("status", event.status)?)?;
                Self::Update {
                    key: TaskKey {
                        framework: parse("framework_id", &event.framework_id)?,
                        task: status.task.clone(),
                    },
                    sequence: event.sequence,
                    status,
                }
            }
            Event::Usage(event) => Self::Usage {
                at: Time::from_micros(event.at_us),
                samples: all(event.samples)?,
            },
        })
    }
}

impl From<&CpuSample> for v1::CpuSample {
    fn from(sample: &CpuSample) -> Self {
        Self {
            key: Some((&sample.key).into()),
            cpu_ns: sample.cpu_ns,
        }
    }
}

impl TryFrom<v1::CpuSample> for CpuSample {
    type Error = WireError;
    fn try_from(wire: v1::CpuSample) -> Result<Self, WireError> {
        Ok(Self {
            key: required("key", wire.key)?.try_into()?,
            cpu_ns: wire.cpu_ns,
        })
    }
}

impl From<&SandboxReport> for v1::SandboxReport {
    fn from(report: &SandboxReport) -> Self {
        Self {
            framework_id: report.key.framework.to_string(),
            task: Some(report.task.as_ref().into()),
            state: state_number(report.state),
        }
    }
}

impl TryFrom<v1::SandboxReport> for SandboxReport {
    type Error = WireError;
    fn try_from(wire: v1::SandboxReport) -> Result<Self, WireError> {
        let (key, task) = keyed_task(&wire.framework_id, wire.task)?;
        Ok(Self {
            key,
            task,
            state: state("state", wire.state)?,
        })
    }
}
