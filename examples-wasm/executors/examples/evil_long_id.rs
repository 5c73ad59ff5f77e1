//! Reports a task with an id of 300 characters, and one of a megabyte.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        for length in [300, 1 << 20] {
            let said = host.update(&"x".repeat(length), State::Failed, "", &[]);
            let _ = host.send(format!("{said:?}").as_bytes());
        }
        host.report(&task.id, State::Finished, "", &[]);
    }
}
