//! Programs: compiled images that are mapped and linked, ready to be instantiated.
//!
//! A cell starts the same few programs over and over, so it keeps them in a table: a warm start finds
//! an `InstancePre` there and maps, links and allocates nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use wasmtime::component::{Component, Linker as ComponentLinker};
use wasmtime::{
    Engine, Extern, ExternType, Func, Instance, InstancePre, Linker, Module, ModuleExport,
    PoolConcurrencyLimitError, Precompiled, Store, ThrownException, Trap,
};

use crate::engine::{Engines, Flavour};
use crate::exit::{Circumstances, Exit};
use crate::guest::{Guest, World};
use crate::guest_api::{self, ComponentWorld, EXECUTOR_EVENTS, ExecutorProgram, Side, THIS_TASK};
use crate::limits::{FIXED_BYTES, TABLE_ELEMENT_BYTES};
use crate::mailbox::Audience;
use crate::service::{self, Http, INCOMING_HANDLER, ServiceProgram};
use crate::threads::ThreadedModule;
use crate::wasi::component::{self, CommandPre, State};
use crate::wasi::{self, WasiError, WasiSpec, p1};

/// The unit in which modules state the sizes of their memories.
pub(crate) const WASM_PAGE_BYTES: u64 = 64 << 10;

/// Programs that are kept mapped; beyond it the one that was started longest ago is forgotten.
const KEPT: usize = 256;

/// What a start of this program needs at the very least, in bytes of guest memory.
pub(crate) type MinimumBytes = u64;

/// A compiled image that is ready to be instantiated.
pub(crate) struct Program {
    pub(crate) flavour: Flavour,
    pub(crate) engine: Engine,
    pub(crate) minimum_bytes: MinimumBytes,
    pub(crate) kind: Kind,
}

/// What is instantiated.
pub(crate) enum Kind {
    /// A core module.
    Module(ModuleCommand),
    /// A component.
    Component(ComponentCommand),
    /// A component that is told of events.
    Executor(ExecutorComponent),
    /// A component that answers HTTP requests.
    Service(ServiceComponent),
    /// A core module that starts threads.
    Threaded(Arc<ThreadedModule>),
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("flavour", &self.flavour)
            .field("minimum_bytes", &self.minimum_bytes)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// What the guest can hear, if it is run as `entry` says. A plain WASI command hears nothing: it has no
    /// way to ask.
    pub(crate) fn audience(&self, entry: Entry) -> Audience {
        let command = match (&self.kind, entry) {
            (Kind::Module(_) | Kind::Threaded(_), _) => None,
            (Kind::Component(command), _) => Some(command),
            (Kind::Executor(_), Entry::Main) => return Audience::Executor,
            (Kind::Executor(executor), Entry::Child) => executor.command.as_ref(),
            (Kind::Service(service), Entry::Main) if service.asks => return Audience::Task,
            (Kind::Service(service), _) => service.command.as_ref(),
        };
        match command {
            Some(command) if command.asks => Audience::Task,
            _ => Audience::Deaf,
        }
    }

    /// What it is as a service, if it is one.
    pub(crate) fn service(&self) -> Option<&ServiceProgram> {
        match &self.kind {
            Kind::Service(service) => Some(&service.program),
            _ => None,
        }
    }

    /// What is charged to a sandbox of so many CPUs beside its memories and tables.
    pub(crate) fn fixed_bytes(&self, cpu_milli: u64) -> u64 {
        match &self.kind {
            Kind::Module(_) | Kind::Component(_) | Kind::Executor(_) | Kind::Service(_) => {
                FIXED_BYTES
            }
            Kind::Threaded(module) => module.fixed_bytes(cpu_milli),
        }
    }
}

/// Which of its entry points a program is run by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// As what it is.
    Main,
    /// As a command, for the executor that started it.
    Child,
}

/// A program that runs in one store, from its entry point to its end.
pub(crate) trait Command {
    /// The world that its guests see.
    type World: World;

    /// Prepares the world of one guest.
    fn make_world(&self, spec: WasiSpec, side: Side) -> Result<Self::World, WasiError>;

    /// Instantiates it and runs it to its end. Calls `running` when it counts as running.
    fn run(
        &self,
        store: &mut Store<Guest<Self::World>>,
        running: impl FnOnce() + Send,
    ) -> impl Future<Output = Ended> + Send;
}

/// How a guest that was not dropped has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Its entry point returned, with this exit code.
    Returned(u8),
    /// It could not be instantiated.
    NotInstantiated(wasmtime::Error),
    /// It trapped or called `exit`.
    Raised(wasmtime::Error),
    /// An executor's function of this name did not return within this time.
    Unresponsive(&'static str, Duration),
}

impl Ended {
    /// The exit that this makes under the given circumstances.
    pub(crate) fn into_exit(self, circumstances: &Circumstances) -> Exit {
        match self {
            Self::Returned(code) => circumstances.of_code(code),
            // Programs of several instances may use up the pool before the sandboxes are used up.
            Self::Raised(error) | Self::NotInstantiated(error)
                if error.is::<PoolConcurrencyLimitError>() =>
            {
                *launch_failed(error)
            }
            Self::Raised(error) => raised(&error, circumstances),
            Self::Unresponsive(function, limit) => {
                let limit = limit.as_secs_f64();
                let message = format!("its function `{function}` did not return within {limit} s");
                Exit::failed(TaskReason::ExecutorUnresponsive, message)
            }
            // A start function is the guest's code: it may trap, exhaust its fuel or exit.
            Self::NotInstantiated(error) if is_guests_own(&error, circumstances) => {
                raised(&error, circumstances)
            }
            Self::NotInstantiated(error) => {
                Exit::failed(TaskReason::InstantiateFailed, format!("{error:#}"))
            }
        }
    }
}

fn raised(error: &wasmtime::Error, circumstances: &Circumstances) -> Exit {
    match wasi::exit_code(error) {
        // As POSIX has it, and every shell: the low eight bits.
        Some(code) => circumstances.of_code(code.to_le_bytes()[0]),
        None => circumstances.of_error(error),
    }
}

fn is_guests_own(error: &wasmtime::Error, circumstances: &Circumstances) -> bool {
    error.is::<Trap>()
        || error.is::<ThrownException>()
        || wasi::exit_code(error).is_some()
        || circumstances.memory_refused.is_some()
}

/// A core module whose `_start` runs to completion.
pub(crate) struct ModuleCommand {
    pre: InstancePre<Guest<p1::Ctx>>,
    start: ModuleExport,
}

impl Command for ModuleCommand {
    type World = p1::Ctx;

    fn make_world(&self, spec: WasiSpec, _: Side) -> Result<p1::Ctx, WasiError> {
        p1::Ctx::new(spec)
    }

    async fn run(&self, store: &mut Store<Guest<p1::Ctx>>, running: impl FnOnce() + Send) -> Ended {
        running();
        let instance = match self.pre.instantiate_async(&mut *store).await {
            Ok(instance) => instance,
            Err(error) => return Ended::NotInstantiated(error),
        };
        let start = exported(&instance, store, &self.start);
        match start.call_async(&mut *store, &[], &mut []).await {
            Ok(()) => Ended::Returned(0),
            Err(error) => Ended::Raised(error),
        }
    }
}

/// A component whose `wasi:cli/run` runs to completion.
pub(crate) struct ComponentCommand {
    pre: CommandPre<Guest<ComponentWorld>>,
    /// It imports what tells it that it should stop.
    asks: bool,
}

impl Command for ComponentCommand {
    type World = ComponentWorld;

    fn make_world(&self, spec: WasiSpec, side: Side) -> Result<ComponentWorld, WasiError> {
        let wasi = State::new(spec)?;
        let http = Http::default();
        Ok(ComponentWorld { wasi, side, http })
    }

    async fn run(
        &self,
        store: &mut Store<Guest<ComponentWorld>>,
        running: impl FnOnce() + Send,
    ) -> Ended {
        running();
        component::limit_store(store);
        match self.pre.run(store).await {
            Ok(Ok(())) => Ended::Returned(0),
            Ok(Err(())) => Ended::Returned(1),
            Err(error) => Ended::Raised(error),
        }
    }
}

/// A component that answers HTTP requests.
pub(crate) struct ServiceComponent {
    pub(crate) program: ServiceProgram,
    /// What it is where it is not launched as a service, if it exports `wasi:cli/run` as well.
    pub(crate) command: Option<ComponentCommand>,
    /// It imports what tells it that it should stop.
    asks: bool,
}

/// A component that is told of events.
pub(crate) struct ExecutorComponent {
    program: ExecutorProgram,
    /// What its children run, if it exports `wasi:cli/run` as well.
    pub(crate) command: Option<ComponentCommand>,
    /// How long one of its functions may take.
    handler_limit: Duration,
}

impl Command for ExecutorComponent {
    type World = ComponentWorld;

    fn make_world(&self, spec: WasiSpec, side: Side) -> Result<ComponentWorld, WasiError> {
        let wasi = State::for_executor(spec)?;
        let http = Http::default();
        Ok(ComponentWorld { wasi, side, http })
    }

    async fn run(
        &self,
        store: &mut Store<Guest<ComponentWorld>>,
        running: impl FnOnce() + Send,
    ) -> Ended {
        self.program.run(store, self.handler_limit, running).await
    }
}

/// A function that the module was seen to export when it was loaded.
pub(crate) fn exported<T: 'static>(
    instance: &Instance,
    store: &mut Store<T>,
    export: &ModuleExport,
) -> Func {
    instance
        .get_module_export(store, export)
        .and_then(Extern::into_func)
        .expect("a program without this function was refused when it was loaded")
}

/// The programs of a process.
pub(crate) struct Programs {
    engines: Arc<Engines>,
    loaded: DashMap<PathBuf, Kept>,
    /// How long one function of an executor may take.
    handler_limit: Duration,
    /// Counts starts, to tell which program was started longest ago.
    starts: AtomicU64,
}

struct Kept {
    program: Arc<Program>,
    last_start: AtomicU64,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs")
            .field("loaded", &self.loaded.len())
            .finish_non_exhaustive()
    }
}

impl Programs {
    pub(crate) fn new(engines: Arc<Engines>, handler_limit: Duration) -> Self {
        Self {
            engines,
            handler_limit,
            loaded: DashMap::new(),
            starts: AtomicU64::new(0),
        }
    }

    /// The program in a compiled image. Maps it if this is its first start.
    pub(crate) fn get(&self, image: &Path, metering: Metering) -> Result<Arc<Program>, Box<Exit>> {
        let now = self.starts.fetch_add(1, Ordering::Relaxed);
        if let Some(kept) = self.loaded.get(image) {
            kept.last_start.store(now, Ordering::Relaxed);
            return Ok(kept.program.clone());
        }
        let program = Arc::new(self.load(image, metering)?);
        let kept = Kept {
            program: program.clone(),
            last_start: AtomicU64::new(now),
        };
        self.loaded.insert(image.to_owned(), kept);
        self.forget_beyond(KEPT);
        Ok(program)
    }

    fn forget_beyond(&self, count: usize) {
        while self.loaded.len() > count {
            let oldest = self
                .loaded
                .iter()
                .min_by_key(|kept| kept.last_start.load(Ordering::Relaxed))
                .map(|kept| kept.key().clone());
            match oldest {
                Some(image) => self.loaded.remove(&image),
                None => return,
            };
        }
    }

    fn load(&self, image: &Path, metering: Metering) -> Result<Program, Box<Exit>> {
        match Engine::detect_precompiled_file(image) {
            Ok(Some(Precompiled::Module)) => self.load_module(image, metering),
            Ok(Some(Precompiled::Component)) => self.load_component(image, metering),
            Ok(None) => Err(unusable(image, "it is not a compiled module or component")),
            Err(error) => Err(unusable(image, &format!("{error:#}"))),
        }
    }

    fn engine(&self, flavour: Flavour) -> Result<Engine, Box<Exit>> {
        self.engines.get(flavour).cloned().map_err(|error| {
            let message = format!(
                "{error}: {}",
                std::error::Error::source(&error).map_or(String::new(), ToString::to_string)
            );
            Box::new(Exit::dropped(TaskReason::LaunchFailed, message))
        })
    }

    fn load_module(&self, image: &Path, metering: Metering) -> Result<Program, Box<Exit>> {
        let (flavour, module) = self.map_module(image, metering)?;
        let needs = minimum_bytes(&module.resources_required());
        let engine = module.engine().clone();
        let (minimum_bytes, kind) = if flavour == Flavour::Threads {
            let module = ThreadedModule::new(module, needs)?;
            (module.minimum_bytes(), Kind::Threaded(Arc::new(module)))
        } else {
            (needs, Kind::Module(link(&module)?))
        };
        Ok(Program {
            flavour,
            engine,
            minimum_bytes,
            kind,
        })
    }

    /// Maps a module with the engine that it was compiled for. The image itself knows which: it names
    /// the features that it was compiled with, and the other engines refuse it.
    fn map_module(&self, image: &Path, metering: Metering) -> Result<(Flavour, Module), Box<Exit>> {
        let mut refusal = None;
        for flavour in [Flavour::of(metering), Flavour::Threads] {
            let engine = self.engine(flavour)?;
            #[expect(unsafe_code, reason = "mapping code that was compiled ahead of time")]
            // SAFETY: images come from the agent's own cache, where only its compiler process writes,
            // and are replaced by renaming, never changed in place.
            match unsafe { Module::deserialize_file(&engine, image) } {
                Ok(module) => return Ok((flavour, module)),
                Err(error) => refusal = refusal.or(Some(format!("{error:#}"))),
            }
        }
        Err(unusable(image, &refusal.unwrap_or_default()))
    }

    fn load_component(&self, image: &Path, metering: Metering) -> Result<Program, Box<Exit>> {
        let flavour = Flavour::of(metering);
        let engine = self.engine(flavour)?;
        #[expect(unsafe_code, reason = "mapping code that was compiled ahead of time")]
        // SAFETY: as for modules: images come from the agent's own cache and never change in place.
        let component = unsafe { Component::deserialize_file(&engine, image) }
            .map_err(|error| unusable(image, &format!("{error:#}")))?;
        let needs = component.resources_required();
        Ok(Program {
            flavour,
            engine,
            minimum_bytes: needs.as_ref().map_or(0, minimum_bytes),
            kind: link_component(&component, self.handler_limit)?,
        })
    }
}

fn unusable(image: &Path, why: &str) -> Box<Exit> {
    // It would be so on every agent: the bundle is too large in a way that nobody looks for before.
    if why.contains("pooling allocator") {
        let message = format!("too large for a sandbox: {why}");
        return Box::new(Exit::invalid(TaskReason::InstantiateFailed, message));
    }
    let message = format!("cannot load the compiled bundle {}: {why}", image.display());
    Box::new(Exit::dropped(TaskReason::LaunchFailed, message))
}

/// Joins a module to WASI.
fn link(module: &Module) -> Result<ModuleCommand, Box<Exit>> {
    let start = exported_function(module, "_start", 0)?;
    let mut linker = Linker::new(module.engine());
    p1::add_to_linker(&mut linker, Guest::p1).map_err(launch_failed)?;
    let pre = linker.instantiate_pre(module).map_err(unsatisfied)?;
    Ok(ModuleCommand { pre, start })
}

/// Joins a component to WASI and Nesos, as what it is by its exports.
fn link_component(component: &Component, handler_limit: Duration) -> Result<Kind, Box<Exit>> {
    let engine = component.engine();
    let mut linker = ComponentLinker::new(engine);
    component::add_to_linker(&mut linker).map_err(launch_failed)?;
    guest_api::add_to_linker(&mut linker).map_err(launch_failed)?;
    service::add_to_linker(&mut linker).map_err(launch_failed)?;
    let pre = linker.instantiate_pre(component).map_err(unsatisfied)?;
    let ty = component.component_type();
    let asks = ty.imports(engine).any(|(name, _)| name == THIS_TASK);
    let command = |pre| CommandPre::new(pre).map(|pre| ComponentCommand { pre, asks });
    let exports = |begins: &str| ty.exports(engine).any(|(name, _)| name.starts_with(begins));
    let is_executor = exports(EXECUTOR_EVENTS);
    if !is_executor && exports(INCOMING_HANDLER) {
        let program = ServiceProgram::new(pre.clone()).map_err(unsatisfied)?;
        let command = command(pre).ok();
        return Ok(Kind::Service(ServiceComponent {
            program,
            command,
            asks,
        }));
    }
    if !is_executor {
        return command(pre).map(Kind::Component).map_err(unsatisfied);
    }
    let program = ExecutorProgram::new(pre.clone()).map_err(unsatisfied)?;
    Ok(Kind::Executor(ExecutorComponent {
        program,
        command: command(pre).ok(),
        handler_limit,
    }))
}

/// An exported function of so many parameters and no results.
pub(crate) fn exported_function(
    module: &Module,
    name: &str,
    parameters: usize,
) -> Result<ModuleExport, Box<Exit>> {
    let invalid = |why: String| Box::new(Exit::invalid(TaskReason::InvalidModule, why));
    match (module.get_export_index(name), module.get_export(name)) {
        (Some(export), Some(ExternType::Func(ty)))
            if ty.params().len() == parameters && ty.results().len() == 0 =>
        {
            Ok(export)
        }
        (Some(_), _) => Err(invalid(format!(
            "its export `{name}` is not a function of {parameters} parameters and no result"
        ))),
        (None, _) => Err(invalid(format!(
            "it exports no function `{name}`: it is a library, not a command"
        ))),
    }
}

pub(crate) fn unsatisfied(error: wasmtime::Error) -> Box<Exit> {
    Box::new(Exit::invalid(
        TaskReason::ImportUnsatisfied,
        format!("{error:#}"),
    ))
}

pub(crate) fn launch_failed(error: wasmtime::Error) -> Box<Exit> {
    Box::new(Exit::dropped(
        TaskReason::LaunchFailed,
        format!("{error:#}"),
    ))
}

/// What the memories and tables of an instance take before it has run at all.
pub(crate) fn minimum_bytes(needs: &wasmtime::ResourcesRequired) -> MinimumBytes {
    // Only the largest of several is known; the account of the running sandbox is exact.
    let memory = needs
        .max_initial_memory_size
        .unwrap_or(0)
        .saturating_mul(WASM_PAGE_BYTES);
    let table = needs.max_initial_table_size.unwrap_or(0);
    memory.saturating_add(table.saturating_mul(TABLE_ELEMENT_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_the_pool_is_so_everywhere_and_not_tried_again() {
        let image = Path::new("a.cwasm");
        let exit = unusable(image, "which exceeds the limit in the pooling allocator");
        assert_eq!(exit.state, nesos_types::task::TaskState::Error);
        assert_eq!(exit.reason, TaskReason::InstantiateFailed);
        let exit = unusable(image, "the file was not there");
        assert_eq!(exit.state, nesos_types::task::TaskState::Dropped);
        assert!(exit.message.contains("a.cwasm"), "{}", exit.message);
    }
}
