//! What a cell needs of the runtime: to start guests, to slow them down and to end them.
//!
//! A trait, so that the table of sandboxes is tested without a guest.

use std::sync::Arc;
use std::time::Duration;

use nesos_runtime::{
    GuestEvent, Identity, Observer, PostError, Runtime, Sandbox, SandboxSpec, Stdin, Stdout, Uplink,
};
use nesos_types::cell::SandboxLaunch;
use nesos_types::role::Role;
use nesos_types::task::TaskReason;

/// Starts guests.
pub(super) trait Launcher: Send + Sync + 'static {
    /// A hold on a guest that was started.
    type Guest: Guest;
    /// Starts a guest. Returns at once; the observer is told what becomes of it.
    fn launch(&self, spec: SandboxSpec, observer: Box<dyn Observer>) -> Self::Guest;
}

/// A guest that was started.
pub(super) trait Guest: Clone + Send + Sync + 'static {
    /// Asks the guest to end, and drops it after the grace.
    fn kill(&self, kill: &Kill);
    /// Lets the guest use so many thousandths of a core from now on.
    fn set_cpu(&self, cpu_milli: u64);
    /// Lets the guest use so many thousandths of a core and hold so many bytes of memory from now on.
    fn set_limits(&self, cpu_milli: u64, mem_bytes: u64);
    /// Puts an event into the guest's mailbox.
    fn post(&self, event: GuestEvent) -> Result<(), PostError>;
    /// Asks the guest how it is; the error is a line for a person.
    fn healthy(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// CPU time that the guest has used, in nanoseconds.
    fn cpu_ns(&self) -> u64;
}

/// That a guest is to end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// How long it has to end by itself.
    pub(super) grace: Duration,
    /// Goes into its last status.
    pub(super) reason: TaskReason,
    /// Goes into its last status, for a person; may be empty.
    pub(super) message: &'static str,
}

/// Where a guest's input comes from and its output goes to.
#[derive(Debug)]
pub(super) struct GuestIo {
    pub(super) stdin: Stdin,
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
}

impl Launcher for Runtime {
    type Guest = Sandbox;
    fn launch(&self, spec: SandboxSpec, observer: Box<dyn Observer>) -> Sandbox {
        Self::launch(self, spec, observer)
    }
}

impl Guest for Sandbox {
    fn kill(&self, kill: &Kill) {
        Self::kill(self, kill.grace, kill.reason, kill.message);
    }

    fn set_cpu(&self, cpu_milli: u64) {
        Self::set_cpu(self, cpu_milli);
    }

    fn set_limits(&self, cpu_milli: u64, mem_bytes: u64) {
        Self::set_limits(self, cpu_milli, mem_bytes);
    }

    fn post(&self, event: GuestEvent) -> Result<(), PostError> {
        Self::post(self, event)
    }

    async fn healthy(&self) -> Result<(), String> {
        Self::healthy(self).await
    }

    fn cpu_ns(&self) -> u64 {
        Self::cpu_ns(self)
    }
}

/// What the runtime is to run for this launch, in this role.
pub(super) fn spec(
    launch: SandboxLaunch,
    role: &Role,
    io: GuestIo,
    uplink: Arc<dyn Uplink>,
) -> SandboxSpec {
    SandboxSpec {
        framework: launch.key.framework,
        task: launch.task,
        compiled: launch.compiled,
        root: super::directory::root(&launch.directory),
        volumes: launch.volumes,
        stdin: io.stdin,
        stdout: io.stdout,
        stderr: io.stderr,
        fuel_per_cpu_second: launch.fuel_per_cpu_second,
        determinism: None,
        identity: Identity {
            role: role.clone(),
            agent: launch.agent,
            hostname: launch.hostname,
        },
        uplink,
    }
}
