//! WASI 0.1 for core modules: `wasi-common`, joined to wasmtime.
//!
//! `wasi-common` 36 is used without its own wasmtime. A [`Ctx`] may be shared by any number of stores, as
//! the threads of one guest need it. Its futures must be polled inside a tokio runtime, whose timers they
//! await and whose pool `fsync` goes to.

mod descriptors;
mod errno;
mod glue;
mod host;
mod nodes;
mod sched;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_rand::RngCore;
use cap_std::time::{Instant, SystemTime};
use wasi_common::file::FileAccessMode;
use wasi_common::snapshots::preview_1::types::Rights;
use wasi_common::{Error, Table, WasiClocks, WasiCtx, WasiMonotonicClock, WasiSystemClock};

use self::descriptors::{Descriptor, Descriptors};
pub(crate) use self::glue::{FUNCTIONS, MODULE, add_to_linker};
use self::nodes::{DirNode, Node, StdinNode, StdoutNode};
use super::clock::{Clock, Random};
use super::quota::DiskQuota;
use super::stdio::{Input, Output};
use super::volume::Volume;
use super::{Exit, WasiError, WasiSpec};

/// Everything that a guest reaches through WASI 0.1. Clones share it.
#[derive(Clone)]
pub(crate) struct Ctx {
    inner: WasiCtx,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    descriptors: Descriptors,
    /// Guest paths of the preopened directories, in the order of their descriptors.
    preopens: Vec<String>,
    quota: Arc<DiskQuota>,
    output: Arc<AtomicU64>,
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("shared", &self.shared).finish()
    }
}

impl Ctx {
    /// Prepares a guest's surroundings. Touches no file: the root is made when the guest first needs it.
    pub(crate) fn new(mut spec: WasiSpec) -> Result<Self, WasiError> {
        let quota = DiskQuota::new(spec.disk_bytes, spec.max_files);
        let output = Arc::<AtomicU64>::default();
        let determinism = spec.determinism.as_ref();
        let mut inner = new_inner(Clock::new(determinism), Random::new(determinism));
        for arg in &spec.args {
            inner.push_arg(arg).map_err(|_| WasiError::TooLong)?;
        }
        for (name, value) in &spec.env {
            inner
                .push_env(name, value)
                .map_err(|_| WasiError::TooLong)?;
        }
        let trees = spec.trees()?;
        let root = Volume::root(spec.root, Arc::clone(&quota));
        let mut volumes = vec![("/".to_owned(), root)];
        volumes.extend(trees);
        let ctx = Self {
            inner,
            shared: Arc::new(Shared {
                descriptors: Descriptors::new(spec.max_descriptors),
                preopens: volumes.iter().map(|(guest, _)| guest.clone()).collect(),
                quota,
                output: Arc::clone(&output),
            }),
        };
        ctx.open_stdio(spec.stdin, [spec.stdout, spec.stderr])?;
        ctx.preopen(volumes.into_iter().map(|(_, volume)| volume))?;
        Ok(ctx)
    }

    /// The quota of the sandbox's writable root.
    pub(crate) fn quota(&self) -> &Arc<DiskQuota> {
        &self.shared.quota
    }

    /// Bytes written to stdout and stderr so far.
    pub(crate) fn output_bytes(&self) -> u64 {
        self.shared.output.load(Ordering::Relaxed)
    }

    fn open_stdio(
        &self,
        stdin: super::stdio::Stdin,
        outputs: [super::stdio::Stdout; 2],
    ) -> Result<(), WasiError> {
        let stdin = Node::Stdin(StdinNode::new(Input::new(stdin)));
        self.insert(Descriptor::new(stdin, FileAccessMode::READ, Rights::all()))?;
        for output in outputs {
            let output = Output::new(output, Arc::clone(&self.shared.output));
            let node = Node::Stdout(StdoutNode::new(output));
            self.insert(Descriptor::new(node, FileAccessMode::WRITE, Rights::all()))?;
        }
        Ok(())
    }

    fn preopen(&self, volumes: impl Iterator<Item = Volume>) -> Result<(), WasiError> {
        for (index, volume) in volumes.enumerate() {
            let node = Node::Dir(DirNode::uppermost(Arc::new(volume)));
            let mut descriptor = Descriptor::new(node, FileAccessMode::empty(), Rights::all());
            descriptor.preopen = Some(index);
            self.insert(descriptor)?;
        }
        Ok(())
    }

    fn insert(&self, descriptor: Descriptor) -> Result<(), WasiError> {
        self.shared
            .descriptors
            .insert(&self.inner, descriptor)
            .map(drop)
            .map_err(|_: Error| WasiError::TooManyMounts)
    }
}

fn new_inner(clock: Clock, random: Random) -> WasiCtx {
    let clocks = WasiClocks::new()
        .with_system(clock.clone())
        .with_monotonic(clock.clone());
    WasiCtx::new(
        Box::new(random),
        clocks,
        Box::new(sched::Sched(clock)),
        Table::new(),
    )
}

impl WasiSystemClock for Clock {
    fn resolution(&self) -> cap_std::time::Duration {
        cap_std::time::Duration::from_nanos(1)
    }

    fn now(&self, _precision: cap_std::time::Duration) -> SystemTime {
        SystemTime::from_std(std::time::UNIX_EPOCH + self.wall())
    }
}

impl WasiMonotonicClock for Clock {
    fn resolution(&self) -> cap_std::time::Duration {
        cap_std::time::Duration::from_nanos(1)
    }

    fn now(&self, _precision: cap_std::time::Duration) -> Instant {
        Instant::from_std(self.instant())
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        self.next()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), cap_rand::Error> {
        self.fill(bytes);
        Ok(())
    }
}
