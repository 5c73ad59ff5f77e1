//! Reports tasks that it was never given.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        for other in [&format!("{}-of-others", task.id), "", "a/b", "\0"] {
            let error = host.update(other, State::Finished, "", &[]);
            let _ = host.send(format!("{error:?}").as_bytes());
        }
        host.report(&task.id, State::Finished, "", &[]);
    }
}
