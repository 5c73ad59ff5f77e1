//! Answers each task with its data in capitals. The executor of the README.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

/// How many texts it has answered, in all of its tasks.
pub(crate) struct Capitals(u32);

#[nesos_guest::executor]
impl Executor for Capitals {
    fn registered(_: &Host, _: Registered) -> Self {
        Self(0)
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        self.0 += 1;
        let answer = task.data.to_ascii_uppercase();
        let message = format!("text {} of this executor", self.0);
        host.report(&task.id, State::Finished, &message, &answer);
    }
}
