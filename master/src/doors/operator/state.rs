//! Snapshots on the wire.

use std::collections::{BTreeMap, HashMap};

use nesos_api::v1;
use nesos_master_core::snapshot::{
    AgentStanding, AgentView, ExecutorView, FrameworkView, OfferView, Overdue, RoleView, TaskView,
};
use nesos_master_core::{Snapshot, Stats};
use nesos_types::agent::AgentInfo;
use nesos_types::ids::AgentId;
use nesos_types::resources::{Resources, Scalar};
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskStatus};
use nesos_types::time::Time;
use tonic::Status;

use super::policy;

/// Which parts of the state were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    agents: bool,
    frameworks: bool,
    roles: bool,
    tasks: bool,
    offers: bool,
    completed_tasks: bool,
}

impl Parts {
    /// Everything.
    pub(super) const ALL: Self = Self {
        agents: true,
        frameworks: true,
        roles: true,
        tasks: true,
        offers: true,
        completed_tasks: true,
    };

    const NONE: Self = Self {
        agents: false,
        frameworks: false,
        roles: false,
        tasks: false,
        offers: false,
        completed_tasks: false,
    };

    /// The parts that a request selects; all if it selects none.
    pub(super) fn selected(request: &v1::GetStateRequest) -> Result<Self, Status> {
        if request.parts.is_empty() {
            return Ok(Self::ALL);
        }
        let mut parts = Self::NONE;
        for &number in &request.parts {
            match v1::StatePart::try_from(number) {
                Ok(v1::StatePart::Agents) => parts.agents = true,
                Ok(v1::StatePart::Frameworks) => parts.frameworks = true,
                Ok(v1::StatePart::Roles) => parts.roles = true,
                Ok(v1::StatePart::Tasks) => parts.tasks = true,
                Ok(v1::StatePart::Offers) => parts.offers = true,
                Ok(v1::StatePart::CompletedTasks) => parts.completed_tasks = true,
                Ok(v1::StatePart::Unspecified) | Err(_) => {
                    return Err(Status::invalid_argument(format!(
                        "parts: {number} is not a part of the state that this version knows"
                    )));
                }
            }
        }
        Ok(parts)
    }
}

/// A snapshot as the wire has it, of a master that started at `started`.
pub(super) fn state(snapshot: &Snapshot, parts: Parts, started: Time) -> v1::State {
    let urls = AgentInfos::of(snapshot);
    v1::State {
        master: Some(master(snapshot, started)),
        agents: when(parts.agents, || snapshot.agents.iter().map(agent).collect()),
        frameworks: when(parts.frameworks, || {
            let all = snapshot.frameworks.iter();
            all.chain(&snapshot.completed_frameworks)
                .map(framework)
                .collect()
        }),
        roles: when(parts.roles, || roles(snapshot)),
        tasks: when(parts.tasks, || {
            let live = snapshot
                .frameworks
                .iter()
                .flat_map(|framework| framework.tasks.iter().chain(&framework.unreachable_tasks));
            live.map(|view| urls.task(view)).collect()
        }),
        executors: when(parts.tasks, || {
            let executors = snapshot
                .frameworks
                .iter()
                .flat_map(|framework| &framework.executors);
            executors.map(|view| urls.executor(view)).collect()
        }),
        offers: when(parts.offers, || {
            snapshot
                .offers
                .iter()
                .map(|view| urls.offer(view))
                .collect()
        }),
        completed_tasks: when(parts.completed_tasks, || {
            let all = snapshot.frameworks.iter();
            all.chain(&snapshot.completed_frameworks)
                .flat_map(|framework| &framework.completed_tasks)
                .map(|view| urls.task(view))
                .collect()
        }),
    }
}

fn when<T>(wanted: bool, make: impl FnOnce() -> Vec<T>) -> Vec<T> {
    if wanted { make() } else { Vec::new() }
}

fn master(snapshot: &Snapshot, started: Time) -> v1::MasterState {
    let active = || {
        let agents = snapshot.agents.iter();
        agents.filter(|view| view.standing == AgentStanding::Active)
    };
    let total = sum(active().filter_map(|view| Some(&view.info.as_ref()?.resources)));
    v1::MasterState {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_us: started.as_micros(),
        now_us: snapshot.at.as_micros(),
        total: Some((&total).into()),
        allocated: Some((&sum(active().map(|view| &view.allocated))).into()),
        offered: Some((&sum(active().map(|view| &view.offered))).into()),
        counters: counters(&snapshot.stats),
        policy: Some(policy::state(&snapshot.policy)),
    }
}

/// The counters by the names of their fields.
fn counters(stats: &Stats) -> HashMap<String, u64> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(stats) else {
        return HashMap::new();
    };
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_u64()?)))
        .collect()
}

/// The sum of scalars. Ranges and sets of different agents have nothing to do with one another.
fn sum<'a>(all: impl Iterator<Item = &'a Resources>) -> Resources {
    let mut scalars: BTreeMap<Scalar, u64> = BTreeMap::new();
    for resources in all {
        for (kind, quantity) in resources.flattened().scalars() {
            let sum = scalars.entry(kind).or_default();
            *sum = sum.saturating_add(quantity);
        }
    }
    scalars
        .into_iter()
        .fold(Resources::default(), |mut sum, (kind, quantity)| {
            match kind {
                Scalar::Cpu => sum.cpu_milli = quantity,
                Scalar::Memory => sum.mem_bytes = quantity,
                Scalar::Disk => sum.disk_bytes = quantity,
                Scalar::Custom(name) => return sum.with_custom(&name, quantity),
            }
            sum
        })
}

/// An agent as the wire has it.
fn agent(view: &AgentView) -> v1::AgentState {
    let status = match view.standing {
        AgentStanding::Active => v1::AgentStatus::Active,
        AgentStanding::Disconnected => v1::AgentStatus::Disconnected,
        AgentStanding::Recovered => v1::AgentStatus::Recovered,
        AgentStanding::Unreachable => v1::AgentStatus::Unreachable,
    };
    let info = match &view.info {
        Some(info) => info.as_ref().into(),
        None => v1::AgentInfo {
            hostname: view.hostname.clone(),
            ..v1::AgentInfo::default()
        },
    };
    let overdue = match view.overdue {
        None => v1::AgentOverdue::Unspecified,
        Some(Overdue::Waits { .. }) => v1::AgentOverdue::Waits,
        Some(Overdue::Held) => v1::AgentOverdue::Held,
    };
    v1::AgentState {
        id: view.id.to_string(),
        info: Some(info),
        status: status.into(),
        allocated: Some((&view.allocated).into()),
        offered: Some((&view.offered).into()),
        free: Some((&view.free).into()),
        registered_us: view.since.as_micros(),
        total: Some((&view.total).into()),
        deactivated: view.orders.deactivated,
        drain: view.orders.drain.map(|drain| v1::DrainState {
            grace_us: drain.grace.map(nesos_api::to_micros),
            mark_gone: drain.mark_gone,
            drained: view.drained,
            live: count(view.tasks.saturating_sub(view.ended)),
            ended: count(view.ended),
        }),
        overdue: overdue.into(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A framework as the wire has it.
fn framework(view: &FrameworkView) -> v1::FrameworkState {
    let live = view.tasks.iter().filter(|task| !task.state.is_terminal());
    v1::FrameworkState {
        id: view.id.to_string(),
        info: Some(view.info.as_ref().into()),
        connected: view.connected,
        completed: view.removed_at.is_some(),
        suppressed_roles: view.suppressed.iter().map(ToString::to_string).collect(),
        allocated: Some((&view.allocated).into()),
        offered: Some((&view.offered).into()),
        tasks: u32::try_from(live.count()).unwrap_or(u32::MAX),
        subscribed_us: view.since.as_micros(),
        share_millionths: millionths(view.dominant_share),
    }
}

/// A share in millionths; shares lie between zero and one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn millionths(share: f64) -> u32 {
    (share * 1e6).round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// What a role's tasks and offers hold.
#[derive(Default)]
struct Holdings<'a> {
    allocated: Vec<&'a Resources>,
    offered: Vec<&'a Resources>,
}

fn roles(snapshot: &Snapshot) -> Vec<v1::RoleState> {
    let mut holdings: BTreeMap<&Role, Holdings<'_>> = BTreeMap::new();
    let tasks = snapshot
        .frameworks
        .iter()
        .flat_map(|framework| &framework.tasks);
    for task in tasks.filter(|task| !task.state.is_terminal()) {
        let held = &mut holdings.entry(&task.role).or_default().allocated;
        held.push(&task.info.resources);
    }
    for offer in &snapshot.offers {
        let held = &mut holdings.entry(&offer.role).or_default().offered;
        held.push(&offer.resources);
    }
    snapshot
        .roles
        .iter()
        .map(|view| role(view, &holdings.remove(&view.role).unwrap_or_default()))
        .collect()
}

fn role(view: &RoleView, holdings: &Holdings<'_>) -> v1::RoleState {
    v1::RoleState {
        name: view.role.to_string(),
        weight_milli: view.settings.weight.milli().into(),
        allocated: Some((&sum(holdings.allocated.iter().copied())).into()),
        offered: Some((&sum(holdings.offered.iter().copied())).into()),
        frameworks: u32::try_from(view.frameworks.len()).unwrap_or(u32::MAX),
        share_millionths: millionths(view.dominant_share),
        priority: view.settings.priority,
        guarantee: Some((&view.settings.guarantee).into()),
        limit: Some((&view.settings.limit).into()),
        held: Some((&view.held).into()),
        signers: view.settings.signers.clone(),
    }
}

/// What agents say of themselves, for tasks and offers that refer to them.
struct AgentInfos<'a>(BTreeMap<AgentId, &'a AgentInfo>);

impl<'a> AgentInfos<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let known = snapshot
            .agents
            .iter()
            .filter_map(|view| Some((view.id, view.info.as_deref()?)));
        Self(known.collect())
    }

    fn task(&self, view: &TaskView) -> v1::TaskRecord {
        v1::TaskRecord {
            framework_id: view.framework.to_string(),
            agent_id: view.agent.to_string(),
            agent_url: self
                .0
                .get(&view.agent)
                .map_or_else(String::new, |info| info.url.clone()),
            role: view.role.to_string(),
            task: Some(view.info.as_ref().into()),
            state: v1::TaskState::from(view.state).into(),
            status: Some((&status(view)).into()),
            launched_us: view.since.as_micros(),
        }
    }

    fn executor(&self, view: &ExecutorView) -> v1::ExecutorState {
        v1::ExecutorState {
            executor_id: view.executor.to_string(),
            run: Some(self.task(&view.run)),
            tasks: u32::try_from(view.tasks).unwrap_or(u32::MAX),
        }
    }

    fn offer(&self, view: &OfferView) -> v1::OfferState {
        let info = self.0.get(&view.agent).copied();
        let offer = v1::Offer {
            id: view.id.to_string(),
            framework_id: view.framework.to_string(),
            role: view.role.to_string(),
            agent_id: view.agent.to_string(),
            agent: info.map(Into::into),
            resources: Some((&view.resources).into()),
            free_sandboxes: view.free_sandboxes,
            compiled_bundles: view
                .compiled_bundles
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        v1::OfferState {
            offer: Some(offer),
            since_us: view.since.as_micros(),
        }
    }
}

/// What the master knows of a task's latest status.
fn status(view: &TaskView) -> TaskStatus {
    let mut status = TaskStatus::new(
        view.id.clone(),
        view.state,
        StatusSource::Master,
        view.updated_at,
    )
    .on(view.agent);
    status.reason = view.reason;
    status.message.clone_from(&view.message);
    status.exit_code = view.exit_code;
    status.usage = view.usage;
    status
}
