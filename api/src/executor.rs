//! Executors and what concerns them, to and from the wire.

use std::sync::Arc;
use std::time::Duration;

use nesos_types::executor::{Correspondent, ExecutorInfo};
use nesos_types::ids::{ExecutorId, RunId};
use nesos_types::task::{TaskGroup, Work};

use crate::common::to_micros;
use crate::task::{env, wire_env};
use crate::v1;
use crate::wire_error::{WireError, parse, parse_optional, required};

impl From<&ExecutorInfo> for v1::ExecutorInfo {
    fn from(executor: &ExecutorInfo) -> Self {
        Self {
            id: executor.id.to_string(),
            name: executor.name.clone(),
            bundle: executor.bundle.to_string(),
            repository: text(executor.repository.as_ref()),
            args: executor.args.clone(),
            env: wire_env(&executor.env),
            resources: Some((&executor.resources).into()),
            limits: Some((&executor.limits).into()),
            registration_timeout_us: executor.registration_timeout.map(to_micros),
            shutdown_grace_us: executor.shutdown_grace.map(to_micros),
            data: executor.data.clone(),
        }
    }
}

impl TryFrom<v1::ExecutorInfo> for ExecutorInfo {
    type Error = WireError;
    fn try_from(wire: v1::ExecutorInfo) -> Result<Self, WireError> {
        Ok(Self {
            id: parse("executor.id", &wire.id)?,
            name: wire.name,
            bundle: parse("executor.bundle", &wire.bundle)?,
            repository: parse_optional("executor.repository", &wire.repository)?,
            args: wire.args,
            env: env(wire.env),
            resources: required("executor.resources", wire.resources)?.try_into()?,
            limits: wire.limits.unwrap_or_default().try_into()?,
            registration_timeout: wire.registration_timeout_us.map(Duration::from_micros),
            shutdown_grace: wire.shutdown_grace_us.map(Duration::from_micros),
            data: wire.data,
        })
    }
}

/// What a task has in the cells, as fields of its description.
#[derive(Debug, Default)]
pub(crate) struct WireWork {
    pub(crate) executor: Option<Box<v1::ExecutorInfo>>,
    pub(crate) run: String,
    pub(crate) run_of: String,
    pub(crate) registration_timeout_us: u64,
}

impl From<&Work> for WireWork {
    fn from(work: &Work) -> Self {
        match work {
            Work::Sandbox => Self::default(),
            Work::InExecutor { executor, run } => Self {
                executor: Some(Box::new(executor.as_ref().into())),
                run: text(run.as_ref()),
                ..Self::default()
            },
            Work::Executor {
                id,
                registration_timeout,
            } => Self {
                run_of: id.to_string(),
                registration_timeout_us: to_micros(*registration_timeout),
                ..Self::default()
            },
        }
    }
}

impl TryFrom<WireWork> for Work {
    type Error = WireError;
    fn try_from(wire: WireWork) -> Result<Self, WireError> {
        let run: Option<RunId> = parse_optional("task.run_id", &wire.run)?;
        let run_of: Option<ExecutorId> = parse_optional("task.run_of", &wire.run_of)?;
        match (wire.executor, run_of) {
            (None, None) => Ok(Self::Sandbox),
            (None, Some(id)) => Ok(Self::Executor {
                id,
                registration_timeout: Duration::from_micros(wire.registration_timeout_us),
            }),
            (Some(executor), None) => {
                let executor = Arc::new(ExecutorInfo::try_from(*executor)?);
                Ok(Self::InExecutor { executor, run })
            }
            (Some(_), Some(_)) => Err(WireError::Invalid {
                field: "task.run_of",
                why: "what an executor runs is not itself an executor".to_owned(),
            }),
        }
    }
}

impl From<&TaskGroup> for v1::TaskGroup {
    fn from(group: &TaskGroup) -> Self {
        Self {
            id: group.id.to_string(),
            size: group.size,
            disk_bytes: group.disk_bytes,
        }
    }
}

impl TryFrom<v1::TaskGroup> for TaskGroup {
    type Error = WireError;
    fn try_from(wire: v1::TaskGroup) -> Result<Self, WireError> {
        Ok(Self {
            id: parse("task.group.id", &wire.id)?,
            size: wire.size,
            disk_bytes: wire.disk_bytes,
        })
    }
}

impl From<&Correspondent> for v1::Correspondent {
    fn from(correspondent: &Correspondent) -> Self {
        use v1::correspondent::Who;
        let who = match correspondent {
            Correspondent::Executor(id) => Who::ExecutorId(id.to_string()),
            Correspondent::Task(id) => Who::TaskId(id.to_string()),
        };
        Self { who: Some(who) }
    }
}

impl TryFrom<v1::Correspondent> for Correspondent {
    type Error = WireError;
    fn try_from(wire: v1::Correspondent) -> Result<Self, WireError> {
        use v1::correspondent::Who;
        match required("correspondent", wire.who)? {
            Who::ExecutorId(id) => parse("executor_id", &id).map(Self::Executor),
            Who::TaskId(id) => parse("task_id", &id).map(Self::Task),
        }
    }
}

/// The text of something that need not be there.
pub(crate) fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
