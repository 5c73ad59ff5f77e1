//! Says that a task runs a million times, as fast as it can, and then how often that was refused.

use nesos_guest::{Executor, Host, Registered, State, TaskInfo};

struct Evil;

#[nesos_guest::executor]
impl Executor for Evil {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let say = |_: &u32| {
            host.update(&task.id, State::Running, "", &[0; 1024])
                .is_err()
        };
        let refused = (0..1_000_000).filter(say).count();
        let _ = host.send(refused.to_string().as_bytes());
    }
}
