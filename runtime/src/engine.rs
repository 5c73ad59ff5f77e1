//! Engines: how wasmtime is set up, identically in the process that compiles and in the cell that runs.
//!
//! There are three flavours, and a compiled image belongs to one of them. Only what changes the code
//! that Cranelift emits is decided per flavour; how instances are allocated is decided by who runs
//! them, so the short-lived compiling process needs no pool.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use nesos_types::limits::Metering;
use thiserror::Error;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// The most that a guest's own call stack may take.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;

/// A fiber's whole stack: the guest's part, and room for the host functions that it calls.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// The largest a pooled table may grow, in elements.
pub(crate) const TABLE_ELEMENTS: usize = 200_000;

/// Memories that one module may define, GC heap not counted.
pub(crate) const MEMORIES_PER_MODULE: u32 = 4;

/// The largest memory, in bytes.
pub(crate) const MEMORY_BYTES: u64 = 4 << 30;

/// Tables that one module may define.
pub(crate) const TABLES_PER_MODULE: u32 = 8;

/// Mappings that the kernel keeps for one pooled instance: memory image, heap, guard, stack and its
/// guard, table.
const MAPPINGS_PER_INSTANCE: u64 = 6;

/// Which checks a compiled image carries, and so which engine can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Flavour {
    /// Fuel, with epochs as the backstop: `Metering::Clock` and `Metering::Fuel`.
    Fuel,
    /// Epochs alone: `Metering::Time`.
    Epoch,
    /// Epochs alone, with shared memory: whatever starts threads.
    Threads,
}

impl Flavour {
    /// Every flavour.
    pub(crate) const ALL: [Self; 3] = [Self::Fuel, Self::Epoch, Self::Threads];

    /// The flavour of a program without threads that is metered so.
    pub(crate) fn of(metering: Metering) -> Self {
        match metering {
            Metering::Clock | Metering::Fuel => Self::Fuel,
            Metering::Time => Self::Epoch,
        }
    }

    /// Whether fuel is counted.
    pub(crate) fn counts_fuel(self) -> bool {
        self == Self::Fuel
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fuel => "fuel",
            Self::Epoch => "epoch",
            Self::Threads => "threads",
        })
    }
}

/// An engine could not be made.
#[derive(Debug, Error)]
#[error("cannot set up a WebAssembly engine ({flavour}, {sandboxes} sandboxes)")]
pub struct EngineError {
    flavour: Flavour,
    sandboxes: u32,
    #[source]
    source: wasmtime::Error,
}

/// How many sandboxes the process can hold: what three quarters of the kernel's limit on mappings
/// allow. The rest is for the process itself, for failing an `mmap` at run time is not clean.
#[must_use]
pub fn sandboxes_by_mappings() -> u32 {
    const KERNEL_DEFAULT: u64 = 65_530;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(KERNEL_DEFAULT);
    let sandboxes = limit / 4 * 3 / MAPPINGS_PER_INSTANCE;
    // Beyond this the address space is the limit: two slots of 4 GiB each out of 128 TiB.
    u32::try_from(sandboxes.clamp(16, 10_000)).unwrap_or(10_000)
}

/// The engines of a process that runs guests; those that few guests need are made on first use.
pub(crate) struct Engines {
    fuel: Engine,
    epoch: OnceLock<Engine>,
    threads: OnceLock<Engine>,
    sandboxes: u32,
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines")
            .field("sandboxes", &self.sandboxes)
            .finish_non_exhaustive()
    }
}

impl Engines {
    /// Engines with pools for so many sandboxes.
    pub(crate) fn new(sandboxes: u32) -> Result<Self, EngineError> {
        Ok(Self {
            fuel: pooled(Flavour::Fuel, sandboxes)?,
            epoch: OnceLock::new(),
            threads: OnceLock::new(),
            sandboxes,
        })
    }

    /// How many sandboxes of a flavour there is room for.
    pub(crate) fn sandboxes(&self, flavour: Flavour) -> u32 {
        match flavour {
            Flavour::Fuel | Flavour::Threads => self.sandboxes,
            // Both pools together must fit into the address space.
            Flavour::Epoch => (self.sandboxes / 4).max(16),
        }
    }

    /// The engine of a flavour.
    pub(crate) fn get(&self, flavour: Flavour) -> Result<&Engine, EngineError> {
        match flavour {
            Flavour::Fuel => Ok(&self.fuel),
            Flavour::Epoch => made_once(&self.epoch, || pooled(flavour, self.sandboxes(flavour))),
            // Threads share one memory that no pool can hold, and their stacks are few.
            Flavour::Threads => made_once(&self.threads, || unpooled(flavour)),
        }
    }

    /// Lets every running guest come up for air.
    pub(crate) fn tick(&self) {
        self.fuel.increment_epoch();
        for engine in [&self.epoch, &self.threads] {
            if let Some(engine) = engine.get() {
                engine.increment_epoch();
            }
        }
    }
}

fn made_once(
    cell: &OnceLock<Engine>,
    make: impl FnOnce() -> Result<Engine, EngineError>,
) -> Result<&Engine, EngineError> {
    match cell.get() {
        Some(engine) => Ok(engine),
        // Two threads may both make one; the second is dropped.
        None => make().map(|engine| cell.get_or_init(|| engine)),
    }
}

/// An engine that allocates on demand: for compiling, and for threaded programs.
pub(crate) fn unpooled(flavour: Flavour) -> Result<Engine, EngineError> {
    Engine::new(&config(flavour)).map_err(|source| EngineError {
        flavour,
        sandboxes: 0,
        source,
    })
}

/// An engine with a pool for so many sandboxes.
fn pooled(flavour: Flavour, sandboxes: u32) -> Result<Engine, EngineError> {
    let mut config = config(flavour);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(sandboxes)));
    Engine::new(&config).map_err(|source| EngineError {
        flavour,
        sandboxes,
        source,
    })
}

/// The settings that decide what code is emitted. Everything here is part of the compatibility hash.
pub(crate) fn config(flavour: Flavour) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(flavour.counts_fuel())
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // The reservation and the guards are what makes bounds checks free.
        .memory_reservation(4 << 30)
        .memory_init_cow(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .relaxed_simd_deterministic(true)
        .shared_memory(flavour == Flavour::Threads);
    for (_, switch) in PROPOSALS {
        switch(&mut config, true);
    }
    let (_, switch) = THREADS;
    switch(&mut config, flavour == Flavour::Threads);
    config
}

/// Turns a proposal on or off.
type Switch = fn(&mut Config, bool) -> &mut Config;

/// WebAssembly proposals that every flavour has, by the names that the community gives them.
const PROPOSALS: [(&str, Switch); 14] = [
    ("bulk-memory", Config::wasm_bulk_memory),
    ("component-model", Config::wasm_component_model),
    ("component-model-async", Config::wasm_component_model_async),
    ("exception-handling", Config::wasm_exceptions),
    ("extended-const", Config::wasm_extended_const),
    ("function-references", Config::wasm_function_references),
    ("gc", Config::wasm_gc),
    ("memory64", Config::wasm_memory64),
    ("multi-memory", Config::wasm_multi_memory),
    ("multi-value", Config::wasm_multi_value),
    ("reference-types", Config::wasm_reference_types),
    ("relaxed-simd", Config::wasm_relaxed_simd),
    ("simd", Config::wasm_simd),
    ("tail-call", Config::wasm_tail_call),
];

/// What only programs with threads get.
const THREADS: (&str, Switch) = ("threads", Config::wasm_threads);

/// The worlds of WASI that guests find; see `wasi`.
const WORLDS: [&str; 4] = ["wasi-threads", "wasip1", "wasip2", "wasip3"];

/// What guests may use, by name: the proposals that the engines are made with, and WASI's worlds.
#[must_use]
pub fn features() -> BTreeSet<String> {
    let proposals = PROPOSALS.iter().chain([&THREADS]);
    let proposals = proposals.map(|(name, _)| *name);
    proposals.chain(WORLDS).map(str::to_owned).collect()
}

fn pool(sandboxes: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(sandboxes.saturating_mul(4))
        .total_component_instances(sandboxes)
        // A memory for each sandbox and as many again: GC heaps live in the same slots, and
        // components have several memories.
        .total_memories(sandboxes.saturating_mul(2))
        .total_gc_heaps(sandboxes)
        .total_tables(sandboxes.saturating_mul(2))
        .total_stacks(sandboxes)
        .max_memories_per_module(MEMORIES_PER_MODULE)
        .max_tables_per_module(TABLES_PER_MODULE)
        .table_elements(TABLE_ELEMENTS)
        .max_core_instance_size(16 << 20)
        .max_component_instance_size(16 << 20)
        .max_memory_size(usize::try_from(MEMORY_BYTES).unwrap_or(usize::MAX))
        // Warm starts of one program reuse a slot whose image is in place already; pages that a
        // guest is sure to touch again are cleared rather than given back.
        .max_unused_warm_slots(64)
        .linear_memory_keep_resident(64 << 10)
        .async_stack_keep_resident(16 << 10)
        .table_keep_resident(4 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Names the engines of this build on this machine: a compiled image is usable only where this text is
/// the same. Part of the cache key, together with digest and metering.
#[must_use]
pub fn compatibility() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        for flavour in Flavour::ALL {
            match unpooled(flavour) {
                Ok(engine) => engine.precompile_compatibility_hash().hash(&mut hasher),
                // An engine that cannot be made has no images.
                Err(error) => error.to_string().hash(&mut hasher),
            }
        }
        format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish())
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_takes_modules_of_what_it_says_to_support_and_no_others() {
        let samples = [
            ("simd", "(module (func (result v128) v128.const i64x2 1 2))"),
            ("tail-call", "(module (func $f return_call $f))"),
            ("gc", "(module (type (struct (field i32))))"),
            ("exception-handling", "(module (tag))"),
            ("memory64", "(module (memory i64 1))"),
            ("multi-memory", "(module (memory 1) (memory 1))"),
            (
                "wide-arithmetic",
                "(module (func (param i64 i64 i64 i64) (result i64 i64) local.get 0 local.get 1 local.get 2 local.get 3 i64.add128))",
            ),
            ("component-model", "(component)"),
        ];
        let features = features();
        let engine = unpooled(Flavour::Fuel).unwrap();
        for (name, text) in samples {
            let taken = match name {
                "component-model" => wasmtime::component::Component::new(&engine, text).is_ok(),
                _ => wasmtime::Module::new(&engine, text).is_ok(),
            };
            assert_eq!(taken, features.contains(name), "{name}");
        }
        let shared = "(module (memory 1 1 shared))";
        let threads = unpooled(Flavour::Threads).unwrap();
        assert!(wasmtime::Module::new(&engine, shared).is_err());
        assert!(wasmtime::Module::new(&threads, shared).is_ok());
        assert!(features.contains("threads"));
    }
}
