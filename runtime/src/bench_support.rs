//! Bare wasmtime, for the benchmarks: the same engine without Nesos around it, to be compared with.
//!
//! Guests run on the calling thread, never yield, and find just enough of WASI 0.1 for a program that
//! computes something and prints it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use thiserror::Error;
use wasmtime::{
    Caller, Engine, Extern, InstancePre, Linker, Memory, Module, Store, UpdateDeadline,
};

use crate::engine::{Flavour, config};
use crate::runtime::EPOCH;

/// Which checks are compiled into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// None at all.
    None,
    /// Fuel is counted.
    Fuel,
    /// Epochs are looked at.
    Epoch,
    /// Both, as Nesos does unless it is told otherwise.
    FuelAndEpoch,
}

/// Something that wasmtime did not do.
#[derive(Debug, Error)]
#[error("bare wasmtime: {0:#}")]
pub struct BareError(wasmtime::Error);

impl From<wasmtime::Error> for BareError {
    fn from(error: wasmtime::Error) -> Self {
        Self(error)
    }
}

/// A bare engine.
pub struct Bare {
    checks: Checks,
    engine: Engine,
    linker: Linker<World>,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare")
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

/// A module that is compiled and linked.
pub struct BareProgram(InstancePre<World>);

impl std::fmt::Debug for BareProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareProgram").finish_non_exhaustive()
    }
}

impl Bare {
    /// An engine that is set up as Nesos' own but for the checks.
    ///
    /// # Errors
    /// If wasmtime does not take the settings.
    pub fn new(checks: Checks) -> Result<Self, BareError> {
        let mut config = config(Flavour::Fuel);
        config.consume_fuel(checks.counts_fuel());
        config.epoch_interruption(checks.looks_at_epochs());
        let engine = Engine::new(&config)?;
        let linker = linker(&engine)?;
        Ok(Self {
            checks,
            engine,
            linker,
        })
    }

    /// Compiles a module.
    ///
    /// # Errors
    /// If it cannot be read, compiled or linked.
    pub fn prepare(&self, wasm: &Path) -> Result<BareProgram, BareError> {
        let module = Module::from_file(&self.engine, wasm)?;
        let mut linker = self.linker.clone();
        linker.define_unknown_imports_as_traps(&module)?;
        Ok(BareProgram(linker.instantiate_pre(&module)?))
    }

    /// Runs a program to its end; the first argument is its name.
    ///
    /// # Errors
    /// If it traps or exits by itself.
    pub fn run(&self, program: &BareProgram, args: &[String]) -> Result<(), BareError> {
        let _ticker = self
            .checks
            .looks_at_epochs()
            .then(|| Ticker::start(self.engine.clone()));
        let mut store = Store::new(&self.engine, World::new(args));
        if self.checks.counts_fuel() {
            store.set_fuel(u64::MAX)?;
        }
        if self.checks.looks_at_epochs() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        let instance = program.0.instantiate(&mut store)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        Ok(start.call(&mut store, ())?)
    }
}

impl Checks {
    fn counts_fuel(self) -> bool {
        matches!(self, Self::Fuel | Self::FuelAndEpoch)
    }

    fn looks_at_epochs(self) -> bool {
        matches!(self, Self::Epoch | Self::FuelAndEpoch)
    }
}

/// Advances an engine's epoch as often as Nesos does.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(EPOCH);
                engine.increment_epoch();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// What the guest can see.
struct World {
    /// Arguments, each closed by a zero.
    args: Vec<Vec<u8>>,
}

impl World {
    fn new(args: &[String]) -> Self {
        let closed = |arg: &String| [arg.as_bytes(), &[0]].concat();
        Self {
            args: args.iter().map(closed).collect(),
        }
    }
}

const SUCCESS: i32 = 0;

/// Arguments, an empty environment, output that goes nowhere, and zeros for randomness.
fn linker(engine: &Engine) -> Result<Linker<World>, wasmtime::Error> {
    const WASI: &str = "wasi_snapshot_preview1";
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(WASI, "args_sizes_get", args_sizes_get)?
        .func_wrap(WASI, "args_get", args_get)?
        .func_wrap(WASI, "environ_sizes_get", environ_sizes_get)?
        .func_wrap(WASI, "environ_get", |_: i32, _: i32| SUCCESS)?
        .func_wrap(WASI, "fd_write", fd_write)?
        .func_wrap(WASI, "random_get", |_: i32, _: i32| SUCCESS)?;
    Ok(linker)
}

fn memory(caller: &mut Caller<'_, World>) -> Result<Memory, wasmtime::Error> {
    caller
        .get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or_else(|| wasmtime::format_err!("the module exports no memory"))
}

fn poke(caller: &mut Caller<'_, World>, at: usize, bytes: &[u8]) -> Result<(), wasmtime::Error> {
    Ok(memory(caller)?.write(caller, at, bytes)?)
}

fn poke_u32(caller: &mut Caller<'_, World>, at: u32, value: usize) -> Result<(), wasmtime::Error> {
    let value = u32::try_from(value)?;
    poke(caller, at as usize, &value.to_le_bytes())
}

fn peek_u32(caller: &mut Caller<'_, World>, at: u32) -> Result<u32, wasmtime::Error> {
    let mut bytes = [0; 4];
    memory(caller)?.read(caller, at as usize, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn args_sizes_get(
    mut caller: Caller<'_, World>,
    count: u32,
    bytes: u32,
) -> Result<i32, wasmtime::Error> {
    let sizes: Vec<usize> = caller.data().args.iter().map(Vec::len).collect();
    poke_u32(&mut caller, count, sizes.len())?;
    poke_u32(&mut caller, bytes, sizes.iter().sum())?;
    Ok(SUCCESS)
}

fn args_get(
    mut caller: Caller<'_, World>,
    mut pointers: u32,
    mut buffer: u32,
) -> Result<i32, wasmtime::Error> {
    for arg in caller.data().args.clone() {
        poke_u32(&mut caller, pointers, buffer as usize)?;
        poke(&mut caller, buffer as usize, &arg)?;
        pointers += 4;
        buffer += u32::try_from(arg.len())?;
    }
    Ok(SUCCESS)
}

fn environ_sizes_get(
    mut caller: Caller<'_, World>,
    count: u32,
    bytes: u32,
) -> Result<i32, wasmtime::Error> {
    poke_u32(&mut caller, count, 0)?;
    poke_u32(&mut caller, bytes, 0)?;
    Ok(SUCCESS)
}

fn fd_write(
    mut caller: Caller<'_, World>,
    _descriptor: i32,
    vectors: u32,
    count: u32,
    written: u32,
) -> Result<i32, wasmtime::Error> {
    let mut total = 0;
    for index in 0..count {
        total += peek_u32(&mut caller, vectors + 8 * index + 4)? as usize;
    }
    poke_u32(&mut caller, written, total)?;
    Ok(SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Traps unless it is called with two arguments.
    const WANTS_TWO: &str = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get"
            (func $sizes (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (if (i32.ne (i32.load (i32.const 0)) (i32.const 2)) (then unreachable))))"#;

    #[test]
    fn every_kind_of_check_runs_and_sees_its_arguments() {
        let directory = tempfile::tempdir().unwrap();
        let wasm = directory.path().join("guest.wat");
        std::fs::write(&wasm, WANTS_TWO).unwrap();
        let args = ["guest".to_owned(), "7".to_owned()];
        for checks in [
            Checks::None,
            Checks::Fuel,
            Checks::Epoch,
            Checks::FuelAndEpoch,
        ] {
            let bare = Bare::new(checks).unwrap();
            let program = bare.prepare(&wasm).unwrap();
            assert!(bare.run(&program, &args).is_ok(), "{checks:?}");
            assert!(bare.run(&program, &args[..1]).is_err(), "{checks:?}");
        }
    }
}
