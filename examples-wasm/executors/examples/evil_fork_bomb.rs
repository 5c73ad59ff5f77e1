//! Starts children that live for ever until it is refused, and says how many there are and why no more.

use nesos_guest::{Executor, Host, Registered, Resources, Spawn, Task, TaskInfo};

struct Bomb;

#[nesos_guest::executor]
impl Executor for Bomb {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, _: TaskInfo) {
        let mut count = 0;
        loop {
            match host.spawn(Spawn::this_bundle(Resources::new(1, 2 << 20))) {
                Ok(_) => count += 1,
                Err(error) => {
                    let _ = host.send(format!("{count} children; {error}").as_bytes());
                    return;
                }
            }
        }
    }
}

#[nesos_guest::child]
fn sleep(_: Task) -> Result<(), String> {
    std::thread::sleep(std::time::Duration::MAX);
    Ok(())
}
