//! Sandbox directories: where a task's is, and when those of ended tasks are collected.
//!
//! The directory of a task outlives it so that its output can be read. It is collected after a
//! delay, and earlier, the oldest first, when there are too many or they hold too much. The core
//! counts what the tasks reported; the driver does the I/O.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::time::Time;

use crate::checkpoint::FoundSandbox;
use crate::config::AgentConfig;
use crate::event::CellId;

/// What a directory takes by itself, whatever it holds.
const DIRECTORY_BYTES: u64 = 4096;

/// Which directory a sandbox has: `<cell>/<framework>/<generation>/<task>`.
///
/// The cell comes first so that a cell can be confined to its own. The generation is zero unless an
/// earlier task of the same id still has its directory; it stands before the task's id because an
/// id may be as long as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxDir {
    /// The cell that holds the sandbox.
    pub cell: CellId,
    /// The task.
    pub key: TaskKey,
    /// Tells tasks of the same id apart.
    pub generation: u32,
}

impl SandboxDir {
    /// The directory, relative to the agent's directory of sandboxes.
    #[must_use]
    pub fn relative(&self) -> PathBuf {
        let mut path = PathBuf::from(self.cell.to_string());
        path.push(self.key.framework.to_string());
        path.push(self.generation.to_string());
        path.push(self.key.task.as_str());
        path
    }

    /// Reads a relative directory back; `None` if it is not of this form.
    #[must_use]
    pub fn parse(relative: &Path) -> Option<Self> {
        let mut parts = relative.iter().map(|part| part.to_str());
        let cell = parts.next()??.strip_prefix("cell-")?.parse().ok()?;
        let framework: FrameworkId = parts.next()??.parse().ok()?;
        let generation = parts.next()??.parse().ok()?;
        let task = parts.next()??.parse().ok()?;
        parts.next().is_none().then_some(Self {
            cell: CellId(cell),
            key: TaskKey { framework, task },
            generation,
        })
    }
}

/// The directory of an ended task.
#[derive(Debug)]
struct Ended {
    dir: SandboxDir,
    at: Time,
    bytes: u64,
}

/// All sandbox directories.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    /// The newest of each task, live or ended.
    newest: BTreeMap<TaskKey, (CellId, u32)>,
    /// Those of ended tasks, the first to be collected first.
    ended: VecDeque<Ended>,
    bytes: u64,
    pub(crate) sweep_at: Option<Time>,
}

impl Sandboxes {
    /// Takes over what lies on the disk, save the directories of live tasks.
    pub(crate) fn recover(found: Vec<FoundSandbox>, live: impl Fn(&SandboxDir) -> bool) -> Self {
        let mut sandboxes = Self::default();
        let mut found: Vec<_> = found
            .into_iter()
            .filter_map(|found| Some((SandboxDir::parse(&found.directory)?, found)))
            .collect();
        found.sort_by(|(a, left), (b, right)| (left.changed_at, a).cmp(&(right.changed_at, b)));
        for (dir, found) in found {
            sandboxes.note_newest(&dir);
            if !live(&dir) {
                sandboxes.note_ended(dir, found.changed_at, found.bytes);
            }
        }
        sandboxes
    }

    fn note_newest(&mut self, dir: &SandboxDir) {
        let newest = self
            .newest
            .entry(dir.key.clone())
            .or_insert((dir.cell, dir.generation));
        if newest.1 < dir.generation {
            *newest = (dir.cell, dir.generation);
        }
    }

    fn note_ended(&mut self, dir: SandboxDir, at: Time, bytes: u64) {
        let bytes = bytes.saturating_add(DIRECTORY_BYTES);
        self.bytes = self.bytes.saturating_add(bytes);
        self.ended.push_back(Ended { dir, at, bytes });
    }

    /// Chooses the directory of a task that is about to be launched.
    pub(crate) fn assign(&mut self, key: &TaskKey, cell: CellId) -> SandboxDir {
        let generation = self.newest.get(key).map_or(0, |(_, last)| last + 1);
        self.newest.insert(key.clone(), (cell, generation));
        SandboxDir {
            cell,
            key: key.clone(),
            generation,
        }
    }

    /// The directory that a cell has given to a task of which this agent process knew nothing.
    pub(crate) fn adopt(&mut self, key: &TaskKey, cell: CellId) -> u32 {
        let generation = self
            .newest
            .get(key)
            .map_or(0, |(_, generation)| *generation);
        self.newest.insert(key.clone(), (cell, generation));
        self.ended.retain(|ended| {
            let theirs = ended.dir.key == *key && ended.dir.generation == generation;
            if theirs {
                self.bytes = self.bytes.saturating_sub(ended.bytes);
            }
            !theirs
        });
        generation
    }

    /// The task has ended: its directory is to be collected some day.
    pub(crate) fn end(&mut self, dir: SandboxDir, now: Time, bytes: u64) {
        self.note_ended(dir, now, bytes);
    }

    /// The newest directory of a task, live or ended.
    pub(crate) fn locate(&self, key: &TaskKey) -> Option<SandboxDir> {
        let (cell, generation) = *self.newest.get(key)?;
        Some(SandboxDir {
            cell,
            key: key.clone(),
            generation,
        })
    }

    /// Takes out a directory that is to be removed now.
    pub(crate) fn collect(&mut self, now: Time, config: &AgentConfig) -> Option<SandboxDir> {
        let oldest = self.ended.front()?;
        let over = self.ended.len() > config.sandbox_keep_count
            || self.bytes > config.sandbox_keep_bytes
            || oldest.at + config.sandbox_keep <= now;
        if !over {
            return None;
        }
        let oldest = self.ended.pop_front()?;
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        let newest = (oldest.dir.cell, oldest.dir.generation);
        if self.newest.get(&oldest.dir.key) == Some(&newest) {
            self.newest.remove(&oldest.dir.key);
        }
        Some(oldest.dir)
    }

    /// When the oldest directory is due.
    pub(crate) fn due(&self, keep: Duration) -> Option<Time> {
        self.ended.front().map(|ended| ended.at + keep)
    }

    /// How many directories of ended tasks there are, and what they hold.
    pub(crate) fn kept(&self) -> (usize, u64) {
        (self.ended.len(), self.bytes)
    }

    pub(crate) fn check_invariants(&self) {
        let bytes: u64 = self.ended.iter().map(|ended| ended.bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes of ended sandboxes");
    }
}
