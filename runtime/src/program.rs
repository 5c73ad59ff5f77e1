//! Programs: compiled images that are mapped and linked, ready to be instantiated.
//!
//! A cell starts the same few programs over and over, so it keeps them in a table: a warm start finds
//! an `InstancePre` there and maps, links and allocates nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, ModuleExport, Precompiled};

use crate::engine::{Engines, Flavour};
use crate::exit::Exit;
use crate::guest::{Guest, World};
use crate::limits::TABLE_ELEMENT_BYTES;
use crate::wasi::{WasiError, WasiSpec, p1};

/// The unit in which modules state the sizes of their memories.
const WASM_PAGE_BYTES: u64 = 64 << 10;

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
    /// A core module whose `_start` runs to completion.
    Module {
        pre: InstancePre<Guest>,
        start: ModuleExport,
    },
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
    /// What a guest of this program reaches of the world outside.
    pub(crate) fn make_world(&self, spec: WasiSpec) -> Result<World, WasiError> {
        match &self.kind {
            Kind::Module { .. } => p1::Ctx::new(spec).map(World::Module),
        }
    }

    /// Whether the guest can learn that it should stop. A WASI command cannot: it has no way to ask.
    pub(crate) fn hears_stop(&self) -> bool {
        match &self.kind {
            Kind::Module { .. } => false,
        }
    }
}

/// The programs of a process.
pub(crate) struct Programs {
    engines: Arc<Engines>,
    loaded: DashMap<PathBuf, Kept>,
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
    pub(crate) fn new(engines: Arc<Engines>) -> Self {
        Self {
            engines,
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
        let start = start_of(&module)
            .map_err(|why| Box::new(Exit::invalid(TaskReason::InvalidModule, why)))?;
        let linker = self.linker(&module)?;
        let pre = linker.instantiate_pre(&module).map_err(|error| {
            Box::new(Exit::invalid(
                TaskReason::ImportUnsatisfied,
                format!("{error:#}"),
            ))
        })?;
        let needs = module.resources_required();
        Ok(Program {
            flavour,
            engine: module.engine().clone(),
            minimum_bytes: minimum_bytes(&needs),
            kind: Kind::Module { pre, start },
        })
    }

    /// Everything that modules may import.
    fn linker(&self, module: &Module) -> Result<Linker<Guest>, Box<Exit>> {
        let mut linker = Linker::new(module.engine());
        p1::add_to_linker(&mut linker, Guest::p1).map_err(|error| {
            Box::new(Exit::dropped(
                TaskReason::LaunchFailed,
                format!("{error:#}"),
            ))
        })?;
        Ok(linker)
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

    fn load_component(&self, image: &Path, _metering: Metering) -> Result<Program, Box<Exit>> {
        Err(unusable(image, "components"))
    }
}

fn unusable(image: &Path, why: &str) -> Box<Exit> {
    let message = format!("cannot load the compiled bundle {}: {why}", image.display());
    Box::new(Exit::dropped(TaskReason::LaunchFailed, message))
}

/// The entry point of a command module.
fn start_of(module: &Module) -> Result<ModuleExport, String> {
    let start = module.get_export_index("_start");
    match (start, module.get_export("_start")) {
        (Some(start), Some(ExternType::Func(ty)))
            if ty.params().len() == 0 && ty.results().len() == 0 =>
        {
            Ok(start)
        }
        (Some(_), _) => {
            Err("its export `_start` is not a function without parameters and results".to_owned())
        }
        (None, _) => {
            Err("it exports no function `_start`: it is a library, not a command".to_owned())
        }
    }
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
