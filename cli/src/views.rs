//! What operators see, as rows of tables and as JSON: the wire's answers turned into domain types.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nesos_api::{WireError, v1};
use nesos_types::agent::AgentInfo;
use nesos_types::framework::FrameworkInfo;
use nesos_types::limits::Usage;
use nesos_types::resources::{Amounts, Resources, format_bytes, format_cpus};
use nesos_types::task::{TaskInfo, TaskReason, TaskState, TaskStatus};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Table;

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::new("the master's answer was not understood", error)
    }
}

/// Everything at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct StateView {
    pub(crate) master: MasterView,
    pub(crate) agents: Vec<AgentView>,
    pub(crate) frameworks: Vec<FrameworkView>,
    pub(crate) roles: Vec<RoleView>,
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) offers: Vec<OfferView>,
    pub(crate) completed_tasks: Vec<TaskView>,
    pub(crate) executors: Vec<ExecutorView>,
}

impl StateView {
    /// The state as it came.
    pub(crate) fn new(state: v1::State) -> Result<Self, WireError> {
        let now_us = state.master.as_ref().map_or(0, |master| master.now_us);
        Ok(Self {
            master: MasterView::new(state.master.unwrap_or_default())?,
            agents: all(state.agents, AgentView::new)?,
            frameworks: all(state.frameworks, FrameworkView::new)?,
            roles: all(state.roles, RoleView::new)?,
            tasks: all(state.tasks, |task| TaskView::new(task, now_us))?,
            offers: all(state.offers, |offer| OfferView::new(offer, now_us))?,
            completed_tasks: all(state.completed_tasks, |task| TaskView::new(task, now_us))?,
            executors: all(state.executors, |executor| {
                ExecutorView::new(executor, now_us)
            })?,
        })
    }
}

fn all<W, T>(wire: Vec<W>, view: impl Fn(W) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
    wire.into_iter().map(view).collect()
}

fn resources(wire: Option<v1::Resources>) -> Result<Resources, WireError> {
    wire.map_or_else(|| Ok(Resources::default()), Resources::try_from)
}

/// Rounded for people: `5m`, `3h`.
pub(crate) fn age(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn percent(millionths: u32) -> String {
    format!("{}.{} %", millionths / 10_000, millionths % 10_000 / 1000)
}

/// The master itself.
#[derive(Debug, Serialize)]
pub(crate) struct MasterView {
    pub(crate) version: String,
    pub(crate) started_us: u64,
    pub(crate) now_us: u64,
    pub(crate) total: Resources,
    pub(crate) allocated: Resources,
    pub(crate) offered: Resources,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) policy: PolicyView,
}

impl MasterView {
    fn new(wire: v1::MasterState) -> Result<Self, WireError> {
        Ok(Self {
            version: wire.version,
            started_us: wire.started_us,
            now_us: wire.now_us,
            total: resources(wire.total)?,
            allocated: resources(wire.allocated)?,
            offered: resources(wire.offered)?,
            counters: wire.counters.into_iter().collect(),
            policy: PolicyView::new(wire.policy.unwrap_or_default()),
        })
    }

    /// How long it has been up.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_micros(self.now_us.saturating_sub(self.started_us))
    }
}

/// Who decides in which order frameworks are served.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyView {
    pub(crate) name: String,
    pub(crate) digest: Option<String>,
    pub(crate) fault: Option<String>,
    pub(crate) preemption: Option<PreemptionView>,
}

/// That tasks are ended for demands of higher priority.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PreemptionView {
    /// In place of what a task asks for itself.
    pub(crate) grace_us: Option<u64>,
}

impl PolicyView {
    pub(crate) fn new(wire: v1::PolicyState) -> Self {
        Self {
            name: wire.name,
            digest: wire.digest,
            fault: wire.fault,
            preemption: wire.preemption.map(|preemption| PreemptionView {
                grace_us: preemption.grace_us,
            }),
        }
    }
}

impl fmt::Display for PolicyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(digest) = &self.digest {
            write!(f, " ({digest})")?;
        }
        if let Some(preemption) = &self.preemption {
            f.write_str(", which ends tasks of lower priority")?;
            if let Some(grace) = preemption.grace_us {
                write!(f, " within {:?}", Duration::from_micros(grace))?;
            }
        }
        match &self.fault {
            None => Ok(()),
            Some(fault) => write!(f, ", put aside: {fault}; DRF decides"),
        }
    }
}

/// An agent.
#[derive(Debug, Serialize)]
pub(crate) struct AgentView {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) info: AgentInfo,
    pub(crate) allocated: Resources,
    pub(crate) offered: Resources,
    pub(crate) free: Resources,
    pub(crate) total: Resources,
    pub(crate) registered_us: u64,
    /// By an operator: nothing of it is offered.
    pub(crate) deactivated: bool,
    /// By an operator: its tasks are ended.
    pub(crate) drain: Option<DrainView>,
    /// Why it is not taken for lost although its time is over: `waits` for its turn, or `held`.
    pub(crate) overdue: Option<&'static str>,
}

/// How an agent's tasks are ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct DrainView {
    /// The most that a task has to end by itself.
    pub(crate) grace_us: Option<u64>,
    /// Once it is drained it is gone for good.
    pub(crate) mark_gone: bool,
    pub(crate) drained: bool,
    /// How many tasks have still to end.
    pub(crate) live: u32,
    /// How many ends a scheduler has still to acknowledge.
    pub(crate) ended: u32,
}

impl fmt::Display for DrainView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.drained, self.live, self.ended) {
            (true, ..) => write!(f, "drained"),
            (false, 0, 0) => write!(f, "draining"),
            (false, live, 0) => write!(f, "draining: {live} to end"),
            (false, 0, ended) => write!(f, "draining: {ended} unacknowledged"),
            (false, live, ended) => write!(f, "draining: {live} to end, {ended} unacknowledged"),
        }
    }
}

impl AgentView {
    fn new(wire: v1::AgentState) -> Result<Self, WireError> {
        let status = match wire.status() {
            v1::AgentStatus::Unspecified => "unknown",
            v1::AgentStatus::Active => "active",
            v1::AgentStatus::Disconnected => "disconnected",
            v1::AgentStatus::Recovered => "recovered",
            v1::AgentStatus::Unreachable => "unreachable",
        };
        let overdue = match wire.overdue() {
            v1::AgentOverdue::Unspecified => None,
            v1::AgentOverdue::Waits => Some("waits"),
            v1::AgentOverdue::Held => Some("held"),
        };
        Ok(Self {
            id: wire.id,
            status,
            overdue,
            info: wire
                .info
                .ok_or(WireError::Missing("agent.info"))?
                .try_into()?,
            allocated: resources(wire.allocated)?,
            offered: resources(wire.offered)?,
            free: resources(wire.free)?,
            total: resources(wire.total)?,
            registered_us: wire.registered_us,
            deactivated: wire.deactivated,
            drain: wire.drain.map(|drain| DrainView {
                grace_us: drain.grace_us,
                mark_gone: drain.mark_gone,
                drained: drain.drained,
                live: drain.live,
                ended: drain.ended,
            }),
        })
    }

    /// How it is reached, and what operators have decided of it.
    fn standing(&self) -> String {
        let ordered = match self.drain {
            Some(drain) => Some(drain.to_string()),
            None => self.deactivated.then(|| "deactivated".to_owned()),
        };
        let overdue = match self.overdue {
            Some("waits") => Some("waits to be lost".to_owned()),
            Some(_) => Some("kept: too many are lost".to_owned()),
            None => None,
        };
        let status = [self.status.to_owned()];
        let words = status.into_iter().chain(overdue).chain(ordered);
        let words: Vec<_> = words.collect();
        words.join(", ")
    }

    /// Agents as a table.
    pub(crate) fn table<'a>(agents: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new([
            "AGENT",
            "HOST",
            "STATUS",
            "CPUS USED",
            "CPUS",
            "MEMORY USED",
            "MEMORY",
            "DISK",
        ]);
        for agent in agents {
            let total = agent.info.resources.flattened();
            let used = agent.allocated.flattened();
            table.row([
                agent.id.clone(),
                agent.info.hostname.clone(),
                agent.standing(),
                format_cpus(used.cpu_milli),
                format_cpus(total.cpu_milli),
                format_bytes(used.mem_bytes),
                format_bytes(total.mem_bytes),
                format_bytes(total.disk_bytes),
            ]);
        }
        table
    }
}

/// A framework.
#[derive(Debug, Serialize)]
pub(crate) struct FrameworkView {
    pub(crate) id: String,
    pub(crate) info: FrameworkInfo,
    pub(crate) connected: bool,
    pub(crate) completed: bool,
    pub(crate) suppressed_roles: Vec<String>,
    pub(crate) allocated: Resources,
    pub(crate) offered: Resources,
    pub(crate) tasks: u32,
    pub(crate) subscribed_us: u64,
    pub(crate) share_millionths: u32,
}

impl FrameworkView {
    fn new(wire: v1::FrameworkState) -> Result<Self, WireError> {
        Ok(Self {
            id: wire.id,
            info: wire
                .info
                .ok_or(WireError::Missing("framework.info"))?
                .try_into()?,
            connected: wire.connected,
            completed: wire.completed,
            suppressed_roles: wire.suppressed_roles,
            allocated: resources(wire.allocated)?,
            offered: resources(wire.offered)?,
            tasks: wire.tasks,
            subscribed_us: wire.subscribed_us,
            share_millionths: wire.share_millionths,
        })
    }

    fn status(&self) -> &'static str {
        match (self.completed, self.connected) {
            (true, _) => "completed",
            (false, true) => "connected",
            (false, false) => "disconnected",
        }
    }

    fn roles(&self) -> String {
        let roles: Vec<_> = self.info.roles.iter().map(|role| role.as_str()).collect();
        roles.join(",")
    }

    /// Frameworks as a table.
    pub(crate) fn table<'a>(frameworks: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new([
            "FRAMEWORK",
            "NAME",
            "ROLES",
            "STATUS",
            "TASKS",
            "USED",
            "OFFERED",
            "SHARE",
        ]);
        for framework in frameworks {
            table.row([
                framework.id.clone(),
                framework.info.name.clone(),
                framework.roles(),
                framework.status().to_owned(),
                framework.tasks.to_string(),
                held(&framework.allocated),
                held(&framework.offered),
                percent(framework.share_millionths),
            ]);
        }
        table
    }
}

/// Resources in a cell of a table; a dash for none.
fn held(resources: &Resources) -> String {
    if resources.is_empty() {
        return "-".to_owned();
    }
    let resources = resources.flattened();
    format!(
        "{} CPU, {}",
        format_cpus(resources.cpu_milli),
        format_bytes(resources.mem_bytes)
    )
}

/// A role.
#[derive(Debug, Serialize)]
pub(crate) struct RoleView {
    pub(crate) name: String,
    pub(crate) weight_milli: u64,
    pub(crate) priority: i32,
    pub(crate) guarantee: Amounts,
    pub(crate) limit: Amounts,
    pub(crate) held: Resources,
    pub(crate) allocated: Resources,
    pub(crate) offered: Resources,
    pub(crate) frameworks: u32,
    pub(crate) share_millionths: u32,
    pub(crate) signers: Vec<String>,
}

impl RoleView {
    fn new(wire: v1::RoleState) -> Result<Self, WireError> {
        Ok(Self {
            name: wire.name,
            weight_milli: wire.weight_milli,
            priority: wire.priority,
            guarantee: wire.guarantee.unwrap_or_default().try_into()?,
            limit: wire.limit.unwrap_or_default().try_into()?,
            held: resources(wire.held)?,
            allocated: resources(wire.allocated)?,
            offered: resources(wire.offered)?,
            frameworks: wire.frameworks,
            share_millionths: wire.share_millionths,
            signers: wire.signers,
        })
    }

    /// Roles as a table.
    pub(crate) fn table<'a>(roles: impl IntoIterator<Item = &'a Self>) -> Table {
        let amounts = |amounts: &Amounts| match amounts.is_empty() {
            true => "-".to_owned(),
            false => amounts.to_string(),
        };
        let mut table = Table::new([
            "ROLE",
            "WEIGHT",
            "PRIORITY",
            "FRAMEWORKS",
            "USED",
            "OFFERED",
            "SHARE",
            "GUARANTEE",
            "LIMIT",
            "SIGNERS",
        ]);
        for role in roles {
            table.row([
                role.name.clone(),
                format_cpus(role.weight_milli),
                role.priority.to_string(),
                role.frameworks.to_string(),
                held(&role.allocated),
                held(&role.offered),
                percent(role.share_millionths),
                amounts(&role.guarantee),
                amounts(&role.limit),
                match role.signers.len() {
                    0 => "-".to_owned(),
                    count => count.to_string(),
                },
            ]);
        }
        table
    }
}

/// A task, running or not.
#[derive(Debug, Serialize)]
pub(crate) struct TaskView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) framework: String,
    pub(crate) agent: String,
    pub(crate) agent_url: String,
    pub(crate) role: String,
    pub(crate) state: TaskState,
    pub(crate) reason: Option<TaskReason>,
    pub(crate) message: String,
    pub(crate) exit_code: Option<u8>,
    pub(crate) backtrace: Vec<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) launched_us: u64,
    /// Until its last status if it has ended, else until now.
    pub(crate) age_us: u64,
    pub(crate) info: TaskInfo,
}

impl TaskView {
    fn new(wire: v1::TaskRecord, now_us: u64) -> Result<Self, WireError> {
        let state = TaskState::try_from(wire.state())?;
        let status = wire.status.map(TaskStatus::try_from).transpose()?;
        let info = TaskInfo::try_from(wire.task.ok_or(WireError::Missing("task"))?)?;
        let end_us = match &status {
            Some(status) if state.is_terminal() => status.at.as_micros(),
            _ => now_us,
        };
        let mut view = Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            framework: wire.framework_id,
            agent: wire.agent_id,
            agent_url: wire.agent_url,
            role: wire.role,
            state,
            reason: None,
            message: String::new(),
            exit_code: None,
            backtrace: Vec::new(),
            usage: None,
            launched_us: wire.launched_us,
            age_us: end_us.saturating_sub(wire.launched_us),
            info,
        };
        if let Some(status) = status {
            view.reason = status.reason;
            view.message = status.message;
            view.exit_code = status.exit_code;
            view.backtrace = status.backtrace;
            view.usage = status.usage;
        }
        Ok(view)
    }

    /// Tasks as a table.
    pub(crate) fn table<'a>(tasks: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new([
            "TASK", "NAME", "STATE", "ROLE", "CPUS", "MEMORY", "AGE", "MESSAGE",
        ]);
        for task in tasks {
            let resources = task.info.resources.flattened();
            table.row([
                task.id.clone(),
                task.name.clone(),
                task.shown_state(),
                task.role.clone(),
                format_cpus(resources.cpu_milli),
                format_bytes(resources.mem_bytes),
                age(Duration::from_micros(task.age_us)),
                task.message.clone(),
            ]);
        }
        table
    }

    fn shown_state(&self) -> String {
        match self.exit_code {
            Some(code) if code != 0 => format!("{} ({code})", self.state),
            _ => self.state.to_string(),
        }
    }
}

/// An outstanding offer.
#[derive(Debug, Serialize)]
pub(crate) struct OfferView {
    pub(crate) id: String,
    pub(crate) framework: String,
    pub(crate) role: String,
    pub(crate) agent: String,
    pub(crate) hostname: String,
    pub(crate) resources: Resources,
    /// How many more sandboxes the agent can hold now.
    pub(crate) free_sandboxes: u32,
    pub(crate) age_us: u64,
}

impl OfferView {
    fn new(wire: v1::OfferState, now_us: u64) -> Result<Self, WireError> {
        let offer = wire.offer.ok_or(WireError::Missing("offer"))?;
        Ok(Self {
            id: offer.id,
            framework: offer.framework_id,
            role: offer.role,
            agent: offer.agent_id,
            hostname: offer.agent.map(|agent| agent.hostname).unwrap_or_default(),
            resources: resources(offer.resources)?,
            free_sandboxes: offer.free_sandboxes,
            age_us: now_us.saturating_sub(wire.since_us),
        })
    }

    /// Offers as a table.
    pub(crate) fn table<'a>(offers: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new(["OFFER", "FRAMEWORK", "ROLE", "HOST", "RESOURCES", "AGE"]);
        for offer in offers {
            table.row([
                offer.id.clone(),
                offer.framework.clone(),
                offer.role.clone(),
                offer.hostname.clone(),
                offer.resources.to_string(),
                age(Duration::from_micros(offer.age_us)),
            ]);
        }
        table
    }
}

mod executors;
#[cfg(test)]
mod tests;

pub(crate) use executors::ExecutorView;
