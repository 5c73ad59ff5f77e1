//! Starts a child that tries all that only executors may do, and says what came of it.

use std::io::Read as _;

use nesos_guest::{Executor, Host, Registered, Resources, Spawn, Stdio, Task, TaskInfo};

struct Parent;

#[nesos_guest::executor]
impl Executor for Parent {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, _: TaskInfo) {
        let spawn = Spawn::this_bundle(Resources::new(500, 4 << 20)).stdout(Stdio::Pipe);
        let mut said = String::new();
        let child = host.spawn(spawn).expect("there is room");
        let stdout = child.stdout();
        let read = stdout.map(|mut stdout| stdout.read_to_string(&mut said));
        let _ = host.send(format!("{said}{read:?}").as_bytes());
    }
}

#[nesos_guest::child]
fn try_all(task: Task) -> Result<(), String> {
    let host = nesos_guest::__host();
    println!(
        "{:?}",
        host.spawn(Spawn::this_bundle(Resources::new(1, 4 << 20)))
    );
    println!("{:?}", host.set_timer(std::time::Duration::ZERO));
    println!("{:?}", host.send(b"hello"));
    println!("{:?}", task.send(b"hello"));
    println!("{:?}", task.progress("", b""));
    println!("{}", host.tasks().len());
    Ok(())
}
