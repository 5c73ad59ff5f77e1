//! Tasks that wait, grouped by what they need: an offer is compared with each kind of task, not with
//! each task, so that a million of them cost no more than one.

use std::collections::VecDeque;

use nesos_types::ids::TaskId;
use nesos_types::resources::Resources;
use nesos_types::task::SharedTask;

/// Tasks that need the same, oldest first, each with its place in the whole queue.
#[derive(Debug)]
struct Shape {
    /// One of them, or one that was.
    like: SharedTask,
    tasks: VecDeque<(u64, SharedTask)>,
}

impl Shape {
    fn oldest(&self) -> u64 {
        self.tasks.front().map_or(u64::MAX, |(place, _)| *place)
    }
}

/// A queue of tasks. Kinds that have no task are forgotten.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    next_place: u64,
    len: usize,
}

impl Shapes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends tasks; answers whether a kind came that was not waiting before.
    pub(super) fn extend(&mut self, tasks: impl IntoIterator<Item = SharedTask>) -> bool {
        let mut new_kind = false;
        let mut latest = usize::MAX;
        for task in tasks {
            latest = self.shape(&task, latest).unwrap_or_else(|| {
                new_kind = true;
                self.shapes.push(Shape {
                    like: SharedTask::clone(&task),
                    tasks: VecDeque::new(),
                });
                self.shapes.len() - 1
            });
            self.shapes[latest].tasks.push_back((self.next_place, task));
            self.next_place += 1;
            self.len += 1;
        }
        new_kind
    }

    /// The shape of a task, looking first where the one before it was found.
    fn shape(&self, task: &SharedTask, latest: usize) -> Option<usize> {
        let is_it = |shape: &Shape| {
            shape.like.resources == task.resources && shape.like.volumes == task.volumes
        };
        if self.shapes.get(latest).is_some_and(is_it) {
            return Some(latest);
        }
        self.shapes.iter().position(is_it)
    }

    /// Takes up to `most` tasks that fit into `resources` together, oldest first, each with what it uses
    /// of them.
    pub(super) fn take_fitting(
        &mut self,
        resources: &Resources,
        most: usize,
    ) -> Vec<(SharedTask, Resources)> {
        let mut taken = Vec::new();
        let mut rest = resources.clone();
        while taken.len() < most {
            let Some((index, used)) = self.oldest_fitting(&rest) else {
                break;
            };
            if let Some((_, task)) = self.shapes[index].tasks.pop_front() {
                rest = rest.checked_sub(&used).unwrap_or_default();
                taken.push((task, used));
            }
            if self.shapes[index].tasks.is_empty() {
                self.shapes.swap_remove(index);
            }
        }
        self.len -= taken.len();
        taken
    }

    /// The kind of the oldest task that fits, and what it would use.
    fn oldest_fitting(&self, rest: &Resources) -> Option<(usize, Resources)> {
        let shapes = self.shapes.iter().enumerate();
        let fitting =
            shapes.filter_map(|(at, shape)| Some((at, shape, shape.like.choose_from(rest)?)));
        let (at, _, used) = fitting.min_by_key(|(_, shape, _)| shape.oldest())?;
        Some((at, used))
    }

    /// Removes a task; answers whether it was there.
    pub(super) fn remove(&mut self, task: &TaskId) -> bool {
        for index in 0..self.shapes.len() {
            let tasks = &mut self.shapes[index].tasks;
            if let Some(at) = tasks.iter().position(|(_, waiting)| waiting.id == *task) {
                tasks.remove(at);
                self.len -= 1;
                if tasks.is_empty() {
                    self.shapes.swap_remove(index);
                }
                return true;
            }
        }
        false
    }
}
