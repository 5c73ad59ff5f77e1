//! Snapshots: what operators see. A copy, so that no reader ever touches the core.

use std::collections::BTreeSet;
use std::sync::Arc;

use nesos_types::agent::{AgentInfo, AgentOrders};
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use nesos_types::limits::Usage;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::task::{SharedTask, TaskReason, TaskState};
use nesos_types::time::Time;
use serde::Serialize;

use crate::config::{BuiltInPolicy, Preemption};
use crate::stats::Stats;

mod build;

/// Everything that an operator may see, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The moment.
    pub at: Time,
    /// Agents, by id: present ones, those that have still to come back, and unreachable ones.
    pub agents: Vec<AgentView>,
    /// Frameworks that have not been removed, by id.
    pub frameworks: Vec<FrameworkView>,
    /// Frameworks that have been removed, oldest first.
    pub completed_frameworks: Vec<FrameworkView>,
    /// Roles that somebody subscribes in or holds something of, by name.
    pub roles: Vec<RoleView>,
    /// Who decides in which order frameworks are served.
    pub policy: PolicyView,
    /// Outstanding offers, by id.
    pub offers: Vec<OfferView>,
    /// Plain counters since the master started.
    pub stats: Stats,
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStanding {
    /// Connected; its free resources are offered.
    Active,
    /// Its connection broke and it has some time to come back.
    Disconnected,
    /// The master restarted and the agent has not come back yet.
    Recovered,
    /// It was given up; it may come back.
    Unreachable,
}

/// Why an agent is not taken for lost although its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overdue {
    /// Only so many are in a time; it waits for its turn.
    Waits {
        /// Since when.
        since: Time,
    },
    /// Too many were that the master knew when it restarted. This one is kept until it comes back or an operator says
    /// that it is gone.
    Held,
}

/// An agent as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// Its host.
    pub hostname: String,
    /// Where it stands.
    pub standing: AgentStanding,
    /// When its id was given out.
    pub since: Time,
    /// When it was last heard of; for an unreachable one, when it was given up.
    pub last_heard: Time,
    /// What it said of itself; `None` for unreachable agents.
    pub info: Option<Arc<AgentInfo>>,
    /// Resources in use by tasks.
    pub allocated: Resources,
    /// Resources held by offers.
    pub offered: Resources,
    /// Resources that neither a task nor an offer holds.
    pub free: Resources,
    /// All that it has, as it is set apart now.
    pub total: Resources,
    /// How many tasks it has, ended ones included until they are acknowledged.
    pub tasks: usize,
    /// How many of those have ended and wait for their acknowledgement.
    pub ended: usize,
    /// What operators have decided of it.
    pub orders: AgentOrders,
    /// Whether it was to be drained and has been.
    pub drained: bool,
    /// Why it is not taken for lost although its time is over.
    pub overdue: Option<Overdue>,
}

/// A framework as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameworkView {
    /// Its id.
    pub id: FrameworkId,
    /// What it says of itself.
    pub info: Arc<FrameworkInfo>,
    /// Whether its scheduler is connected.
    pub connected: bool,
    /// When its id was given out.
    pub since: Time,
    /// When it was removed.
    pub removed_at: Option<Time>,
    /// Roles in which it wants no offers for now.
    pub suppressed: BTreeSet<Role>,
    /// What it holds of the scarcest kind, over all its roles, against all there is.
    pub dominant_share: f64,
    /// Scalars in use by its tasks, summed over agents.
    pub allocated: Resources,
    /// Scalars held by its offers, summed over agents.
    pub offered: Resources,
    /// Its tasks, by id: live ones, and ended ones until they are acknowledged.
    pub tasks: Vec<TaskView>,
    /// Runs of its executors that have not ended, by executor and agent.
    pub executors: Vec<ExecutorView>,
    /// Its tasks on unreachable agents, by id.
    pub unreachable_tasks: Vec<TaskView>,
    /// Its ended tasks, oldest first, as far as they are remembered.
    pub completed_tasks: Vec<TaskView>,
}

/// A task as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its framework.
    pub framework: FrameworkId,
    /// The role that its resources are allocated to.
    pub role: Role,
    /// Its agent.
    pub agent: AgentId,
    /// What was asked for.
    pub info: SharedTask,
    /// Its latest state.
    pub state: TaskState,
    /// Why it is in its state, where it is known.
    pub reason: Option<TaskReason>,
    /// A line for people; empty if there is nothing to add.
    pub message: String,
    /// The exit code, if it exited.
    pub exit_code: Option<u8>,
    /// What it used, if it ended and told.
    pub usage: Option<Usage>,
    /// When it was launched, or brought back by its agent.
    pub since: Time,
    /// When its state last changed.
    pub updated_at: Time,
}

/// A run of an executor as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecutorView {
    /// The executor.
    pub executor: ExecutorId,
    /// The task that the run is to its agent.
    pub run: TaskView,
    /// How many tasks are in it that have not ended.
    pub tasks: usize,
}

/// A role as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleView {
    /// Its name.
    pub role: Role,
    /// What operators have decided of it.
    pub settings: RoleSettings,
    /// What it and the roles below it hold, summed over agents; offers are held.
    pub held: Resources,
    /// What it and the roles below it hold of the scarcest kind, against all there is.
    pub dominant_share: f64,
    /// Frameworks that subscribe in it or hold something of it, by id.
    pub frameworks: Vec<FrameworkId>,
}

/// The policy as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// Its name: `drf` or `priority`, or what a plug-in was called when it was set.
    pub name: String,
    /// The plug-in's component; `None` if the policy is built in.
    pub digest: Option<Digest>,
    /// Why the plug-in decides no more, and DRF does; `None` while all is well.
    pub fault: Option<String>,
    /// Whether it ends tasks for demands of higher priority, and how.
    pub preemption: Option<Preemption>,
}

impl PolicyView {
    pub(crate) fn built_in(policy: BuiltInPolicy) -> Self {
        Self {
            name: policy.to_string(),
            digest: None,
            fault: None,
            preemption: None,
        }
    }
}

/// An offer as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferView {
    /// Its id.
    pub id: OfferId,
    /// Whom it was made to.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// Whose resources it is.
    pub agent: AgentId,
    /// The resources.
    pub resources: Resources,
    /// How many more sandboxes its agent can hold now; [`u32::MAX`] where nobody counts.
    pub free_sandboxes: u32,
    /// Bundles of the framework's that its agent has compiled now.
    pub compiled_bundles: Vec<Digest>,
    /// When it was made.
    pub since: Time,
}
