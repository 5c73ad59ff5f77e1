//! An agent that runs whatever it is sent until it is told otherwise, and repeats each status until it
//! is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nesos_master_core::ConnectionId;
use nesos_types::agent::AgentInfo;
use nesos_types::ids::{AgentId, TaskKey, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, AgentTask, Refusal};
use nesos_types::reservation::SetApart;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

/// How long an agent waits for an acknowledgement before it repeats a status.
const REPEAT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Running {
    role: Role,
    task: SharedTask,
    latest: TaskState,
    /// Statuses that were not acknowledged, oldest first; only the head is on its way.
    pending: VecDeque<TaskStatus>,
    repeat_at: Time,
}

/// An agent on the stage.
#[derive(Debug)]
pub struct StageAgent {
    /// What it says of itself.
    pub info: AgentInfo,
    pub(super) id: Option<AgentId>,
    pub(super) connection: Option<ConnectionId>,
    tasks: BTreeMap<TaskKey, Running>,
    /// What was refused, as far as nobody has looked.
    pub refused: Vec<Refusal>,
    /// What it was last told to be set apart on it.
    pub set_apart: SetApart,
    next_update: u128,
}

/// What an agent with these resources says of itself.
#[must_use]
pub fn agent_info(hostname: &str, resources: Resources) -> AgentInfo {
    AgentInfo {
        url: format!("http://{hostname}:5051"),
        ..AgentInfo::new(hostname, resources)
    }
}

impl StageAgent {
    pub(super) fn new(info: AgentInfo) -> Self {
        Self {
            info,
            id: None,
            connection: None,
            tasks: BTreeMap::new(),
            refused: Vec::new(),
            set_apart: SetApart::default(),
            next_update: 0,
        }
    }

    pub(super) fn connect(&mut self, connection: ConnectionId) -> AgentEvent {
        self.connection = Some(connection);
        AgentEvent::Register {
            agent: self.id,
            info: self.info.clone(),
            tasks: self
                .tasks
                .iter()
                .map(|(key, running)| AgentTask {
                    framework: key.framework,
                    role: running.role.clone(),
                    task: running.task.clone(),
                    latest: running.latest,
                    unacknowledged: running.pending.front().cloned(),
                })
                .collect(),
        }
    }

    /// The tasks that it has, ended ones included until they are acknowledged.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        self.tasks.keys().map(|key| key.task.to_string()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let waiting = self.tasks.values().filter(|task| !task.pending.is_empty());
        waiting.map(|task| task.repeat_at).min()
    }

    pub(super) fn hear(&mut self, command: AgentCommand, now: Time) -> Vec<AgentEvent> {
        match command {
            AgentCommand::Registered { agent, .. } => {
                self.id = Some(agent);
                self.repeat_all(now)
            }
            AgentCommand::Refused(refusal) => {
                self.refused.push(refusal);
                Vec::new()
            }
            AgentCommand::Launch {
                framework,
                role,
                tasks,
                ..
            } => tasks
                .into_iter()
                .filter_map(|task| {
                    let id = task.id.clone();
                    let key = TaskKey {
                        framework,
                        task: id,
                    };
                    self.start(key, role.clone(), task, now)
                })
                .collect(),
            AgentCommand::SetApart(set_apart) => {
                self.set_apart = set_apart;
                Vec::new()
            }
            AgentCommand::Kill { key, .. } => self
                .update(key, TaskState::Killed, now)
                .into_iter()
                .collect(),
            AgentCommand::Acknowledge { key, update } => {
                self.acknowledged(&key, update, now).into_iter().collect()
            }
            AgentCommand::ShutdownFramework(framework) => {
                self.tasks.retain(|key, _| key.framework != framework);
                Vec::new()
            }
            AgentCommand::Reconcile(keys) => self.answer(keys, now),
            // What is sent to guests, and what may be needed later, is nobody's concern here.
            AgentCommand::Message { .. } | AgentCommand::Prewarm { .. } => Vec::new(),
            AgentCommand::Ping => vec![AgentEvent::Pong],
        }
    }

    fn start(
        &mut self,
        key: TaskKey,
        role: Role,
        task: SharedTask,
        now: Time,
    ) -> Option<AgentEvent> {
        let running = Running {
            role,
            task,
            latest: TaskState::Staging,
            pending: VecDeque::new(),
            repeat_at: now,
        };
        self.tasks.insert(key.clone(), running);
        self.update(key, TaskState::Running, now)
    }

    /// A task passes into a state. Answers what to say now: nothing while an earlier status waits.
    pub(super) fn update(
        &mut self,
        key: TaskKey,
        state: TaskState,
        now: Time,
    ) -> Option<AgentEvent> {
        self.next_update += 1;
        let mut status = TaskStatus::new(key.task.clone(), state, StatusSource::Cell, now);
        status.agent = self.id;
        status.update = Some(UpdateId(self.next_update));
        let running = self.tasks.get_mut(&key)?;
        running.latest = state;
        running.pending.push_back(status);
        (running.pending.len() == 1).then(|| head(&key, running, now))?
    }

    fn acknowledged(&mut self, key: &TaskKey, update: UpdateId, now: Time) -> Option<AgentEvent> {
        let running = self.tasks.get_mut(key)?;
        let status = running
            .pending
            .pop_front_if(|status| status.update == Some(update))?;
        if status.state.is_terminal() {
            self.tasks.remove(key);
            return None;
        }
        head(key, running, now)
    }

    fn answer(&mut self, keys: Vec<TaskKey>, now: Time) -> Vec<AgentEvent> {
        let unknown = keys.into_iter().filter(|key| !self.tasks.contains_key(key));
        unknown
            .map(|key| AgentEvent::Update {
                framework: key.framework,
                status: TaskStatus::new(key.task, TaskState::Dropped, StatusSource::Agent, now)
                    .because(TaskReason::Reconciliation, "the launch never arrived"),
                latest: TaskState::Dropped,
            })
            .collect()
    }

    fn repeat_all(&mut self, now: Time) -> Vec<AgentEvent> {
        let tasks = self.tasks.iter_mut();
        tasks
            .filter_map(|(key, running)| head(key, running, now))
            .collect()
    }

    /// Repeats what waited long enough.
    pub(super) fn repeat(&mut self, now: Time) -> Vec<AgentEvent> {
        let tasks = self.tasks.iter_mut();
        tasks
            .filter(|(_, running)| running.repeat_at <= now)
            .filter_map(|(key, running)| head(key, running, now))
            .collect()
    }
}

/// What to say of a task: its oldest status that was not acknowledged.
fn head(key: &TaskKey, running: &mut Running, now: Time) -> Option<AgentEvent> {
    running.repeat_at = now + REPEAT;
    Some(AgentEvent::Update {
        framework: key.framework,
        status: running.pending.front()?.clone(),
        latest: running.latest,
    })
}
