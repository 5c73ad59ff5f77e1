//! What an executor is: a value that is told what happens.

use std::time::Duration;

use crate::{ChildId, Exit, Host, Identity, State, TaskInfo, Timer};

/// What an executor is told when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Who it is, and where it runs.
    pub me: Identity,
    /// Opaque bytes from the scheduler.
    pub data: Vec<u8>,
}

/// An executor: one value for the whole life of its sandbox.
///
/// Its methods are called one at a time, and the next one when the last has returned; one that takes longer
/// than 30 seconds ends the executor, and so does a panic. Long work belongs into children, or into small
/// steps from timer to timer.
pub trait Executor: Sized + 'static {
    /// The executor has started. It counts as running when this returns.
    fn registered(host: &Host, registered: Registered) -> Self;

    /// A task is to be run. What becomes of it the executor tells by [`Host::update`].
    fn launch(&mut self, host: &Host, task: TaskInfo);

    /// A task is to be ended within the grace. Unless the executor does something else, it is reported as
    /// killed.
    fn kill(&mut self, host: &Host, task: &str, grace: Duration) {
        let _ = grace;
        host.report(task, State::Killed, "", &[]);
    }

    /// Bytes from the scheduler. They are ignored unless the executor does something else.
    fn message(&mut self, host: &Host, data: Vec<u8>) {
        let _ = (host, data);
    }

    /// A timer has run out.
    fn timer(&mut self, host: &Host, timer: Timer) {
        let _ = (host, timer);
    }

    /// A child has ended. Not called for a child whose end was asked for by [`Child::exit`](crate::Child::exit)
    /// already.
    fn child_exited(&mut self, host: &Host, child: ChildId, exit: Exit) {
        let _ = (host, child, exit);
    }

    /// The executor is to end within the grace. Unless it does something else, each of its tasks is killed and
    /// the executor stops.
    fn shutdown(&mut self, host: &Host, grace: Duration) {
        for task in host.tasks() {
            self.kill(host, &task.id, grace);
        }
        host.stop();
    }
}
