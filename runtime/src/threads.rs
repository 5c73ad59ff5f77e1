//! wasi-threads: a guest that runs on several OS threads at once over one shared memory.
//!
//! The proposal is one import: `wasi.thread-spawn` instantiates the module once more over the same
//! memory and calls its `wasi_thread_start` on a new thread. A guest may block its OS thread in
//! `memory.atomic.wait`, so these threads are not the guest threads but their own, in a [`Team`] per
//! task: they charge one bucket together, their number is bounded, and when one of them ends the task
//! all of them end, within a slice of a wait or an epoch.

mod drive;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use nesos_types::task::TaskInfo;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wasmtime::{
    Caller, ExternType, Linker, MemoryType, Module, ModuleExport, SharedMemory, Store,
    UpdateDeadline,
};

use crate::cpu::{Bucket, Meter};
use crate::exit::Exit;
use crate::guest::{Guest, World};
use crate::ledger::Ledger;
use crate::limits::{FIXED_BYTES, MemoryAccount};
use crate::program::{
    Ended, WASM_PAGE_BYTES, exported, exported_function, launch_failed, unsatisfied,
};
use crate::wasi::{DiskQuota, p1};

/// Threads of one guest beyond one for each of its CPUs: those that mostly wait.
const MORE_THREADS: u64 = 8;

/// Room for the tables of one instance to grow.
const TABLE_GROWTH_BYTES: u64 = 64 << 10;

/// The largest thread id that the proposal allows.
const MAX_THREAD_ID: u32 = 0x1fff_ffff;

/// A module that starts threads.
pub(crate) struct ThreadedModule {
    module: Module,
    linker: Linker<Guest<ThreadWorld>>,
    memory: MemoryType,
    /// What one more instance takes: stack, tables.
    thread_bytes: u64,
    start: ModuleExport,
    thread_start: ModuleExport,
}

impl ThreadedModule {
    /// Links a module whose own memories and tables take `instance_bytes` per instance.
    pub(crate) fn new(module: Module, instance_bytes: u64) -> Result<Self, Box<Exit>> {
        let start = exported_function(&module, "_start", 0)?;
        let thread_start = exported_function(&module, "wasi_thread_start", 2)?;
        let memory = imported_memory(&module).ok_or_else(|| {
            unsatisfied(wasmtime::format_err!(
                "a module that imports `wasi.thread-spawn` has to import its memory as `env.memory`, shared"
            ))
        })?;
        let mut linker = Linker::new(module.engine());
        add_to_linker(&mut linker).map_err(launch_failed)?;
        Ok(Self {
            module,
            linker,
            memory,
            thread_bytes: FIXED_BYTES + instance_bytes + TABLE_GROWTH_BYTES,
            start,
            thread_start,
        })
    }

    /// What its memory takes at the start.
    pub(crate) fn minimum_bytes(&self) -> u64 {
        self.memory.minimum().saturating_mul(WASM_PAGE_BYTES)
    }

    /// What all threads together take beside the memory.
    pub(crate) fn fixed_bytes(&self, cpu_milli: u64) -> u64 {
        self.thread_bytes.saturating_mul(max_threads(cpu_milli))
    }
}

/// Threads that a task of so many CPUs may have at once, the first included.
fn max_threads(cpu_milli: u64) -> u64 {
    cpu_milli.div_ceil(1000) + MORE_THREADS
}

fn imported_memory(module: &Module) -> Option<MemoryType> {
    let mut imports = module.imports();
    imports.find_map(|import| match import.ty() {
        ExternType::Memory(ty)
            if ty.is_shared() && (import.module(), import.name()) == ("env", "memory") =>
        {
            Some(ty)
        }
        _ => None,
    })
}

fn add_to_linker(linker: &mut Linker<Guest<ThreadWorld>>) -> wasmtime::Result<()> {
    p1::add_to_linker(linker, |guest| &mut guest.world.ctx)?;
    linker.func_wrap(
        "wasi",
        "thread-spawn",
        |caller: Caller<'_, Guest<ThreadWorld>>, argument: i32| {
            caller.data().world.team.spawn(argument)
        },
    )?;
    Ok(())
}

/// The world of one thread: the guest's, and the other threads.
pub(crate) struct ThreadWorld {
    ctx: p1::Ctx,
    team: Arc<Team>,
}

impl World for ThreadWorld {
    fn quota(&self) -> &Arc<DiskQuota> {
        self.ctx.quota()
    }

    fn output_bytes(&self) -> u64 {
        self.ctx.output_bytes()
    }
}

/// The threads of one guest.
pub(crate) struct Team {
    module: Arc<ThreadedModule>,
    ctx: p1::Ctx,
    memory: SharedMemory,
    account: Account,
    max_threads: u64,
    thread_ids: AtomicU32,
    stopping: AtomicBool,
    members: Mutex<Members>,
    phase: watch::Sender<Phase>,
    io: Handle,
}

/// What all threads of a guest pay from together, and where it is written down.
pub(crate) struct Account {
    pub(crate) meter: Arc<Meter>,
    pub(crate) bucket: Arc<Mutex<Bucket>>,
}

#[derive(Default)]
struct Members {
    threads: Vec<Thread>,
    ended: Option<Ended>,
}

/// Where a team stands.
#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    live: u64,
    over: bool,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

/// What a thread begins with.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Start,
    Thread { id: i32, argument: i32 },
}

/// Stops a team's threads when it is dropped.
#[must_use]
pub(crate) struct Running<'a>(&'a Team);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Team {
    /// A team without threads. Its memory may grow as far as the task's RAM allows and no further.
    pub(crate) fn new(
        module: &Arc<ThreadedModule>,
        task: &TaskInfo,
        ctx: p1::Ctx,
        account: Account,
    ) -> wasmtime::Result<Arc<Self>> {
        let resources = task.sandbox_resources();
        let fixed = module.fixed_bytes(resources.cpu_milli);
        let room = resources.mem_bytes.saturating_sub(fixed) / WASM_PAGE_BYTES;
        let maximum = module
            .memory
            .maximum()
            .map_or(room, |maximum| maximum.min(room));
        let pages = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
        let ty = MemoryType::shared(pages(module.memory.minimum()), pages(maximum));
        Ok(Arc::new(Self {
            module: module.clone(),
            ctx,
            memory: SharedMemory::new(module.module.engine(), ty)?,
            account,
            max_threads: max_threads(resources.cpu_milli),
            thread_ids: AtomicU32::new(1),
            stopping: AtomicBool::new(false),
            members: Mutex::default(),
            phase: watch::Sender::default(),
            io: Handle::current(),
        }))
    }

    /// Starts the first thread.
    pub(crate) fn start(self: &Arc<Self>) -> Running<'_> {
        if let Err(error) = self.start_thread(Entry::Start) {
            self.end(Ended::NotInstantiated(error.into()));
        }
        Running(self)
    }

    /// Waits until the guest has ended: its first thread returned, or any thread trapped or exited.
    pub(crate) async fn over(&self) {
        // The sender is ours, so the channel cannot be closed.
        let _ = self.phase.subscribe().wait_for(|phase| phase.over).await;
    }

    /// Waits until no thread is left.
    pub(crate) async fn gone(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| phase.live == 0)
            .await;
    }

    /// How the guest has ended.
    pub(crate) fn take_ended(&self) -> Option<Ended> {
        self.members().ended.take()
    }

    /// The world that all threads share.
    pub(crate) fn world(&self) -> &p1::Ctx {
        &self.ctx
    }

    /// A page, if the memory is as large as the task's RAM allows and was meant to be larger: growing
    /// a shared memory asks nobody, so it is not known whether it was tried.
    pub(crate) fn memory_refused(&self) -> Option<u64> {
        let allowed = self.memory.ty().maximum();
        let at_its_limit = Some(self.memory.size()) == allowed;
        (at_its_limit && allowed < self.module.memory.maximum()).then_some(WASM_PAGE_BYTES)
    }

    /// `thread-spawn`: the new thread's id, or a negative number.
    fn spawn(self: &Arc<Self>, argument: i32) -> i32 {
        const REFUSED: i32 = -1;
        let id = self.thread_ids.fetch_add(1, Ordering::Relaxed) & MAX_THREAD_ID;
        let Ok(id) = i32::try_from(id.max(1)) else {
            return REFUSED;
        };
        match self.start_thread(Entry::Thread { id, argument }) {
            Ok(()) => id,
            Err(error) => {
                tracing::debug!(%error, "a guest could not start a thread");
                REFUSED
            }
        }
    }

    fn start_thread(self: &Arc<Self>, entry: Entry) -> std::io::Result<()> {
        if self.is_stopping() || !self.admit() {
            return Err(std::io::Error::from(std::io::ErrorKind::QuotaExceeded));
        }
        let team = self.clone();
        let builder = std::thread::Builder::new().name("guest-own".to_owned());
        builder
            .spawn(move || team.run(entry))
            .map(drop)
            .inspect_err(|_| self.leave())
    }

    /// Counts a thread in, if there may be one more.
    fn admit(&self) -> bool {
        let mut admitted = false;
        self.phase.send_modify(|phase| {
            admitted = phase.live < self.max_threads;
            phase.live += u64::from(admitted);
        });
        admitted
    }

    fn leave(&self) {
        self.phase.send_modify(|phase| phase.live -= 1);
    }

    /// The whole life of one thread.
    fn run(self: Arc<Self>, entry: Entry) {
        let _io = self.io.enter();
        let _membership = Membership::new(&self);
        let ended = drive::drive(&self, self.clone().enter(entry));
        match (entry, ended) {
            // A thread that returns is over, and nothing else is.
            (Entry::Thread { .. }, Some(Ended::Returned(_))) | (_, None) => {}
            (_, Some(ended)) => self.end(ended),
        }
    }

    async fn enter(self: Arc<Self>, entry: Entry) -> Ended {
        let mut store = match self.make_store() {
            Ok(store) => store,
            Err(error) => return Ended::NotInstantiated(error),
        };
        let module = &self.module;
        let mut linker = module.linker.clone();
        let instance = async {
            linker.define(&store, "env", "memory", self.memory.clone())?;
            linker.instantiate_async(&mut store, &module.module).await
        };
        let instance = match instance.await {
            Ok(instance) => instance,
            Err(error) => return Ended::NotInstantiated(error),
        };
        let called = match entry {
            Entry::Start => {
                let start = exported(&instance, &mut store, &module.start);
                start.call_async(&mut store, &[], &mut []).await
            }
            Entry::Thread { id, argument } => {
                let start = exported(&instance, &mut store, &module.thread_start);
                let arguments = [id.into(), argument.into()];
                start.call_async(&mut store, &arguments, &mut []).await
            }
        };
        match called {
            Ok(()) => Ended::Returned(0),
            Err(error) => Ended::Raised(error),
        }
    }

    fn make_store(self: &Arc<Self>) -> wasmtime::Result<Store<Guest<ThreadWorld>>> {
        let guest = Guest {
            world: ThreadWorld {
                ctx: self.ctx.clone(),
                team: self.clone(),
            },
            // The team's meter shows the memory; this account only bounds what one instance adds.
            memory: MemoryAccount::new(Arc::new(Ledger::new(
                self.module.thread_bytes,
                Arc::default(),
            ))),
            meter: self.account.meter.clone(),
            fuel: 0,
        };
        let mut store = guest.into_store(self.module.module.engine(), None)?;
        store.epoch_deadline_callback(|store| {
            let team = &store.data().world.team;
            team.publish();
            if team.is_stopping() {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(store)
    }

    /// Lets the meter show what is known of all threads.
    fn publish(&self) {
        let live = self.phase.borrow().live;
        let bytes = self.memory.data_size() as u64 + live * self.module.thread_bytes;
        let meter = &self.account.meter;
        meter.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        let disk_bytes = self.ctx.quota().peak_bytes();
        meter.peak_disk_bytes.store(disk_bytes, Ordering::Relaxed);
        meter
            .output_bytes
            .store(self.ctx.output_bytes(), Ordering::Relaxed);
    }

    /// The guest is over; the first end counts.
    fn end(&self, ended: Ended) {
        self.members().ended.get_or_insert(ended);
        self.phase.send_modify(|phase| phase.over = true);
        self.stop();
    }

    /// Makes every thread end: those that run at the next look at the epoch, those that wait at once.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.module.module.engine().increment_epoch();
        for thread in &self.members().threads {
            thread.unpark();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calling thread's place in the team, for as long as it runs.
struct Membership<'a>(&'a Team);

impl<'a> Membership<'a> {
    fn new(team: &'a Team) -> Self {
        team.members().threads.push(std::thread::current());
        Self(team)
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        let own = std::thread::current().id();
        self.0.members().threads.retain(|thread| thread.id() != own);
        self.0.publish();
        if std::thread::panicking() {
            let error = wasmtime::format_err!("a host function panicked");
            self.0.end(Ended::Raised(error));
        }
        self.0.leave();
    }
}
