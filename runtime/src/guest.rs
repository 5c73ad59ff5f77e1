//! What a store holds beside the guest's own memory: its account and its world.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cpu::Meter;
use crate::limits::MemoryAccount;
use crate::wasi::{DiskQuota, p1};

/// What the guest reaches of the world outside.
#[derive(Debug)]
pub(crate) enum World {
    /// WASI 0.1.
    Module(p1::Ctx),
}

impl World {
    /// The quota of the writable root.
    pub(crate) fn quota(&self) -> &Arc<DiskQuota> {
        match self {
            Self::Module(ctx) => ctx.quota(),
        }
    }

    /// Bytes written to stdout and stderr so far.
    pub(crate) fn output_bytes(&self) -> u64 {
        match self {
            Self::Module(ctx) => ctx.output_bytes(),
        }
    }
}

impl Guest {
    /// Writes to the meter what only the store's owner knows.
    pub(crate) fn publish(&self, fuel_left: u64) {
        let meter = &self.meter;
        meter.fuel.store(self.fuel - fuel_left, Ordering::Relaxed);
        let disk_bytes = self.world.quota().peak_bytes();
        meter.peak_disk_bytes.store(disk_bytes, Ordering::Relaxed);
        let output_bytes = self.world.output_bytes();
        meter.output_bytes.store(output_bytes, Ordering::Relaxed);
    }

    /// What a module's WASI functions work on.
    pub(crate) fn p1(&mut self) -> &mut p1::Ctx {
        match &mut self.world {
            World::Module(ctx) => ctx,
        }
    }
}

/// The data of a sandbox' store.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) world: World,
    pub(crate) memory: MemoryAccount,
    pub(crate) meter: Arc<Meter>,
    /// The fuel that the store was given; zero if none is counted.
    pub(crate) fuel: u64,
}
