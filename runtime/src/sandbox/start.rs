//! Starting sandboxes, of a cell or of an executor: what all sandboxes of a process draw on.

use std::path::PathBuf;
use std::sync::Arc;

use nesos_types::limits::Metering;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::run::run;
use super::{Control, Observer, SandboxSpec};
use crate::cpu::{Share, Spawner};
use crate::engine::{Engines, Flavour};
use crate::program::{Entry, Programs};
use crate::wasi::shared::SharedQuotas;

/// What all sandboxes of a process draw on.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) programs: Programs,
    pub(crate) slots: Slots,
    pub(crate) spawner: Spawner,
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) quotas: Arc<SharedQuotas>,
}

/// As many permits as the pools have room for; launches beyond that wait their turn.
#[derive(Debug)]
pub(crate) struct Slots {
    fuel: Arc<Semaphore>,
    epoch: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(engines: &Engines) -> Self {
        let of = |flavour| Arc::new(Semaphore::new(engines.sandboxes(flavour) as usize));
        Self {
            fuel: of(Flavour::Fuel),
            epoch: of(Flavour::Epoch),
        }
    }

    pub(super) fn of(&self, metering: Metering) -> &Arc<Semaphore> {
        match metering {
            Metering::Clock | Metering::Fuel => &self.fuel,
            Metering::Time => &self.epoch,
        }
    }

    /// A slot, if there is one now. Children never wait for one: executors that hold slots and wait for
    /// children that wait for slots would wait for ever.
    pub(crate) fn try_take(&self, metering: Metering) -> Option<OwnedSemaphorePermit> {
        self.of(metering).clone().try_acquire_owned().ok()
    }
}

/// A sandbox that is to be started.
pub(crate) struct Start {
    pub(super) spec: SandboxSpec,
    pub(super) entry: Entry,
    /// The slot that it has already.
    pub(super) slot: Option<OwnedSemaphorePermit>,
    /// Brings the compiled image, if that is not there yet.
    pub(super) awaited: Option<Awaited>,
}

/// A compiled image that is on its way, or a sentence that says why there will be none.
pub(crate) type Awaited = oneshot::Receiver<Result<PathBuf, String>>;

impl Start {
    /// Of a task or an executor.
    pub(crate) fn of_task(spec: SandboxSpec) -> Self {
        Self {
            spec,
            entry: Entry::Main,
            slot: None,
            awaited: None,
        }
    }

    /// Of a child of an executor.
    pub(crate) fn of_child(
        spec: SandboxSpec,
        slot: OwnedSemaphorePermit,
        awaited: Option<Awaited>,
    ) -> Self {
        Self {
            spec,
            entry: Entry::Child,
            slot: Some(slot),
            awaited,
        }
    }
}

impl Host {
    /// What this sandbox and those outside will share.
    pub(crate) fn control(&self, start: &Start) -> Arc<Control> {
        let resources = start.spec.task.sandbox_resources();
        let (cpu_milli, mem_bytes) = (resources.cpu_milli, resources.mem_bytes);
        Arc::new(Control::new(self.io.clone(), cpu_milli, mem_bytes))
    }

    /// Starts a sandbox. Says no, and tells nobody anything, if the runtime has come to its end.
    pub(crate) fn start(
        self: &Arc<Self>,
        start: Start,
        observer: Box<dyn Observer>,
        control: &Arc<Control>,
    ) -> bool {
        let spec = &start.spec;
        let share = Share {
            cpu_milli: control.family.total_cpu_milli(),
            burst: spec.task.limits.burst,
            revocable: spec.task.resources.revocable_cpu_milli() > 0,
            fuel_per_second: (spec.task.limits.metering == Metering::Fuel)
                .then_some(spec.fuel_per_cpu_second),
        };
        let (framework, meter) = (spec.framework, control.meter.clone());
        let sandbox = run(self.clone(), start, observer, control.clone());
        let job = self.spawner.spawn(framework, share, meter, sandbox);
        let started = job.is_some();
        job.into_iter().for_each(|job| control.attach(job));
        started
    }
}
