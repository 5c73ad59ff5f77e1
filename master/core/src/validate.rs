//! Validation: what may never run, refused before it leaves the master. The agent checks what only it
//! can know.

use std::collections::BTreeSet;
use std::time::Duration;

use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Repository;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{ExecutorId, TaskId};
use nesos_types::limits::{Limits, Metering};
use nesos_types::offer::Demand;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::service::Probe;
use nesos_types::task::{Mount, Stdio, TaskInfo, TaskReason, TaskState};

use crate::executors;

/// The longest grace that a killed guest may ask for.
const MAX_KILL_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Why a task may never run as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) reason: TaskReason,
    pub(crate) message: String,
}

impl Invalid {
    fn new(message: impl Into<String>) -> Self {
        Self {
            reason: TaskReason::TaskInvalid,
            message: message.into(),
        }
    }

    fn denied(message: impl Into<String>) -> Self {
        Self {
            reason: TaskReason::CapabilityDenied,
            message: message.into(),
        }
    }

    pub(crate) fn duplicate() -> Self {
        Self::new("a live or unreachable task of this framework has the same id")
    }

    pub(crate) fn in_group(self, culprit: &TaskId) -> Self {
        let message = format!("task {culprit} of the group: {}", self.message);
        Self { message, ..self }
    }

    pub(crate) fn of_executor(self, executor: &ExecutorId) -> Self {
        let message = format!("executor {executor}: {}", self.message);
        Self { message, ..self }
    }

    /// What frees resources once is paid for by all: tasks of others would be slowed down or ended with it.
    pub(crate) fn revocable_executor(executor: &ExecutorId) -> Self {
        Self::new(format!(
            "executor {executor}: its tasks would be ended for its sake, so it cannot have revocable CPU"
        ))
    }

    /// Whoever accepted may have thought that the executor runs already: with another offer it can be started.
    pub(crate) fn no_room_with_executor(executor: &ExecutorId, wanted: &Resources) -> Self {
        Self {
            reason: TaskReason::ResourcesUnknown,
            message: format!(
                "executor {executor} does not run on the agent, and with its {wanted} the task does not fit into the accepted offers"
            ),
        }
    }

    pub(crate) fn executor_differs(executor: &ExecutorId) -> Self {
        Self::new(format!(
            "executor {executor} runs on the agent already, and is described otherwise; describe it as before, or use another id"
        ))
    }

    pub(crate) fn executor_of_role(executor: &ExecutorId, role: &Role) -> Self {
        Self::new(format!(
            "executor {executor} runs on the agent already, in role {role}; use another id in this role"
        ))
    }

    /// Another run can be started once this one is over.
    pub(crate) fn executor_ending(executor: &ExecutorId) -> Self {
        Self {
            reason: TaskReason::ExecutorTerminated,
            message: format!("executor {executor} is ending on this agent"),
        }
    }

    /// The agent can hold no further sandbox. Whoever was offered it could not know.
    pub(crate) fn no_sandbox(most: u32) -> Self {
        Self {
            reason: TaskReason::ResourcesUnknown,
            message: format!("the agent holds {most} sandboxes, which is the most that it may"),
        }
    }

    /// What becomes of the task: it may be tried again where it was not itself at fault.
    pub(crate) fn state(&self) -> TaskState {
        match self.reason {
            TaskReason::ResourcesUnknown | TaskReason::ExecutorTerminated => TaskState::Dropped,
            _ => TaskState::Error,
        }
    }

    pub(crate) fn too_large(wanted: &Resources, remaining: &Resources) -> Self {
        Self::new(format!(
            "the task wants {wanted}, but only {remaining} are left of the accepted offers"
        ))
    }
}

/// Checks what a framework may choose at all: some of a task is the master's to say.
pub(crate) fn chosen(task: &TaskInfo) -> Result<(), Invalid> {
    if executors::as_run(&task.id).is_some() {
        return Err(Invalid::new(format!(
            "ids that look like {} are the master's to give",
            task.id
        )));
    }
    if task.run_of().is_some() || task.run().is_some() || task.group.is_some() {
        return Err(Invalid::new(
            "run_of, run_id and group are the master's to say; leave them empty",
        ));
    }
    if task.has_sandbox() {
        return Ok(());
    }
    if task.resources.revocable_cpu_milli() > 0 {
        return Err(Invalid::new(
            "a task in an executor cannot be slowed down by itself, so it cannot have revocable CPU",
        ));
    }
    if task.resources.flattened().disk_bytes > 0 {
        return Err(Invalid::new(
            "a task in an executor has no disk of its own; give the disk to the executor",
        ));
    }
    let own = TaskInfo {
        limits: Limits::default(),
        stdio: Stdio::Retained,
        mounts: Vec::new(),
        volumes: Vec::new(),
        service: None,
        health: None,
        ..task.clone()
    };
    if own == *task {
        return Ok(());
    }
    Err(Invalid::new(
        "a task in an executor has no sandbox of its own: no limits but its resources, no attached output, no mounts, volumes, service or health check; set limits on the executor",
    ))
}

/// Checks what does not depend on what is left of the offer.
pub(crate) fn task(task: &TaskInfo, agent: &AgentInfo) -> Result<(), Invalid> {
    resources(&task.resources)?;
    limits(&task.limits, agent)?;
    words(task)?;
    mounts(&task.mounts, agent)?;
    volumes(task)?;
    ports(task)?;
    health(task)?;
    match task.kill_grace {
        Some(grace) if grace > MAX_KILL_GRACE => {
            Err(Invalid::new("kill_grace is longer than 24 hours"))
        }
        _ => Ok(()),
    }
}

/// Checks that the bundle is the role's to run: of the same tenant, or everybody's.
pub(crate) fn bundle(repository: Option<&Repository>, role: &Role) -> Result<(), Invalid> {
    let Some((repository, tenant)) = repository.and_then(|own| Some((own, own.tenant()?))) else {
        return Ok(());
    };
    // Repositories have no capitals.
    let top = role.as_str().split('/').next().unwrap_or_default();
    if top.eq_ignore_ascii_case(tenant) {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "bundle {repository} is for role {tenant} and those below it, and the task is launched in role {role}; launch it there, or push it under a name of one part, which is for all"
    )))
}

fn resources(resources: &Resources) -> Result<(), Invalid> {
    let resources = resources.flattened();
    if resources.cpu_milli == 0 {
        return Err(Invalid::new("the task wants no CPU; it would never run"));
    }
    if resources.mem_bytes == 0 {
        return Err(Invalid::new("the task wants no memory; it would never run"));
    }
    Ok(())
}

fn limits(limits: &Limits, agent: &AgentInfo) -> Result<(), Invalid> {
    if limits.fuel == Some(0) {
        return Err(Invalid::new(
            "limits.fuel is zero; the task would never run",
        ));
    }
    if limits.timeout == Some(Duration::ZERO) {
        return Err(Invalid::new(
            "limits.timeout is zero; the task would never run",
        ));
    }
    if limits.fuel.is_some() && limits.metering == Metering::Time {
        return Err(Invalid::new(
            "limits.fuel cannot be held with metering \"time\", which counts no fuel",
        ));
    }
    if limits.metering == Metering::Fuel && agent.fuel_per_cpu_second == 0 {
        return Err(Invalid::denied(
            "metering \"fuel\" needs an agent that has measured its fuel rate; this one has not",
        ));
    }
    Ok(())
}

fn words(task: &TaskInfo) -> Result<(), Invalid> {
    if task.args.iter().any(|arg| arg.contains('\0')) {
        return Err(Invalid::new("an argument holds a NUL character"));
    }
    for (name, value) in &task.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Invalid::new(format!(
                "environment variable {name:?}: the name is empty or holds \"=\" or NUL, or the value holds NUL"
            )));
        }
    }
    Ok(())
}

fn mounts(mounts: &[Mount], agent: &AgentInfo) -> Result<(), Invalid> {
    for mount in mounts {
        if !agent.host_mounts {
            return Err(Invalid::denied(format!(
                "agent {} does not allow directories of its host ({})",
                agent.hostname, mount.host
            )));
        }
        for path in [&mount.host, &mount.guest] {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(Invalid::new(format!("{path:?} is not an absolute path")));
            }
        }
        if mount.guest.split('/').any(|component| component == "..") {
            return Err(Invalid::new(format!("{:?} holds \"..\"", mount.guest)));
        }
    }
    Ok(())
}

fn volumes(task: &TaskInfo) -> Result<(), Invalid> {
    for mount in &task.volumes {
        let mut held = task.resources.volumes();
        if !held.any(|(volume, _)| volume.id == mount.volume) {
            return Err(Invalid::new(format!(
                "volumes: volume {} is not among the task's resources",
                mount.volume
            )));
        }
        let guest = &mount.guest;
        let leads_out = guest.split('/').any(|component| component == "..");
        if !guest.starts_with('/') || guest.contains('\0') || leads_out {
            return Err(Invalid::new(format!(
                "volumes: {guest:?} is not an absolute path without \"..\""
            )));
        }
    }
    Ok(())
}

/// A service listens where the task has a port.
fn ports(task: &TaskInfo) -> Result<(), Invalid> {
    let Some(service) = &task.service else {
        return Ok(());
    };
    if service.concurrency == 0 || service.requests_per_instance == 0 {
        return Err(Invalid::new(
            "service: concurrency and requests_per_instance are one at the least",
        ));
    }
    has_port("service", task, service.port)
}

/// What a task uses a port for, it has accepted.
fn has_port(what: &str, task: &TaskInfo, port: u16) -> Result<(), Invalid> {
    let port = u64::from(port);
    let resources = task.resources.flattened();
    let mut ranges = resources.ranges();
    let has = ranges.any(|(name, ports)| {
        let mut ports = ports.as_slice().iter();
        &**name == PORTS && ports.any(|(low, high)| (*low..=*high).contains(&port))
    });
    if has {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "{what}: port {port} is not among the task's resources; accept it with {PORTS}:[{port}-{port}]"
    )))
}

/// The range of resources that ports are.
const PORTS: &str = "ports";

fn health(task: &TaskInfo) -> Result<(), Invalid> {
    let Some(check) = &task.health else {
        return Ok(());
    };
    if check.failures == 0 {
        return Err(Invalid::new(
            "health: failures is zero; the task would never run",
        ));
    }
    if check.timeout.is_zero() || check.interval.is_zero() {
        return Err(Invalid::new(
            "health: timeout and interval are more than zero",
        ));
    }
    match &check.probe {
        Probe::Http { path, .. }
            if !path.starts_with('/') || path.contains(char::is_whitespace) =>
        {
            Err(Invalid::new(format!(
                "health: {path:?} is not a path such as /health"
            )))
        }
        // Whose port it were else, nobody knows; the probe comes from within the host.
        Probe::Http { port, .. } | Probe::Tcp { port } => has_port("health", task, *port),
        Probe::Call => Ok(()),
    }
}

/// What is wrong with what an agent says that its configuration gives it.
pub(crate) fn configured(resources: &Resources) -> Result<(), String> {
    if resources.checked_flattened().is_none() {
        return Err("resources: an item is there twice, or a sum is beyond 64 bits".to_owned());
    }
    for (claim, part) in resources.parts() {
        let for_everybody = claim
            .reservation()
            .map(|by| by.role == Role::default_role());
        if *claim != claim.as_configured() || claim.revocable || for_everybody == Some(true) {
            return Err(format!(
                "resources: {} {claim}: an agent can only reserve for a role, by its configuration",
                part.words()
            ));
        }
    }
    Ok(())
}

/// What is wrong with a subscription, in words for whoever wrote the scheduler.
pub(crate) fn subscription(
    info: &FrameworkInfo,
    suppressed: &BTreeSet<Role>,
) -> Result<(), String> {
    let mut filtered = info.offer_filters.keys();
    if let Some(role) = filtered.find(|role| !info.roles.contains(*role)) {
        return Err(format!(
            "role {role} has offer filters but is not among the framework's roles"
        ));
    }
    match suppressed.difference(&info.roles).next() {
        Some(role) => Err(format!(
            "role {role} is suppressed but not among the framework's roles"
        )),
        None => Ok(()),
    }
}

/// The most demands that a framework may state.
const MAX_DEMANDS: usize = 4096;

/// What is wrong with demands, in words for whoever wrote the scheduler.
pub(crate) fn demands(demands: &[Demand], roles: &BTreeSet<Role>) -> Result<(), String> {
    if demands.len() > MAX_DEMANDS {
        let count = demands.len();
        return Err(format!(
            "there are {count} demands; the most are {MAX_DEMANDS}: gather equal ones by their count"
        ));
    }
    for demand in demands {
        let role = &demand.role;
        if !roles.contains(role) {
            return Err(format!("{role} is not a role of this framework"));
        }
        if demand.count == 0 {
            return Err("a demand has a count of zero; leave it out".to_owned());
        }
        if demand.resources.is_empty() {
            return Err("a demand is for nothing at all".to_owned());
        }
    }
    Ok(())
}
