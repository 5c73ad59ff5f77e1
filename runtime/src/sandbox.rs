//! One guest, from its launch to its exit.

mod control;
mod family;
mod run;
mod serve;
mod start;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::cell::SandboxVolume;
use nesos_types::ids::FrameworkId;
use nesos_types::limits::Usage;
use nesos_types::task::{SharedTask, TaskReason};

use crate::determinism::Determinism;
use crate::exit::Exit;
use crate::mailbox::{GuestEvent, PostError};
use crate::uplink::{Identity, Uplink};
use crate::wasi::{Stdin, Stdout};

pub(crate) use control::{Control, Order};
pub(crate) use family::Family;
pub(crate) use start::{Host, Slots, Start};

/// Everything that a sandbox is made from.
pub struct SandboxSpec {
    /// Whose task it is: CPU is shared fairly by framework, then task.
    pub framework: FrameworkId,
    /// The task: resources, limits, arguments, environment, mounts.
    pub task: SharedTask,
    /// The compiled bundle, which is mapped. Trusted: it must come from the agent's own cache.
    pub compiled: PathBuf,
    /// The guest's writable `/`, under its disk quota.
    pub root: PathBuf,
    /// Persistent volumes that appear beside it.
    pub volumes: Vec<SandboxVolume>,
    /// Where stdin comes from.
    pub stdin: Stdin,
    /// Where stdout goes.
    pub stdout: Stdout,
    /// Where stderr goes.
    pub stderr: Stdout,
    /// The rate at which `Metering::Fuel` fills the bucket: units per second of one CPU.
    pub fuel_per_cpu_second: u64,
    /// Time and randomness instead of the host's.
    pub determinism: Option<Determinism>,
    /// Where it runs, and in which role.
    pub identity: Identity,
    /// Where what it says goes.
    pub uplink: Arc<dyn Uplink>,
}

impl fmt::Debug for SandboxSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxSpec")
            .field("framework", &self.framework)
            .field("task", &self.task)
            .field("compiled", &self.compiled)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Is told what becomes of a sandbox. Called on the guest threads, so it must not block.
pub trait Observer: Send {
    /// The guest is about to execute its first instruction.
    fn running(&mut self);
    /// The sandbox is over and everything that it held is free again. Called exactly once, and last.
    fn exited(&mut self, exit: Exit);
}

/// A handle on a sandbox. Dropping it changes nothing for the guest.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(crate) control: Arc<Control>,
}

impl Sandbox {
    /// Ends the sandbox: the guest is asked, and dropped after the grace. A guest that has no way to
    /// hear the question, such as a plain WASI command, is dropped at once.
    ///
    /// The state will be `Killed` with this reason, even if the guest exits well within the grace;
    /// or `Killed` with `KilledDuringLaunch` if it has not started yet. The first call counts, but a
    /// later one may shorten the grace. Does nothing if the sandbox is over.
    pub fn kill(&self, grace: Duration, reason: TaskReason, message: &str) {
        self.control.kill(grace, reason, message);
    }

    /// Lets it use so many thousandths of a CPU from now on, whatever its task accepted; one at the least.
    /// What the guest owes for the quantum that it is in it pays back at the new rate. Does nothing if
    /// the sandbox is over. What an executor's children have is part of it.
    pub fn set_cpu(&self, cpu_milli: u64) {
        self.control.set_cpu(cpu_milli);
    }

    /// Lets it hold so much from now on: an executor's limits follow its tasks. What it holds beyond that
    /// already it keeps, and gets nothing more; the CPUs of an executor's children shrink in proportion if
    /// they do not fit any longer, and grow again with it.
    pub fn set_limits(&self, cpu_milli: u64, mem_bytes: u64) {
        self.control.set_cpu(cpu_milli);
        self.control.ledger.set_limit(mem_bytes);
    }

    /// Puts an event into the guest's mailbox. An executor hears all of them, a component that imports
    /// `nesos:guest/this-task` hears messages, and any other guest nothing. What is posted before the guest
    /// has started waits for it.
    pub fn post(&self, event: GuestEvent) -> Result<(), PostError> {
        self.control.mailbox.post(event)
    }

    /// Whether an executor has done with all that it was told, and waits for what comes next; or the sandbox
    /// is over.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.control.mailbox.is_at_rest() || self.is_over()
    }

    /// Whether the sandbox is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.control.mailbox.is_over()
    }

    /// Asks a service's exported function `healthy` how it is; the error is a line for a person. The call is
    /// given up when the future is dropped.
    pub async fn healthy(&self) -> Result<(), String> {
        match self.control.desk() {
            Some(desk) => desk.health().await,
            None => Err("it is no service, or has not started, or is over".to_owned()),
        }
    }

    /// CPU time that it has used so far, in nanoseconds, but for the quantum that it is in.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        self.control.cpu_ns()
    }

    /// What it has used so far; as of its end if it is over. Fuel is a few milliseconds old.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.control.usage()
    }
}

#[cfg(test)]
mod tests;
