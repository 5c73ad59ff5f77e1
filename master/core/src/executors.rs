//! Executors: found or started for tasks that name one, written to, ended.
//!
//! A run of an executor is a task like others, made here: it holds resources, is killed, lost and brought back
//! as tasks are. What is different is in this file: its statuses concern nobody but the master, which
//! acknowledges them itself, and schedulers know it by the executor's id and the agent.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_types::executor::{Correspondent, ExecutorInfo, MAX_MESSAGE_BYTES};
use nesos_types::ids::{AgentId, ExecutorId, RunId, TaskId, TaskKey};
use nesos_types::message::{AgentCommand, Refusal, SchedulerEvent};
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, TaskInfo, TaskState, TaskStatus, Work};

use crate::accept::Acceptance;
use crate::decision::Decisions;
use crate::master::Master;
use crate::table::{AgentSlot, FrameworkSlot, TaskSlot};
use crate::tasks::kill::Kill;
use crate::tasks::progress;
use crate::validate::{self, Invalid};

/// Tasks that are to be launched together, as far as they have been looked at.
#[derive(Debug)]
pub(crate) struct Draft {
    /// What they leave.
    pub(crate) remaining: Resources,
    /// They, each behind the run of an executor that was made for it.
    pub(crate) tasks: Vec<SharedTask>,
    sandboxes: usize,
    runs: BTreeMap<ExecutorId, SharedTask>,
}

impl Draft {
    pub(crate) fn new(remaining: &Resources) -> Self {
        Self {
            remaining: remaining.clone(),
            tasks: Vec::new(),
            sandboxes: 0,
            runs: BTreeMap::new(),
        }
    }
}

/// Whether a task of this id is a run of an executor: no framework can choose such an id.
pub(crate) fn as_run(task: &TaskId) -> Option<RunId> {
    task.as_str().parse().ok()
}

impl Master {
    /// Takes one more task into the draft, with the run of its executor if it needs one.
    pub(crate) fn draft(
        &mut self,
        acceptance: &Acceptance,
        draft: &mut Draft,
        task: SharedTask,
    ) -> Result<(), Invalid> {
        validate::chosen(&task)?;
        let framework = &self.frameworks[acceptance.framework];
        let is_drafted = draft.tasks.iter().any(|other| other.id == task.id);
        let is_there = framework.tasks.contains_key(&task.id);
        if is_drafted || is_there || framework.unreachable.contains_key(&task.id) {
            return Err(Invalid::duplicate());
        }
        let Work::InExecutor { executor, .. } = &task.work else {
            return self.fit(acceptance, draft, task);
        };
        let drafted = draft.tasks.len();
        let run = self.run_for(acceptance, draft, executor)?;
        let starts = draft.tasks.len() > drafted;
        if starts && !draft.remaining.contains(&task.resources) {
            let wanted = &executor.resources;
            return Err(Invalid::no_room_with_executor(&executor.id, wanted));
        }
        let work = Work::InExecutor {
            executor: executor.clone(),
            run: Some(run),
        };
        let task = TaskInfo {
            work,
            ..TaskInfo::clone(&task)
        };
        self.fit(acceptance, draft, task.into())
    }

    /// Takes a task out of what remains, if it may run.
    fn fit(
        &self,
        acceptance: &Acceptance,
        draft: &mut Draft,
        task: SharedTask,
    ) -> Result<(), Invalid> {
        let agent = &self.agents[acceptance.agent];
        validate::task(&task, &agent.info)?;
        let role = &self.allocator.clients[acceptance.client].role;
        validate::bundle(task.repository.as_ref(), role)?;
        if task.has_sandbox() {
            if agent.free_sandboxes() as usize <= draft.sandboxes {
                let most = agent.info.max_sandboxes.unwrap_or(u32::MAX);
                return Err(Invalid::no_sandbox(most));
            }
            draft.sandboxes += 1;
        }
        draft.remaining = draft
            .remaining
            .checked_sub(&task.resources)
            .ok_or_else(|| Invalid::too_large(&task.resources, &draft.remaining))?;
        draft.tasks.push(task);
        Ok(())
    }

    /// The run of an executor that a task is to join: one that is there, or a new one, whose resources are
    /// taken out of what remains.
    fn run_for(
        &mut self,
        acceptance: &Acceptance,
        draft: &mut Draft,
        executor: &ExecutorInfo,
    ) -> Result<RunId, Invalid> {
        let there = self.find_run(acceptance.agent, acceptance.framework, &executor.id);
        if let Some(slot) = there {
            let task = &self.tasks[slot];
            if task.is_ending() {
                return Err(Invalid::executor_ending(&executor.id));
            }
            let role = &self.allocator.clients[acceptance.client].role;
            if task.role != *role {
                return Err(Invalid::executor_of_role(&executor.id, &task.role));
            }
            return same_run(&task.info, executor);
        }
        if let Some(drafted) = draft.runs.get(&executor.id) {
            return same_run(drafted, executor);
        }
        if executor.resources.revocable_cpu_milli() > 0 {
            return Err(Invalid::revocable_executor(&executor.id));
        }
        if !draft.remaining.contains(&executor.resources) {
            let wanted = &executor.resources;
            return Err(Invalid::no_room_with_executor(&executor.id, wanted));
        }
        let run = self.ids.run();
        let task = SharedTask::new(TaskInfo::from((run, executor)));
        self.fit(acceptance, draft, SharedTask::clone(&task))
            .map_err(|invalid| invalid.of_executor(&executor.id))?;
        draft.runs.insert(executor.id.clone(), task);
        Ok(run)
    }

    /// The run of an executor on an agent that has not ended.
    pub(crate) fn find_run(
        &self,
        agent: AgentSlot,
        framework: FrameworkSlot,
        executor: &ExecutorId,
    ) -> Option<TaskSlot> {
        let runs = &self.agents[agent].runs;
        let found = runs.get(&(framework, executor.clone()));
        found.copied()
    }

    /// A run has left its agent's table: another one of the executor takes its place, if an agent brought two.
    pub(crate) fn find_other_run(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkSlot,
        info: &TaskInfo,
    ) {
        let Some(executor) = info.run_of() else {
            return;
        };
        let key = (framework, executor.clone());
        if self.agents[agent].runs.contains_key(&key) {
            return;
        }
        let other = self.agents[agent].tasks.iter().find(|slot| {
            let known = self.tasks.get(**slot);
            known.is_some_and(|task| {
                task.holds()
                    && task.framework == framework
                    && task.info.run_of() == Some(executor)
                    && task.info.id != info.id
            })
        });
        if let Some(other) = other.copied() {
            self.agents[agent].runs.insert(key, other);
        }
    }

    /// Whether a run has tasks that have not ended.
    pub(crate) fn is_busy(&self, slot: TaskSlot) -> bool {
        let task = &self.tasks[slot];
        let run = as_run(&task.info.id);
        let mut others = self.agents[task.agent].tasks.iter();
        others.any(|other| {
            let other = &self.tasks[*other];
            other.holds() && other.info.run().is_some() && other.info.run() == run
        })
    }

    /// A run's status concerns the master alone: it goes by it and acknowledges it. The scheduler hears of the
    /// run's end.
    pub(crate) fn on_run_update(
        &mut self,
        agent: AgentSlot,
        framework: FrameworkSlot,
        status: &TaskStatus,
        latest: TaskState,
        out: &mut Decisions,
    ) {
        let id = self.frameworks[framework].id;
        if let (Some(connection), Some(update)) = (self.agents[agent].connection(), status.update) {
            let task = status.task.clone();
            let key = TaskKey {
                framework: id,
                task,
            };
            out.tell_agent(connection, AgentCommand::Acknowledge { key, update });
        }
        let known = self.frameworks[framework].tasks.get(&status.task).copied();
        let Some(slot) = known.filter(|slot| self.tasks[*slot].agent == agent) else {
            return;
        };
        let furthest = if progress(status.state) > progress(latest) {
            status.state
        } else {
            latest
        };
        self.advance(slot, furthest, status.reason, out);
        self.tasks[slot].status = Some(status.clone());
        if status.state.is_terminal() {
            self.tell_run_ended(slot, status, out);
            self.retire(slot);
        }
    }

    fn tell_run_ended(&mut self, slot: TaskSlot, status: &TaskStatus, out: &mut Decisions) {
        let task = &self.tasks[slot];
        let connection = self.frameworks[task.framework].connection;
        if let (Some(connection), Some(executor)) = (connection, task.info.run_of()) {
            let ended = SchedulerEvent::ExecutorEnded {
                agent: self.agents[task.agent].id,
                executor: executor.clone(),
                state: status.state,
                reason: status.reason,
                message: status.message.clone(),
            };
            out.tell_scheduler(connection, ended);
        }
    }

    /// A scheduler writes to a guest of its own. What cannot be delivered is dropped.
    pub(crate) fn on_message(
        &mut self,
        framework: FrameworkSlot,
        agent: AgentId,
        to: &Correspondent,
        data: Vec<u8>,
        out: &mut Decisions,
    ) {
        if data.len() > MAX_MESSAGE_BYTES {
            let why = format!(
                "the message has {} bytes, and the most are {MAX_MESSAGE_BYTES}",
                data.len()
            );
            self.refuse_call(framework, "Message", why, out);
            return;
        }
        let slot = self.addressee(framework, agent, to);
        let connection = slot.and_then(|slot| self.agents[self.tasks[slot].agent].connection());
        let (Some(slot), Some(connection)) = (slot, connection) else {
            self.stats.messages_dropped += 1;
            return;
        };
        self.stats.messages += 1;
        let key = TaskKey {
            framework: self.frameworks[framework].id,
            task: self.tasks[slot].info.id.clone(),
        };
        out.tell_agent(connection, AgentCommand::Message { key, data });
    }

    /// The guest that a scheduler writes to: one with a sandbox of its own.
    fn addressee(
        &self,
        framework: FrameworkSlot,
        agent: AgentId,
        to: &Correspondent,
    ) -> Option<TaskSlot> {
        let agent = self.agents.find(agent)?;
        match to {
            Correspondent::Executor(executor) => self.find_run(agent, framework, executor),
            Correspondent::Task(task) => {
                let slot = *self.frameworks[framework].tasks.get(task)?;
                let task = &self.tasks[slot];
                (task.agent == agent && task.info.work == Work::Sandbox).then_some(slot)
            }
        }
    }

    /// A guest writes to its scheduler.
    pub(crate) fn on_guest_message(
        &mut self,
        agent: AgentSlot,
        key: &TaskKey,
        data: Vec<u8>,
        out: &mut Decisions,
    ) {
        let sender = self.frameworks.find(key.framework).and_then(|framework| {
            let slot = *self.frameworks[framework].tasks.get(&key.task)?;
            (self.tasks[slot].agent == agent).then_some(slot)
        });
        let connection =
            sender.and_then(|slot| self.frameworks[self.tasks[slot].framework].connection);
        let (Some(slot), Some(connection)) = (sender, connection) else {
            self.stats.messages_dropped += 1;
            return;
        };
        self.stats.messages += 1;
        let info = &self.tasks[slot].info;
        let from = match info.run_of() {
            Some(executor) => Correspondent::Executor(executor.clone()),
            None => Correspondent::Task(info.id.clone()),
        };
        let agent = self.agents[agent].id;
        out.tell_scheduler(connection, SchedulerEvent::Message { agent, from, data });
    }

    /// A scheduler wants an executor ended.
    pub(crate) fn on_shutdown_executor(
        &mut self,
        framework: FrameworkSlot,
        agent: AgentId,
        executor: &ExecutorId,
        grace: Option<Duration>,
        out: &mut Decisions,
    ) {
        let slot = self.agents.find(agent);
        match slot.and_then(|slot| self.find_run(slot, framework, executor)) {
            Some(run) => self.kill(run, Kill::requested(grace), out),
            None => {
                let why = format!("executor {executor} does not run on agent {agent}");
                self.refuse_call(framework, "ShutdownExecutor", why, out);
            }
        }
    }

    fn refuse_call(
        &mut self,
        framework: FrameworkSlot,
        call: &str,
        why: String,
        out: &mut Decisions,
    ) {
        if let Some(connection) = self.frameworks[framework].connection {
            let call = call.to_owned();
            self.refuse_scheduler(connection, Refusal::InvalidCall { call, why }, out);
        }
    }
}

/// The id of a run, if it is of just this executor.
fn same_run(run: &TaskInfo, executor: &ExecutorInfo) -> Result<RunId, Invalid> {
    as_run(&run.id)
        .filter(|id| *run == TaskInfo::from((*id, executor)))
        .ok_or_else(|| Invalid::executor_differs(&executor.id))
}

/// Whether a task that an agent brings can be one: runs, and they alone, have the ids of runs.
pub(crate) fn is_credible(task: &TaskInfo) -> bool {
    task.run_of().is_some() == as_run(&task.id).is_some()
}
