//! The exchange rate between fuel and CPU time on this machine.

use wasmtime::{Engine, Linker, Module, Store, TypedFunc};

use crate::cpu::thread_cpu_ns;
use crate::engine::{Flavour, unpooled};

/// The published mix: one kernel per kind of work.
const KERNELS: [&str; 3] = [
    include_str!("fuel_rate/hash.wat"),
    include_str!("fuel_rate/chase.wat"),
    include_str!("fuel_rate/nbody.wat"),
];

/// CPU time that each kernel is measured for.
const PER_KERNEL_NS: u64 = 40_000_000;

/// The rate that is assumed where nothing can be measured: that of a machine of 2024.
const FALLBACK: u64 = 5_000_000_000;

/// Measures how many units of fuel make up one second of one CPU.
///
/// The mix is three kernels, in `runtime/src/fuel_rate/*.wat`: `hash` (FNV-1a over a generated
/// sequence: dependent integer multiplications in registers), `chase` (a walk through a random cycle
/// over 4 MiB: loads that miss the caches) and `nbody` (a two-body orbit: floating point with square
/// roots and divisions). Each runs for 40 ms of CPU time with the checks of `Metering::Fuel` compiled
/// in; a kernel's rate is the best of its slices, and the result is the geometric mean of the three.
/// Takes about 0.2 s.
///
/// Honest programs differ twelve-fold in fuel per second, so this is a rate of exchange, not a promise
/// about any one of them.
#[must_use]
pub fn measure_fuel_rate() -> u64 {
    let rates: Vec<f64> = KERNELS
        .iter()
        .filter_map(|kernel| rate_of(kernel).ok())
        .collect();
    if rates.len() < KERNELS.len() {
        tracing::warn!("the kernels that measure the fuel rate do not run on this machine");
        return FALLBACK;
    }
    let logarithms: f64 = rates.iter().map(|rate| rate.ln()).sum();
    let mean = (logarithms / KERNELS.len() as f64).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number far below 2^63"
    )]
    let rate = mean as u64;
    rate.max(1)
}

/// Units of fuel per second of CPU that a kernel burns.
fn rate_of(kernel: &str) -> wasmtime::Result<f64> {
    let engine = unpooled(Flavour::Fuel).map_err(wasmtime::Error::new)?;
    let (mut store, run) = prepare(&engine, kernel)?;
    let mut best = 0.0_f64;
    let mut rounds = 1_000;
    let began = thread_cpu_ns();
    while thread_cpu_ns() - began < PER_KERNEL_NS {
        store.set_fuel(u64::MAX)?;
        let before = thread_cpu_ns();
        run.call(&mut store, rounds)?;
        let took = (thread_cpu_ns() - before).max(1);
        let burnt = u64::MAX - store.get_fuel()?;
        // Slices shorter than a millisecond measure the clock.
        if took < 1_000_000 {
            rounds *= 2;
            continue;
        }
        best = best.max(burnt as f64 * 1e9 / took as f64);
    }
    Ok(best.max(1.0))
}

fn prepare(engine: &Engine, kernel: &str) -> wasmtime::Result<(Store<()>, TypedFunc<i32, i64>)> {
    let module = Module::new(engine, kernel)?;
    let mut store = Store::new(engine, ());
    store.set_fuel(u64::MAX)?;
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Linker::new(engine).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func(&mut store, "run")?;
    Ok((store, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_burns_the_same_fuel_on_every_machine() {
        let engine = unpooled(Flavour::Fuel).unwrap();
        let burnt = KERNELS.map(|kernel| {
            let (mut store, run) = prepare(&engine, kernel).unwrap();
            store.set_fuel(u64::MAX).unwrap();
            run.call(&mut store, 1000).unwrap();
            u64::MAX - store.get_fuel().unwrap()
        });
        assert_eq!(burnt, [19_004, 9_003, 45_009]);
    }
}
