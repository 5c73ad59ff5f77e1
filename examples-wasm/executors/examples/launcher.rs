//! Runs another bundle for each task: the task's data is the bundle's digest, the rest is the task's own. What
//! the child says on its output is the data of the task's last status.

use std::collections::BTreeMap;
use std::io::Read as _;

use nesos_guest::{
    Child, ChildId, Executor, Exit, Host, Registered, Resources, Spawn, State, Stdio, TaskInfo,
};

#[derive(Default)]
struct Launcher {
    running: BTreeMap<ChildId, (String, Child)>,
}

#[nesos_guest::executor]
impl Executor for Launcher {
    fn registered(_: &Host, _: Registered) -> Self {
        Self::default()
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let digest = String::from_utf8_lossy(&task.data).into_owned();
        let mut spawn = Spawn::bundle(digest, Resources::new(500, 16 << 20)).stdout(Stdio::Pipe);
        spawn.args = task.args;
        spawn.env = task.env;
        match host.spawn(spawn) {
            Ok(child) => {
                host.report(&task.id, State::Running, "", &[]);
                self.running.insert(child.id(), (task.id, child));
            }
            Err(error) => host.report(&task.id, State::Error, &error.to_string(), &[]),
        }
    }

    fn child_exited(&mut self, host: &Host, id: ChildId, exit: Exit) {
        let Some((task, child)) = self.running.remove(&id) else {
            return;
        };
        let mut output = Vec::new();
        let read = child
            .stdout()
            .map(|mut stdout| stdout.read_to_end(&mut output));
        if exit.is_success() && matches!(read, Some(Ok(_))) {
            host.report(&task, State::Finished, "", &output);
        } else {
            let why = format!("{}: {}", exit.reason, exit.message);
            host.report(&task, State::Failed, &why, &output);
        }
    }
}
