//! Groups: tasks that are launched all or not at all, share a directory, and share their fate.
//!
//! One that fails or is killed takes the others with it; one that has finished leaves them alone (Mesos: the
//! default executor). The directory is there as long as one of them is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nesos_types::cell::SandboxVolume;
use nesos_types::ids::GroupId;
use nesos_types::task::{SharedTask, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::decision::Decisions;
use crate::tasks::{Task, TaskHandle};

/// Where members find the directory that they share.
pub(crate) const GUEST_PATH: &str = "/group";

/// The directory of volumes in which those of groups are. No volume has one in the form of a group's id.
const DIRECTORY: &str = "groups";

fn group_of(task: &TaskInfo) -> Option<GroupId> {
    task.group.as_ref().map(|group| group.id)
}

/// Takes launches apart: each task of its own, or with the others of its group.
pub(crate) fn apart(tasks: Vec<SharedTask>) -> Vec<Vec<SharedTask>> {
    let mut parts: Vec<Vec<SharedTask>> = Vec::new();
    for task in tasks {
        let group = group_of(&task);
        match parts.last_mut() {
            Some(part) if group.is_some() && group_of(&part[0]) == group => part.push(task),
            _ => parts.push(vec![task]),
        }
    }
    parts
}

impl Agent {
    /// The members of a group that have not ended, as they came.
    fn live_members(&self, group: GroupId) -> Vec<TaskHandle> {
        let is_member = |task: &Task| task.is_live() && group_of(&task.info) == Some(group);
        self.tasks.select(is_member)
    }

    /// A member has ended: whether the others may go on.
    pub(crate) fn end_group(
        &mut self,
        now: Time,
        handle: TaskHandle,
        status: &TaskStatus,
        out: &mut Decisions,
    ) {
        let Some(group) = group_of(&self.tasks[handle].info) else {
            return;
        };
        let others = self.live_members(group);
        if others.is_empty() {
            self.keep_volumes(out);
        }
        if status.state == TaskState::Finished {
            return;
        }
        for other in others {
            // Ending one ends all: it may be over by now.
            let stays = self.tasks.get(other).filter(|task| task.kill.is_none());
            if let Some(task) = stays {
                let grace = task.grace(self.config.kill_grace);
                self.kill(now, other, grace, TaskReason::GroupEnded, out);
            }
        }
    }

    /// The directories of groups of which a member is live.
    pub(crate) fn group_dirs(&self) -> Vec<PathBuf> {
        let live = self.tasks.iter().filter(|(_, task)| task.is_live());
        let groups: BTreeSet<_> = live.filter_map(|(_, task)| group_of(&task.info)).collect();
        groups
            .into_iter()
            .map(|group| self.group_dir(group))
            .collect()
    }

    pub(crate) fn group_dir(&self, group: GroupId) -> PathBuf {
        let directory = self.config.volumes.join(DIRECTORY);
        directory.join(group.to_string())
    }

    /// What a task shares with the others of its group.
    pub(crate) fn shared_with_group(&self, task: &TaskInfo) -> Option<SandboxVolume> {
        let group = task.group.as_ref()?;
        Some(SandboxVolume {
            host: self.group_dir(group.id),
            guest: GUEST_PATH.to_owned(),
            read_only: false,
            max_bytes: group.disk_bytes,
        })
    }
}
