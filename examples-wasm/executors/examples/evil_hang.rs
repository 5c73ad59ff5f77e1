//! Never returns from the launch of a task: it spins, or waits if the task's data says so.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        host.report(&task.id, State::Running, "", &[]);
        if task.data == b"wait" {
            std::thread::sleep(std::time::Duration::MAX);
        }
        loop {
            std::hint::spin_loop();
        }
    }
}
