//! Tasks and their statuses, to and from the wire.

use std::sync::Arc;
use std::time::Duration;

use nesos_types::ids::TaskKey;
use nesos_types::limits::{Limits, Metering, Usage};
use nesos_types::task::{
    Mount, SharedTask, StatusSource, Stdio, TaskInfo, TaskReason, TaskState, TaskStatus,
    VolumeMount,
};
use nesos_types::time::Time;

use crate::common::to_micros;
use crate::executor::{WireWork, text};
use crate::v1;
use crate::wire_error::{WireError, parse, parse_optional, required};

/// Maps a domain enum to its wire enum and back, variant by variant.
macro_rules! enum_table {
    ($domain:ty, $wire:ty, $($variant:ident),+ $(,)?) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => Self::$variant,)+
                }
            }
        }
        impl TryFrom<$wire> for $domain {
            type Error = WireError;
            fn try_from(wire: $wire) -> Result<Self, WireError> {
                match wire {
                    <$wire>::Unspecified => Err(WireError::Missing(stringify!($domain))),
                    $(<$wire>::$variant => Ok(Self::$variant),)+
                }
            }
        }
    };
}

enum_table!(
    TaskState,
    v1::TaskState,
    Staging,
    Starting,
    Running,
    Killing,
    Finished,
    Failed,
    Killed,
    Error,
    Dropped,
    Unreachable,
    Gone,
    GoneByOperator,
    Unknown
);

enum_table!(
    TaskReason,
    v1::TaskReason,
    Exited,
    Trap,
    FuelExhausted,
    MemoryLimit,
    DiskLimit,
    TimeLimit,
    StackOverflow,
    FetchFailed,
    DigestMismatch,
    InvalidModule,
    CompileLimit,
    ImportUnsatisfied,
    InstantiateFailed,
    CapabilityDenied,
    Unsigned,
    SignatureInvalid,
    TaskInvalid,
    InvalidOffers,
    ResourcesUnknown,
    LaunchFailed,
    KilledDuringLaunch,
    FrameworkDisconnected,
    KillRequested,
    FrameworkRemoved,
    Preempted,
    CellTerminated,
    ExecutorUnresponsive,
    ExecutorRegistrationTimeout,
    ExecutorTerminated,
    GroupEnded,
    Unhealthy,
    AgentDisconnected,
    AgentRemoved,
    AgentRemovedByOperator,
    AgentReregistered,
    AgentRestarted,
    AgentUnknown,
    AgentDraining,
    Reconciliation,
    TaskUnknown
);

enum_table!(StatusSource, v1::StatusSource, Master, Agent, Cell);

/// Reads an enum field; a number that this version does not know is an error that names it.
fn read_enum<W, T>(field: &'static str, number: i32) -> Result<T, WireError>
where
    W: TryFrom<i32>,
    T: TryFrom<W, Error = WireError>,
{
    W::try_from(number)
        .map_err(|_| unknown_number(field, number))
        .and_then(T::try_from)
}

/// Why something ended, where it was said.
pub(crate) fn reason(number: i32) -> Result<Option<TaskReason>, WireError> {
    match number {
        0 => Ok(None),
        number => read_enum::<v1::TaskReason, _>("reason", number).map(Some),
    }
}

/// The number of a reason on the wire.
pub(crate) fn reason_number(reason: TaskReason) -> i32 {
    v1::TaskReason::from(reason).into()
}

/// Why a task is to be ended; where nobody says, because somebody asked.
pub(crate) fn kill_reason(number: i32) -> Result<TaskReason, WireError> {
    Ok(reason(number)?.unwrap_or(TaskReason::KillRequested))
}

/// The number of a task state on the wire.
pub(crate) fn state_number(state: TaskState) -> i32 {
    v1::TaskState::from(state).into()
}

/// A task state from its number on the wire.
pub(crate) fn state(field: &'static str, number: i32) -> Result<TaskState, WireError> {
    read_enum::<v1::TaskState, _>(field, number)
}

impl From<&TaskKey> for v1::TaskKey {
    fn from(key: &TaskKey) -> Self {
        Self {
            framework_id: key.framework.to_string(),
            task_id: key.task.to_string(),
        }
    }
}

impl TryFrom<v1::TaskKey> for TaskKey {
    type Error = WireError;
    fn try_from(wire: v1::TaskKey) -> Result<Self, WireError> {
        Ok(Self {
            framework: parse("key.framework_id", &wire.framework_id)?,
            task: parse("key.task_id", &wire.task_id)?,
        })
    }
}

impl From<&Limits> for v1::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel,
            timeout_us: limits.timeout.map(to_micros),
            output_bytes: limits.output_bytes,
            files: limits.files,
            burst: limits.burst,
            metering: metering_number(limits.metering),
        }
    }
}

/// The number of a way of metering on the wire.
pub(crate) fn metering_number(metering: Metering) -> i32 {
    let metering = match metering {
        Metering::Clock => v1::Metering::Clock,
        Metering::Fuel => v1::Metering::Fuel,
        Metering::Time => v1::Metering::Time,
    };
    metering.into()
}

/// A way of metering from its number on the wire.
pub(crate) fn metering(field: &'static str, number: i32) -> Result<Metering, WireError> {
    match v1::Metering::try_from(number) {
        Ok(v1::Metering::Unspecified | v1::Metering::Clock) => Ok(Metering::Clock),
        Ok(v1::Metering::Fuel) => Ok(Metering::Fuel),
        Ok(v1::Metering::Time) => Ok(Metering::Time),
        Err(_) => Err(unknown_number(field, number)),
    }
}

impl TryFrom<v1::Limits> for Limits {
    type Error = WireError;
    fn try_from(wire: v1::Limits) -> Result<Self, WireError> {
        Ok(Self {
            fuel: wire.fuel,
            timeout: wire.timeout_us.map(Duration::from_micros),
            output_bytes: wire.output_bytes,
            files: wire.files,
            burst: wire.burst,
            metering: metering("limits.metering", wire.metering)?,
        })
    }
}

fn unknown_number(field: &'static str, number: i32) -> WireError {
    WireError::Invalid {
        field,
        why: format!("{number} is not a value that this version knows"),
    }
}

impl From<&TaskInfo> for v1::TaskInfo {
    fn from(task: &TaskInfo) -> Self {
        let stdio = match task.stdio {
            Stdio::Retained => v1::Stdio::Retained,
            Stdio::Attached => v1::Stdio::Attached,
        };
        let work = WireWork::from(&task.work);
        Self {
            id: task.id.to_string(),
            name: task.name.clone(),
            bundle: task.bundle.to_string(),
            repository: text(task.repository.as_ref()),
            executor: work.executor,
            run_id: work.run,
            run_of: work.run_of,
            registration_timeout_us: work.registration_timeout_us,
            group: task.group.as_ref().map(|group| Box::new(group.into())),
            service: task.service.as_deref().map(|it| Box::new(it.into())),
            health: task.health.as_deref().map(|it| Box::new(it.into())),
            args: task.args.clone(),
            env: wire_env(&task.env),
            resources: Some((&task.resources).into()),
            limits: Some((&task.limits).into()),
            stdio: stdio.into(),
            mounts: task.mounts.iter().map(wire_mount).collect(),
            kill_grace_us: task.kill_grace.map(to_micros),
            labels: task.labels.clone().into_iter().collect(),
            data: task.data.clone(),
            volumes: task.volumes.iter().map(wire_volume).collect(),
        }
    }
}

/// Environment variables on their way out.
pub(crate) fn wire_env(env: &[(String, String)]) -> Vec<v1::EnvVar> {
    let var = |(name, value): &(String, String)| v1::EnvVar {
        name: name.clone(),
        value: value.clone(),
    };
    env.iter().map(var).collect()
}

/// The same on arrival.
pub(crate) fn env(wire: Vec<v1::EnvVar>) -> Vec<(String, String)> {
    wire.into_iter().map(|var| (var.name, var.value)).collect()
}

fn wire_volume(mount: &VolumeMount) -> v1::VolumeMount {
    v1::VolumeMount {
        volume_id: mount.volume.to_string(),
        guest: mount.guest.clone(),
        read_only: mount.read_only,
    }
}

fn volume(wire: v1::VolumeMount) -> Result<VolumeMount, WireError> {
    Ok(VolumeMount {
        volume: parse("task.volumes.volume_id", &wire.volume_id)?,
        guest: wire.guest,
        read_only: wire.read_only,
    })
}

fn wire_mount(mount: &Mount) -> v1::Mount {
    v1::Mount {
        host: mount.host.clone(),
        guest: mount.guest.clone(),
        read_only: mount.read_only,
    }
}

impl TryFrom<v1::TaskInfo> for TaskInfo {
    type Error = WireError;
    fn try_from(wire: v1::TaskInfo) -> Result<Self, WireError> {
        let stdio = match v1::Stdio::try_from(wire.stdio) {
            Ok(v1::Stdio::Unspecified | v1::Stdio::Retained) => Stdio::Retained,
            Ok(v1::Stdio::Attached) => Stdio::Attached,
            Err(_) => return Err(unknown_number("task.stdio", wire.stdio)),
        };
        Ok(Self {
            id: parse("task.id", &wire.id)?,
            name: wire.name,
            bundle: parse("task.bundle", &wire.bundle)?,
            repository: parse_optional("task.repository", &wire.repository)?,
            work: WireWork {
                executor: wire.executor,
                run: wire.run_id,
                run_of: wire.run_of,
                registration_timeout_us: wire.registration_timeout_us,
            }
            .try_into()?,
            group: wire.group.map(|it| (*it).try_into()).transpose()?,
            service: boxed(wire.service)?,
            health: boxed(wire.health)?,
            args: wire.args,
            env: env(wire.env),
            resources: required("task.resources", wire.resources)?.try_into()?,
            limits: wire.limits.unwrap_or_default().try_into()?,
            stdio,
            mounts: wire.mounts.into_iter().map(mount).collect(),
            volumes: wire
                .volumes
                .into_iter()
                .map(volume)
                .collect::<Result<_, _>>()?,
            kill_grace: wire.kill_grace_us.map(Duration::from_micros),
            labels: wire.labels.into_iter().collect(),
            data: wire.data,
        })
    }
}

/// What few tasks have is kept beside them, here as there.
fn boxed<W, T: TryFrom<W, Error = WireError>>(
    wire: Option<Box<W>>,
) -> Result<Option<Box<T>>, WireError> {
    wire.map(|wire| T::try_from(*wire).map(Box::new))
        .transpose()
}

fn mount(wire: v1::Mount) -> Mount {
    Mount {
        host: wire.host,
        guest: wire.guest,
        read_only: wire.read_only,
    }
}

/// Task descriptions on their way out.
pub(crate) fn wire_tasks(tasks: &[SharedTask]) -> Vec<v1::TaskInfo> {
    tasks.iter().map(|task| task.as_ref().into()).collect()
}

/// Task descriptions on arrival, to be shared from here on.
pub(crate) fn shared_tasks(wire: Vec<v1::TaskInfo>) -> Result<Vec<SharedTask>, WireError> {
    wire.into_iter()
        .map(|task| TaskInfo::try_from(task).map(Arc::new))
        .collect()
}

impl From<Usage> for v1::Usage {
    fn from(usage: Usage) -> Self {
        Self {
            cpu_ns: usage.cpu_ns,
            wall_ns: usage.wall_ns,
            fuel: usage.fuel,
            peak_memory_bytes: usage.peak_memory_bytes,
            peak_disk_bytes: usage.peak_disk_bytes,
            output_bytes: usage.output_bytes,
        }
    }
}

impl From<v1::Usage> for Usage {
    fn from(wire: v1::Usage) -> Self {
        Self {
            cpu_ns: wire.cpu_ns,
            wall_ns: wire.wall_ns,
            fuel: wire.fuel,
            peak_memory_bytes: wire.peak_memory_bytes,
            peak_disk_bytes: wire.peak_disk_bytes,
            output_bytes: wire.output_bytes,
        }
    }
}

impl From<&TaskStatus> for v1::TaskStatus {
    fn from(status: &TaskStatus) -> Self {
        Self {
            task_id: status.task.to_string(),
            state: state_number(status.state),
            reason: status
                .reason
                .map_or(v1::TaskReason::Unspecified, Into::into)
                .into(),
            message: status.message.clone(),
            source: v1::StatusSource::from(status.source).into(),
            agent_id: status.agent.map(|id| id.to_string()).unwrap_or_default(),
            at_us: status.at.as_micros(),
            update_id: status.update.map(|id| id.to_string()).unwrap_or_default(),
            exit_code: status.exit_code.map(u32::from),
            backtrace: status.backtrace.clone(),
            usage: status.usage.map(Into::into),
            data: status.data.clone(),
            healthy: status.healthy,
        }
    }
}

impl TryFrom<v1::TaskStatus> for TaskStatus {
    type Error = WireError;
    fn try_from(wire: v1::TaskStatus) -> Result<Self, WireError> {
        Ok(Self {
            task: parse("status.task_id", &wire.task_id)?,
            state: state("status.state", wire.state)?,
            reason: reason(wire.reason)?,
            message: wire.message,
            source: read_enum::<v1::StatusSource, _>("status.source", wire.source)?,
            agent: parse_optional("status.agent_id", &wire.agent_id)?,
            at: Time::from_micros(wire.at_us),
            update: parse_optional("status.update_id", &wire.update_id)?,
            exit_code: wire.exit_code.map(exit_code).transpose()?,
            backtrace: wire.backtrace,
            usage: wire.usage.map(Into::into),
            data: wire.data,
            healthy: wire.healthy,
        })
    }
}

fn exit_code(code: u32) -> Result<u8, WireError> {
    u8::try_from(code).map_err(|_| WireError::Invalid {
        field: "status.exit_code",
        why: format!("{code} is above 255"),
    })
}
