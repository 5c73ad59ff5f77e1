//! What must be true after every event. For tests and the simulator: it visits everything.

use nesos_types::resources::Resources;
use nesos_types::time::Time;

use crate::agent::Agent;
use crate::deadlines::Timer;
use crate::drain::Phase;
use crate::set_apart::taken_by;
use crate::tasks::{Stage, Task, TaskHandle};

impl Agent {
    /// Asserts over the whole state.
    ///
    /// # Panics
    ///
    /// If something is not as it must be, which is a bug of this crate.
    pub fn check_invariants(&self) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.check_resources();
        for (handle, task) in self.tasks.iter() {
            self.check_task(handle, task);
        }
        self.check_queues();
        self.check_cells();
        self.check_deadlines();
        self.check_journal();
        self.check_slack();
        self.sandboxes.check_invariants();
    }

    fn check_resources(&self) {
        let used = self
            .tasks
            .iter()
            .filter(|(_, task)| task.is_live())
            .try_fold(Resources::default(), |sum, (_, task)| {
                sum.checked_add(&taken_by(&task.info))
            });
        assert_eq!(used.as_ref(), Some(&self.used), "resources of live tasks");
    }

    fn check_task(&self, handle: TaskHandle, task: &Task) {
        let key = &task.key;
        assert_eq!(
            self.tasks.find(key),
            Some(handle),
            "{key}: found by its key"
        );
        assert_eq!(
            task.stage == Stage::Ended,
            task.latest.is_terminal(),
            "{key}: ended, and its latest state is terminal"
        );
        if task.stage == Stage::Ended {
            assert!(
                !task.silent,
                "{key}: ended and silent, so it should be gone"
            );
            assert!(
                task.updates.head().is_some(),
                "{key}: ended and acknowledged, so it should be gone"
            );
        }
        let repeats = self.master.is_registered() && task.updates.head().is_some();
        assert_eq!(
            task.repeat_at.is_some(),
            repeats,
            "{key}: a status is in flight and will be repeated"
        );
        let mut over = false;
        for status in task.updates.iter() {
            assert!(status.update.is_some(), "{key}: a status without an id");
            assert!(!over, "{key}: something follows its end");
            over = status.state.is_terminal();
        }
    }

    fn check_queues(&self) {
        if !self.recovered {
            return;
        }
        let mut queued = 0;
        for ((framework, role, run), queue) in &self.queues {
            assert!(!queue.is_empty(), "an empty queue stays behind");
            let mut last = None;
            for handle in queue {
                let task = &self.tasks[*handle];
                assert_eq!(task.stage, Stage::Waiting, "{}: queued", task.key);
                assert_eq!((task.key.framework, &task.role), (*framework, role));
                assert_eq!(task.info.run(), *run);
                assert!(last < Some(task.serial), "{}: out of order", task.key);
                last = Some(task.serial);
                queued += 1;
            }
        }
        let waiting = self.tasks.select(|task| task.stage == Stage::Waiting);
        assert_eq!(queued, waiting.len(), "every task that waits is in a queue");
        let users: usize = self.bundles.table.values().map(|bundle| bundle.users).sum();
        let holding = self.tasks.select(|task| task.holds_bundle);
        assert_eq!(
            users,
            holding.len(),
            "every task that holds its bundle is counted"
        );
        for handle in waiting {
            let task = &self.tasks[handle];
            assert_eq!(
                task.holds_bundle,
                task.info.has_sandbox(),
                "whoever waits holds"
            );
        }
    }

    fn check_cells(&self) {
        for (id, cell) in &self.cells.table {
            let live = self
                .tasks
                .select(|task| task.cell == Some(*id) && task.is_live() && task.info.has_sandbox());
            assert_eq!(cell.live, live.len(), "{id}: live tasks");
        }
        for (role, ids) in &self.cells.by_role {
            for id in ids {
                let cell = self.cells.table.get(id);
                assert_eq!(cell.map(|cell| &cell.role), Some(role), "{id}: its role");
            }
        }
        let has_cell = |task: &Task| task.info.has_sandbox() || task.stage == Stage::Launched;
        let live = self.tasks.iter().filter(|(_, task)| task.is_live());
        for (_, task) in live.filter(|(_, task)| has_cell(task)) {
            let known = task
                .cell
                .is_some_and(|id| self.cells.table.contains_key(&id));
            assert!(known || !self.recovered, "{}: its cell is known", task.key);
        }
    }

    fn check_deadlines(&self) {
        let mut expected = Vec::new();
        let mut expect = |at: Option<Time>, timer| expected.extend(at.map(|at| (at, timer)));
        expect(self.master.due_at, Timer::Master);
        expect(self.drain_at, Timer::Drain);
        expect(self.slack.review_at, Timer::Review);
        expect(self.sandboxes.sweep_at, Timer::Sandboxes);
        for (handle, task) in self.tasks.iter() {
            expect(task.repeat_at, Timer::Repeat(handle));
            expect(task.ready_by, Timer::Registration(handle));
        }
        for (id, cell) in &self.cells.table {
            expect(cell.idle_at, Timer::CellIdle(*id));
        }
        for (key, bundle) in &self.bundles.table {
            expect(bundle.idle_at, Timer::BundleIdle(key.clone()));
        }
        for (at, timer) in &expected {
            assert!(
                self.deadlines.holds(*at, timer.clone()),
                "{timer:?} stands at {at}"
            );
        }
        let recover = usize::from(!self.recovered);
        assert_eq!(
            self.deadlines.len(),
            expected.len() + recover,
            "no other timer"
        );
    }
}
