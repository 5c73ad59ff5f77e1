//! What the master has set apart on this agent at run time: reservations, which the agent only remembers,
//! and persistent volumes, each of which is a directory.
//!
//! An agent on which anything is set apart keeps its identity when it is shut down: what it keeps for
//! others must be found again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nesos_types::cell::SandboxVolume;
use nesos_types::ids::{GroupId, VolumeId};
use nesos_types::reservation::SetApart;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason};

use crate::agent::Agent;
use crate::decision::{Decisions, Effect};
use crate::tasks::TaskHandle;
use crate::validate::Refused;

/// The volumes among what is set apart, each with what tells it from earlier ones of its name.
pub(crate) fn incarnations(set_apart: &SetApart) -> BTreeSet<(VolumeId, u64)> {
    let volumes = set_apart.resources.volumes();
    volumes
        .map(|(volume, _)| {
            let incarnation = set_apart.incarnations.get(&volume.id);
            (volume.id.clone(), incarnation.copied().unwrap_or_default())
        })
        .collect()
}

impl Agent {
    /// The master says what is set apart, all of it.
    pub(crate) fn on_set_apart(&mut self, set_apart: SetApart, out: &mut Decisions) {
        if self.set_apart != set_apart {
            self.set_apart = set_apart;
            self.journal.touch_agent();
        }
        self.keep_volumes(out);
    }

    /// Keeps the volumes that are set apart, and those that the guest of a task still has.
    pub(crate) fn keep_volumes(&mut self, out: &mut Decisions) {
        let mut keep = incarnations(&self.set_apart);
        let in_use = self.kept.iter().filter(|(id, _)| self.is_in_use(id));
        keep.extend(in_use.cloned());
        self.kept = keep;
        let keep = self.kept.iter();
        let keep = keep.map(|(id, incarnation)| self.volume_dir(id, *incarnation));
        let keep = keep.chain(self.group_dirs()).collect();
        out.push(Effect::KeepVolumes { keep });
    }

    /// The same, before the tasks of a group are launched that will share a directory.
    pub(crate) fn keep_group(&self, group: GroupId, out: &mut Decisions) {
        let keep = self.kept.iter();
        let keep = keep.map(|(id, incarnation)| self.volume_dir(id, *incarnation));
        let keep = keep.chain(self.group_dirs()).chain([self.group_dir(group)]);
        let keep = keep.collect();
        out.push(Effect::KeepVolumes { keep });
    }

    /// Each incarnation is a directory of its own: nobody finds what was in an earlier one.
    fn volume_dir(&self, id: &VolumeId, incarnation: u64) -> PathBuf {
        let directory = self.config.volumes.join(id.as_str());
        directory.join(format!("{incarnation:016x}"))
    }

    fn is_in_use(&self, id: &VolumeId) -> bool {
        let mut live = self.tasks.iter().filter(|(_, task)| task.is_live());
        live.any(|(_, task)| holds_volume(&task.info, id))
    }

    /// A task that held a volume is over: what was kept for its sake goes.
    pub(crate) fn volumes_released(&mut self, handle: TaskHandle, out: &mut Decisions) {
        let had_any = self.tasks[handle].info.resources.volumes().next().is_some();
        if had_any && self.kept != incarnations(&self.set_apart) {
            self.keep_volumes(out);
        }
    }

    /// Whether the volumes among a task's resources are here, and nobody else's.
    pub(crate) fn validate_volumes(&self, task: &TaskInfo) -> Result<(), Refused> {
        for (volume, bytes) in task.resources.volumes() {
            let mut here = self.set_apart.resources.volumes();
            if !here.any(|(known, size)| known == volume && size == bytes) {
                let why = format!("this agent has no volume {} of {bytes} bytes", volume.id);
                return Err((TaskReason::ResourcesUnknown, why));
            }
            if self.is_in_use(&volume.id) {
                let why = format!(
                    "volume {} is still in use by a task that is ending",
                    volume.id
                );
                return Err((TaskReason::ResourcesUnknown, why));
            }
        }
        Ok(())
    }

    /// The volumes that appear in a task's sandbox.
    pub(crate) fn sandbox_volumes(&self, task: &TaskInfo) -> Vec<SandboxVolume> {
        let mounts = task.volumes.iter();
        let found = mounts.filter_map(|mount| {
            let mut held = task.resources.volumes();
            let incarnation = self.set_apart.incarnations.get(&mount.volume);
            let incarnation = incarnation.copied().unwrap_or_default();
            let (_, max_bytes) = held.find(|(volume, _)| volume.id == mount.volume)?;
            Some(SandboxVolume {
                host: self.volume_dir(&mount.volume, incarnation),
                guest: mount.guest.clone(),
                read_only: mount.read_only,
                max_bytes,
            })
        });
        found.chain(self.shared_with_group(task)).collect()
    }
}

fn holds_volume(task: &TaskInfo, id: &VolumeId) -> bool {
    task.resources.volumes().any(|(held, _)| held.id == *id)
}

/// What a task takes of what the agent itself has to give: what is revocable belongs to other tasks.
pub(crate) fn taken_by(task: &TaskInfo) -> Resources {
    task.resources.flattened_if(|claim| !claim.revocable)
}
