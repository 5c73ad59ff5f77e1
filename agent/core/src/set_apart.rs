//! What the master has set apart on this agent at run time: reservations, which the agent only remembers,
//! and persistent volumes, each of which is a directory.
//!
//! An agent on which anything is set apart keeps its identity when it is shut down: what it keeps for
//! others must be found again.

use std::path::PathBuf;

use nesos_types::cell::SandboxVolume;
use nesos_types::ids::VolumeId;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason};

use crate::agent::Agent;
use crate::decision::{Decisions, Effect};
use crate::validate::Refused;

impl Agent {
    /// The master says what is set apart, all of it.
    pub(crate) fn on_set_apart(&mut self, set_apart: Resources, out: &mut Decisions) {
        let volumes = set_apart.volumes();
        let keep: Vec<_> = volumes
            .map(|(volume, _)| self.volume_dir(&volume.id))
            .collect();
        if self.set_apart != set_apart {
            self.set_apart = set_apart;
            self.journal.touch_agent();
        }
        out.push(Effect::KeepVolumes { keep });
    }

    fn volume_dir(&self, id: &VolumeId) -> PathBuf {
        self.config.volumes.join(id.as_str())
    }

    /// Whether the volumes among a task's resources are here, and those that it mounts among its
    /// resources.
    pub(crate) fn validate_volumes(&self, task: &TaskInfo) -> Result<(), Refused> {
        for (volume, bytes) in task.resources.volumes() {
            let mut here = self.set_apart.volumes();
            if !here.any(|(known, size)| known == volume && size == bytes) {
                let why = format!("this agent has no volume {} of {bytes} bytes", volume.id);
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
            let (_, max_bytes) = held.find(|(volume, _)| volume.id == mount.volume)?;
            Some(SandboxVolume {
                host: self.volume_dir(&mount.volume),
                guest: mount.guest.clone(),
                read_only: mount.read_only,
                max_bytes,
            })
        });
        found.collect()
    }
}

/// What a task takes of what the agent itself has to give: what is revocable belongs to other tasks.
pub(crate) fn taken_by(task: &TaskInfo) -> Resources {
    task.resources.flattened_if(|claim| !claim.revocable)
}
