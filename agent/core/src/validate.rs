//! Whether an agent can do what a task asks for. A limit that it cannot enforce it refuses.

use std::path::{Component, Path};

use nesos_types::agent::AgentInfo;
use nesos_types::limits::Metering;
use nesos_types::task::{Mount, TaskInfo, TaskReason};

/// Why a task is refused: the reason and a line for a person.
pub(crate) type Refused = (TaskReason, String);

/// Checks a task by itself; whether it fits is another question.
pub(crate) fn validate_task(task: &TaskInfo, agent: &AgentInfo) -> Result<(), Refused> {
    let amounts = task.resources.flattened();
    if amounts.cpu_milli == 0 || amounts.mem_bytes == 0 {
        let why = "a task needs CPU and memory; its resources are ";
        return Err((TaskReason::TaskInvalid, format!("{why}{}", task.resources)));
    }
    if task.limits.metering == Metering::Fuel && agent.fuel_per_cpu_second == 0 {
        let why = "this agent has not measured its fuel rate, so it cannot meter CPU by fuel; use metering \"clock\"";
        return Err((TaskReason::CapabilityDenied, why.to_owned()));
    }
    if task.limits.metering == Metering::Time && task.limits.fuel.is_some() {
        let why = "a fuel limit cannot be kept where fuel is not counted; drop the limit or use metering \"clock\"";
        return Err((TaskReason::TaskInvalid, why.to_owned()));
    }
    task.mounts
        .iter()
        .try_for_each(|mount| validate_mount(mount, agent))
}

fn validate_mount(mount: &Mount, agent: &AgentInfo) -> Result<(), Refused> {
    if !agent.host_mounts {
        let why = format!(
            "this agent allows no host directories (mount of {:?}); start it with host mounts allowed",
            mount.host
        );
        return Err((TaskReason::CapabilityDenied, why));
    }
    for path in [&mount.host, &mount.guest] {
        if !is_plain_absolute(Path::new(path)) {
            let why = format!("mount {path:?} is not an absolute path without \"..\"");
            return Err((TaskReason::TaskInvalid, why));
        }
    }
    Ok(())
}

fn is_plain_absolute(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}
