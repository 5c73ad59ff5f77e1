//! Where each task is: which cell holds it, and where its output is kept.
//!
//! Learnt from what passes between the agent and its cells; the core is not asked. What the cells no
//! longer hold is looked up on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dashmap::DashMap;
use nesos_agent_core::{CellId, SandboxDir};
use nesos_types::cell::{CellEvent, SandboxLaunch};
use nesos_types::ids::TaskKey;
use nesos_types::task::Stdio;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

/// The whereabouts of the tasks of an agent.
#[derive(Debug)]
pub struct TaskPlaces {
    /// The agent's directory of sandboxes.
    sandboxes: PathBuf,
    live: DashMap<TaskKey, Place>,
    /// Told when a further task has come to which a client can attach.
    attachable: Notify,
}

#[derive(Debug)]
struct Place {
    cell: CellId,
    directory: Option<PathBuf>,
    /// Cancelled when the task has ended, if anyone wants to know.
    ended: Option<CancellationToken>,
}

impl TaskPlaces {
    /// No tasks yet; their directories are below `sandboxes`.
    #[must_use]
    pub fn new(sandboxes: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            sandboxes,
            live: DashMap::new(),
            attachable: Notify::new(),
        })
    }

    /// A task was given to a cell.
    pub(crate) fn launched(&self, cell: CellId, launch: &SandboxLaunch) {
        let directory = Some(launch.directory.clone());
        self.put(&launch.key, cell, directory, launch.task.stdio);
    }

    /// A cell has said something.
    pub(crate) fn heard(&self, cell: CellId, event: &CellEvent) {
        match event {
            CellEvent::Hello { sandboxes, .. } => {
                for report in sandboxes.iter().filter(|report| !report.state.is_terminal()) {
                    if !self.live.contains_key(&report.key) {
                        self.put(&report.key, cell, None, report.task.stdio);
                    }
                }
            }
            CellEvent::Update { key, status, .. } if status.state.is_terminal() => self.end(key),
            CellEvent::Update { .. } => {}
        }
    }

    /// A cell is lost, and its tasks with it.
    pub(crate) fn lost(&self, cell: CellId) {
        self.live.retain(|_, place| {
            let stays = place.cell != cell;
            if let Some(ended) = place.ended.as_ref().filter(|_| !stays) {
                ended.cancel();
            }
            stays
        });
    }

    fn put(&self, key: &TaskKey, cell: CellId, directory: Option<PathBuf>, stdio: Stdio) {
        let place = Place {
            cell,
            directory,
            ended: None,
        };
        self.live.insert(key.clone(), place);
        if stdio == Stdio::Attached {
            self.attachable.notify_waiters();
        }
    }

    fn end(&self, key: &TaskKey) {
        if let Some((_, place)) = self.live.remove(key)
            && let Some(ended) = place.ended
        {
            ended.cancel();
        }
    }

    /// The cell that holds the task, while it lives.
    pub(super) fn cell(&self, key: &TaskKey) -> Option<CellId> {
        self.live.get(key).map(|place| place.cell)
    }

    /// Resolves when a further task has come to which a client can attach.
    pub(super) fn attachable(&self) -> Notified<'_> {
        self.attachable.notified()
    }

    /// Cancelled when the task has ended; is it already if no cell holds the task.
    pub(super) fn end_of(&self, key: &TaskKey) -> CancellationToken {
        match self.live.get_mut(key) {
            Some(mut place) => place.ended.get_or_insert_default().clone(),
            None => {
                let ended = CancellationToken::new();
                ended.cancel();
                ended
            }
        }
    }

    /// The task's directory. An ended task's is found until it is collected.
    pub(super) fn directory(&self, key: &TaskKey) -> Option<PathBuf> {
        let known = self
            .live
            .get(key)
            .and_then(|place| place.directory.clone());
        known.or_else(|| newest_directory(&self.sandboxes, key))
    }
}

/// The newest directory of a task of this key, whichever cell it was in.
fn newest_directory(sandboxes: &Path, key: &TaskKey) -> Option<PathBuf> {
    let generations = |cell: std::fs::DirEntry| {
        let framework = cell.path().join(key.framework.to_string());
        let names = std::fs::read_dir(framework).into_iter().flatten().flatten();
        names.map(move |generation| (cell.file_name(), generation.file_name()))
    };
    std::fs::read_dir(sandboxes)
        .ok()?
        .flatten()
        .flat_map(generations)
        .filter_map(|(cell, generation)| {
            let relative = Path::new(&cell)
                .join(key.framework.to_string())
                .join(&generation)
                .join(key.task.as_str());
            SandboxDir::parse(&relative)
        })
        .filter(|found| sandboxes.join(found.relative()).is_dir())
        .max_by_key(|found| found.generation)
        .map(|found| sandboxes.join(found.relative()))
}
