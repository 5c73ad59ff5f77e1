//! What a sandbox knows of itself, and what all guests that talk have in common.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nesos_types::ids::FrameworkId;
use nesos_types::task::{SharedTask, TaskInfo};

use super::children::{Children, Nursery};
use super::tasks::Tasks;
use super::timers::Timers;
use super::{View, wit};
use crate::sandbox::{Control, SandboxSpec};
use crate::uplink::{
    Identity, MAX_MESSAGE_BYTES, MAX_STATUS_MESSAGE_BYTES, MessageRefused, Uplink,
};

/// One sandbox, as its guest sees it.
pub(crate) struct Side {
    framework: FrameworkId,
    pub(super) task: SharedTask,
    identity: Identity,
    pub(super) uplink: Arc<dyn Uplink>,
    pub(super) control: Arc<Control>,
    pub(super) part: Part,
}

/// What a sandbox is to Nesos.
pub(crate) enum Part {
    /// A task of a framework.
    Task,
    /// A child of an executor.
    Child,
    /// An executor.
    Executor(Box<Executor>),
}

/// What the sides of several instances of one task have in common.
pub(crate) struct Seed {
    framework: FrameworkId,
    task: SharedTask,
    identity: Identity,
    uplink: Arc<dyn Uplink>,
    control: Arc<Control>,
}

impl Seed {
    /// The side of one more instance.
    pub(crate) fn side(&self) -> Side {
        Side {
            framework: self.framework,
            task: self.task.clone(),
            identity: self.identity.clone(),
            uplink: self.uplink.clone(),
            control: self.control.clone(),
            part: Part::Task,
        }
    }
}

/// What only executors have.
pub(crate) struct Executor {
    pub(super) tasks: Tasks,
    pub(super) timers: Timers,
    pub(super) children: Children,
    /// It has said that it wants to end.
    pub(super) stopping: bool,
}

/// What a new child is made from.
pub(super) struct Spawning<'a> {
    pub(super) framework: FrameworkId,
    pub(super) task: &'a TaskInfo,
    pub(super) identity: &'a Identity,
    pub(super) uplink: &'a dyn Uplink,
    pub(super) control: &'a Arc<Control>,
    pub(super) children: &'a mut Children,
}

impl Part {
    /// An executor whose children are made in this nursery, and whose tasks it keeps on this account.
    pub(crate) fn executor(nursery: Nursery, control: &Arc<Control>) -> Self {
        Self::Executor(Box::new(Executor {
            tasks: Tasks::new(control.ledger.clone()),
            timers: Timers::default(),
            children: Children::new(nursery),
            stopping: false,
        }))
    }
}

impl Side {
    /// The side of a sandbox that is made from `spec`.
    pub(crate) fn new(spec: &SandboxSpec, control: &Arc<Control>, part: Part) -> Self {
        Self {
            framework: spec.framework,
            task: spec.task.clone(),
            identity: spec.identity.clone(),
            uplink: spec.uplink.clone(),
            control: control.clone(),
            part,
        }
    }

    /// What the sides of several instances of this sandbox are made from.
    pub(crate) fn into_seed(self) -> Seed {
        Seed {
            framework: self.framework,
            task: self.task,
            identity: self.identity,
            uplink: self.uplink,
            control: self.control,
        }
    }

    /// The executor that this is, if it is one.
    pub(super) fn executor(&mut self) -> Option<&mut Executor> {
        match &mut self.part {
            Part::Executor(executor) => Some(executor),
            Part::Task | Part::Child => None,
        }
    }

    /// What a new child is made from, if this is an executor.
    pub(super) fn spawning(&mut self) -> Option<Spawning<'_>> {
        let Part::Executor(executor) = &mut self.part else {
            return None;
        };
        Some(Spawning {
            framework: self.framework,
            task: &self.task,
            identity: &self.identity,
            uplink: &*self.uplink,
            control: &self.control,
            children: &mut executor.children,
        })
    }

    /// Whether there is a scheduler to talk to.
    pub(super) fn has_scheduler(&self) -> bool {
        !matches!(self.part, Part::Child)
    }

    /// Who this is.
    pub(super) fn me(&self) -> wit::types::Identity {
        wit::types::Identity {
            framework: self.framework.to_string(),
            id: match self.task.run_of() {
                Some(executor) => executor.to_string(),
                None => self.task.id.to_string(),
            },
            role: self.identity.role.to_string(),
            agent: self.identity.agent.map(|agent| agent.to_string()),
            hostname: self.identity.hostname.clone(),
        }
    }

    /// When the time limit ends it.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let timeout = self.task.limits.timeout?;
        let left = timeout.saturating_sub(self.control.started()?.elapsed());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Some(millis(now.unwrap_or_default().saturating_add(left)))
    }

    /// Sends bytes to the scheduler.
    pub(super) fn send(&self, data: Vec<u8>) -> Result<(), wit::types::MessageError> {
        use wit::types::MessageError;
        if !self.has_scheduler() {
            return Err(MessageError::NoScheduler);
        }
        if data.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLarge(MAX_MESSAGE_BYTES as u64));
        }
        let sent = self.uplink.message(Bytes::from(data));
        sent.map_err(|refused| match refused {
            MessageRefused::TooLarge { limit } => MessageError::TooLarge(limit as u64),
            MessageRefused::Flooding => MessageError::Flooding,
            MessageRefused::NoScheduler => MessageError::NoScheduler,
        })
    }
}

impl View<'_> {
    /// All that the sandbox may use.
    pub(super) fn total(&self) -> wit::types::Resources {
        let control = &self.side.control;
        wit::types::Resources {
            cpu_milli: control.family.total_cpu_milli(),
            mem_bytes: control.ledger.limit(),
            disk_bytes: self.quota.max_bytes(),
        }
    }

    /// What of it could be given to one more child.
    pub(super) fn left(&self) -> wit::types::Resources {
        let control = &self.side.control;
        wit::types::Resources {
            cpu_milli: control.family.left_cpu_milli(),
            mem_bytes: control.ledger.left(),
            disk_bytes: self.quota.left_bytes(),
        }
    }
}

/// A task, for the guest.
pub(super) fn described(task: &TaskInfo) -> wit::types::Task {
    let resources = task.sandbox_resources();
    wit::types::Task {
        id: task.id.to_string(),
        name: task.name.clone(),
        args: task.args.clone(),
        env: task.env.clone(),
        resources: wit::types::Resources {
            cpu_milli: resources.cpu_milli,
            mem_bytes: resources.mem_bytes,
            disk_bytes: resources.disk_bytes,
        },
        timeout_ms: task.limits.timeout.map(millis),
        labels: task.labels.clone().into_iter().collect(),
        data: task.data.clone(),
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line for a person, as long as it may be in a status.
pub(super) fn cut(mut message: String) -> String {
    let mut end = message.len().min(MAX_STATUS_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("short".to_owned()), "short");
        let line = cut(format!("x{}", "ä".repeat(MAX_STATUS_MESSAGE_BYTES)));
        assert_eq!(line.len(), MAX_STATUS_MESSAGE_BYTES - 1);
    }
}
