//! Reports a status with as many bytes of data as its task says, 10 MB if it says nothing.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let text = String::from_utf8_lossy(&task.data);
        let bytes = text.parse().unwrap_or(10_000_000);
        let said = host.update(&task.id, State::Running, "", &vec![0; bytes]);
        let _ = host.send(format!("{said:?}").as_bytes());
        host.report(&task.id, State::Finished, "", &[]);
    }
}
