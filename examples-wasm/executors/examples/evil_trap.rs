//! Panics in the launch of a task.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        host.report(&task.id, State::Running, "", &[]);
        panic!("the task {} is too much", task.id);
    }
}
