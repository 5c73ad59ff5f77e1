//! Ends a task twice, and goes back from running to starting.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let states = [
            State::Running,
            State::Starting,
            State::Finished,
            State::Failed,
        ];
        for state in states {
            let said = host.update(&task.id, state, "", &[]);
            let _ = host.send(format!("{said:?}").as_bytes());
        }
    }
}
