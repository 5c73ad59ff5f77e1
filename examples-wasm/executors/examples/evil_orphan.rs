//! Starts a child that spins and hears no wish to stop, and then ends as its task says: `stop` or `exit`.

use nesos_guest::{Executor, Host, Registered, Resources, Spawn, Task, TaskInfo};

struct Parent;

#[nesos_guest::executor]
impl Executor for Parent {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let child = host.spawn(Spawn::this_bundle(Resources::new(500, 4 << 20)));
        let _ = host.send(format!("{child:?}").as_bytes());
        if task.data == b"exit" {
            std::process::exit(3);
        }
        host.stop();
    }
}

#[nesos_guest::child]
fn spin(_: Task) -> Result<(), String> {
    loop {
        std::hint::spin_loop();
    }
}
