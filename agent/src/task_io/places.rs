//! Where each task is: which cell holds it, and where its output is kept.
//!
//! Learnt from what passes between the agent and its cells; the core is not asked. Of what ended long
//! ago, or before this agent process began, only the disk knows.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use nesos_agent_core::{CellId, SandboxDir};
use nesos_types::cell::{CellEvent, SandboxLaunch};
use nesos_types::ids::TaskKey;
use nesos_types::task::{Stdio, TaskInfo};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

/// How many ended tasks are remembered.
const ENDED: usize = 10_000;

/// The whereabouts of the tasks of an agent.
#[derive(Debug)]
pub struct TaskPlaces {
    /// The agent's directory of sandboxes.
    sandboxes: PathBuf,
    tasks: DashMap<TaskKey, Place>,
    /// The last tasks that have ended, the oldest first.
    ended: Mutex<VecDeque<TaskKey>>,
    /// Told when a further task has come to which a client can attach.
    attachable: Notify,
}

#[derive(Debug)]
struct Place {
    cell: CellId,
    /// Where it was launched, if this agent process has launched it.
    directory: Option<PathBuf>,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Live,
    /// Somebody waits for the task's end.
    Followed(CancellationToken),
    Ended,
}

/// Who has a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This cell.
    Cell(CellId),
    /// Nobody any more.
    Ended,
    /// Nobody yet, or not for a long time.
    Unknown,
}

/// What there is of a task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// It is, or will be, in this directory.
    Kept(PathBuf),
    /// The task has ended without a word.
    Silent,
    /// The task is not known.
    Unknown,
}

impl TaskPlaces {
    /// No tasks yet; their directories are below `sandboxes`.
    #[must_use]
    pub fn new(sandboxes: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            sandboxes,
            tasks: DashMap::new(),
            ended: Mutex::new(VecDeque::new()),
            attachable: Notify::new(),
        })
    }

    /// A task was given to a cell.
    pub(crate) fn launched(&self, cell: CellId, launch: &SandboxLaunch) {
        let directory = Some(launch.directory.clone());
        self.put(&launch.key, cell, directory, launch.task.stdio);
    }

    /// A task was given to an executor, whose output it shares.
    pub(crate) fn assigned(&self, cell: CellId, key: &TaskKey, task: &TaskInfo) {
        let run = task.run().map(|run| TaskKey {
            framework: key.framework,
            task: run.into(),
        });
        let run = run.and_then(|run| Some(self.tasks.get(&run)?.directory.clone()));
        self.put(key, cell, run.flatten(), task.stdio);
    }

    /// A cell has said something.
    pub(crate) fn heard(&self, cell: CellId, event: &CellEvent) {
        match event {
            CellEvent::Hello { sandboxes, .. } => {
                for report in sandboxes {
                    if !report.state.is_terminal() && !self.tasks.contains_key(&report.key) {
                        self.put(&report.key, cell, None, report.task.stdio);
                    }
                }
            }
            CellEvent::Update { key, status, .. } if status.state.is_terminal() => {
                self.end_in(cell, key);
            }
            CellEvent::Update { .. }
            | CellEvent::Usage { .. }
            | CellEvent::Message { .. }
            | CellEvent::BundleWanted { .. } => {}
        }
    }

    /// A cell is lost, and its tasks with it.
    pub(crate) fn lost(&self, cell: CellId) {
        let lost: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|place| place.cell == cell)
            .map(|place| place.key().clone())
            .collect();
        for key in &lost {
            self.end_in(cell, key);
        }
    }

    fn put(&self, key: &TaskKey, cell: CellId, directory: Option<PathBuf>, stdio: Stdio) {
        let place = Place {
            cell,
            directory,
            life: Life::Live,
        };
        self.tasks.insert(key.clone(), place);
        if stdio == Stdio::Attached {
            self.attachable.notify_waiters();
        }
    }

    /// The task has ended in this cell; if it is in another by now, that is news of an earlier one.
    fn end_in(&self, cell: CellId, key: &TaskKey) {
        let Some(mut place) = self.tasks.get_mut(key).filter(|place| place.cell == cell) else {
            return;
        };
        let before = std::mem::replace(&mut place.life, Life::Ended);
        drop(place);
        match before {
            Life::Live => self.remember_ended(key),
            Life::Followed(end) => {
                end.cancel();
                self.remember_ended(key);
            }
            Life::Ended => {}
        }
    }

    fn remember_ended(&self, key: &TaskKey) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back(key.clone());
        let oldest = if ended.len() > ENDED {
            ended.pop_front()
        } else {
            None
        };
        drop(ended);
        if let Some(oldest) = oldest {
            self.tasks
                .remove_if(&oldest, |_, place| matches!(place.life, Life::Ended));
        }
    }

    /// Who has the task.
    pub(super) fn holder(&self, key: &TaskKey) -> Holder {
        match self.tasks.get(key) {
            Some(place) if matches!(place.life, Life::Ended) => Holder::Ended,
            Some(place) => Holder::Cell(place.cell),
            None => Holder::Unknown,
        }
    }

    /// Resolves when a further task has come to which a client can attach.
    pub(super) fn attachable(&self) -> Notified<'_> {
        self.attachable.notified()
    }

    /// Cancelled when the task has ended; is it already if no cell holds the task.
    pub(super) fn end_of(&self, key: &TaskKey) -> CancellationToken {
        let mut place = self.tasks.get_mut(key);
        let life = place.as_mut().map(|place| &mut place.life);
        let end = CancellationToken::new();
        match life {
            Some(Life::Followed(end)) => return end.clone(),
            Some(life @ Life::Live) => *life = Life::Followed(end.clone()),
            Some(Life::Ended) | None => end.cancel(),
        }
        end
    }

    /// Where the task's output is. An ended task's is found until it is collected.
    pub(super) fn output(&self, key: &TaskKey) -> Output {
        let place = self.tasks.get(key);
        let live = place
            .as_ref()
            .is_some_and(|place| !matches!(place.life, Life::Ended));
        let launched = place.as_ref().and_then(|place| place.directory.clone());
        let known = place.is_some();
        drop(place);
        let kept = launched
            .filter(|directory| live || directory.is_dir())
            .or_else(|| newest_directory(&self.sandboxes, key));
        match kept {
            Some(directory) => Output::Kept(directory),
            None if known => Output::Silent,
            None => Output::Unknown,
        }
    }
}

/// The newest directory of a task of this key, whichever cell it was in.
fn newest_directory(sandboxes: &Path, key: &TaskKey) -> Option<PathBuf> {
    let framework = key.framework.to_string();
    let generations = |cell: std::fs::DirEntry| {
        let found = std::fs::read_dir(cell.path().join(&framework));
        let found = found.into_iter().flatten().flatten();
        found.map(|generation| generation.path().join(key.task.as_str()))
    };
    std::fs::read_dir(sandboxes)
        .ok()?
        .flatten()
        .flat_map(generations)
        .filter(|path| path.is_dir())
        .filter_map(|path| Some((SandboxDir::parse(path.strip_prefix(sandboxes).ok()?)?, path)))
        .max_by_key(|(found, _)| found.generation)
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use nesos_types::bundle::Digest;
    use nesos_types::ids::FrameworkId;
    use nesos_types::resources::Resources;
    use nesos_types::task::{StatusSource, TaskState, TaskStatus};
    use nesos_types::time::Time;

    use super::*;

    const CELL: CellId = CellId(3);

    fn launch(task: &str, directory: &Path) -> SandboxLaunch {
        let id: nesos_types::ids::TaskId = task.parse().expect("a task id");
        SandboxLaunch {
            agent: None,
            hostname: String::new(),
            key: TaskKey {
                framework: FrameworkId(7),
                task: id.clone(),
            },
            task: Arc::new(TaskInfo::new(id, Digest([0; 32]), Resources::default())),
            compiled: PathBuf::new(),
            directory: directory.to_owned(),
            volumes: Vec::new(),
            fuel_per_cpu_second: 0,
        }
    }

    fn end(places: &TaskPlaces, key: &TaskKey) {
        let task = key.task.clone();
        let state = TaskState::Finished;
        let status = TaskStatus::new(task, state, StatusSource::Cell, Time::ZERO);
        let event = CellEvent::Update {
            key: key.clone(),
            sequence: 1,
            status,
        };
        places.heard(CELL, &event);
    }

    #[test]
    fn a_task_is_where_it_was_launched_until_it_ends() {
        let root = tempfile::tempdir().expect("a directory");
        let places = TaskPlaces::new(root.path().to_owned());
        let launch = launch("a", &root.path().join("elsewhere"));
        assert_eq!(places.holder(&launch.key), Holder::Unknown);
        assert!(places.end_of(&launch.key).is_cancelled());
        places.launched(CELL, &launch);
        assert_eq!(places.holder(&launch.key), Holder::Cell(CELL));
        let kept = Output::Kept(launch.directory.clone());
        assert_eq!(places.output(&launch.key), kept);
        let over = places.end_of(&launch.key);
        assert!(!over.is_cancelled());
        end(&places, &launch.key);
        assert!(over.is_cancelled());
        assert_eq!(places.holder(&launch.key), Holder::Ended);
        assert_eq!(places.output(&launch.key), Output::Silent);
    }

    #[test]
    fn an_earlier_cell_does_not_end_a_task() {
        let places = TaskPlaces::new(PathBuf::from("/nowhere"));
        let launch = launch("a", Path::new("/nowhere/a"));
        places.launched(CellId(4), &launch);
        end(&places, &launch.key);
        assert_eq!(places.holder(&launch.key), Holder::Cell(CellId(4)));
    }

    #[test]
    fn the_tasks_of_a_lost_cell_have_ended() {
        let places = TaskPlaces::new(PathBuf::from("/nowhere"));
        let launch = launch("a", Path::new("/nowhere/a"));
        places.launched(CELL, &launch);
        let over = places.end_of(&launch.key);
        places.lost(CellId(4));
        assert!(!over.is_cancelled());
        places.lost(CELL);
        assert!(over.is_cancelled());
    }

    #[test]
    fn only_so_many_ended_tasks_are_remembered() {
        let places = TaskPlaces::new(PathBuf::from("/nowhere"));
        let first = launch("first", Path::new("/nowhere/first"));
        places.launched(CELL, &first);
        end(&places, &first.key);
        for number in 0..ENDED {
            let next = launch(&number.to_string(), Path::new("/nowhere/next"));
            places.launched(CELL, &next);
            end(&places, &next.key);
        }
        assert_eq!(places.holder(&first.key), Holder::Unknown);
        assert_eq!(places.tasks.len(), ENDED);
    }

    #[test]
    fn the_newest_directory_of_a_forgotten_task_is_found() {
        let root = tempfile::tempdir().expect("a directory");
        let places = TaskPlaces::new(root.path().to_owned());
        let key = launch("a", root.path()).key;
        assert_eq!(places.output(&key), Output::Unknown);
        let directory = |cell, generation| {
            let key = key.clone();
            let dir = SandboxDir {
                cell: CellId(cell),
                key,
                generation,
            };
            root.path().join(dir.relative())
        };
        for (cell, generation) in [(9, 0), (1, 2), (5, 1)] {
            std::fs::create_dir_all(directory(cell, generation)).expect("made");
        }
        assert_eq!(places.output(&key), Output::Kept(directory(1, 2)));
    }

    #[test]
    fn a_task_in_an_executor_has_the_executors_output() {
        let root = tempfile::tempdir().expect("a directory");
        let places = TaskPlaces::new(root.path().to_owned());
        let run = nesos_types::ids::RunId(9);
        let directory = root.path().join("run");
        places.launched(CELL, &launch(&run.to_string(), &directory));
        let mut inside = launch("a", &directory);
        let executor = nesos_types::executor::ExecutorInfo::new(
            "x".parse().expect("an executor id"),
            Digest([0; 32]),
            Resources::default(),
        );
        Arc::make_mut(&mut inside.task).work = nesos_types::task::Work::InExecutor {
            executor: executor.into(),
            run: Some(run),
        };
        places.assigned(CELL, &inside.key, &inside.task);
        assert_eq!(places.output(&inside.key), Output::Kept(directory));
    }
}
