//! What metering adds to a guest at full share.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nesos_artifacts::kernels;
use nesos_runtime::bench_support::{Bare, BareProgram, Checks};
use nesos_types::limits::Metering;

use crate::Options;
use crate::cell::{Cell, Image, Launch};
use crate::figure::{Bound, Report};
use crate::processes::own_cpu_time;
use crate::statistics::geometric_mean;

const KERNELS: [(&str, &str); 7] = [
    ("sha256", kernels::SHA256),
    ("nbody", kernels::NBODY),
    ("hash + sort", kernels::HASH_SORT),
    ("matrix multiply", kernels::MATMUL),
    ("sieve", kernels::SIEVE),
    ("pointer chase", kernels::POINTER_CHASE),
    ("string formatting", kernels::STRINGS),
];

/// How long one run of a kernel should take without checks.
const RUN: Duration = Duration::from_millis(150);

const ALTERNATIONS: usize = 5;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "Each kernel runs for about {RUN:?} in turn in a warm Nesos runtime (one CPU accepted) and in bare \
         wasmtime with the same settings and checks, with fewer, and with none; {ALTERNATIONS} \
         alternations in one process, the least CPU time of the whole process, scheduler, timers and \
         start included: what the neighbours of a shared machine do to its caches only ever adds."
    ));
    let bench = Bench::new()?;
    let mut over_same_checks = Vec::new();
    let mut over_none = [Vec::new(), Vec::new(), Vec::new()];
    for (name, wasm) in KERNELS {
        let times = bench.measure(Path::new(wasm))?;
        let ratios = times.ratios();
        over_same_checks.push(ratios.same_checks);
        report.state(
            format!("{name}: Nesos over the same checks"),
            ratios.same_checks,
            "×",
        );
        let stated = [
            ("fuel", ratios.fuel),
            ("fuel + epoch", ratios.fuel_and_epoch),
            ("--metering time, in Nesos,", ratios.time),
        ];
        for (all, (checks, ratio)) in over_none.iter_mut().zip(stated) {
            all.push(ratio);
            report.state(format!("{name}: {checks} over no checks"), ratio, "×");
        }
    }
    let [fuel, fuel_and_epoch, time] = over_none.map(|ratios| geometric_mean(&ratios));
    report.state("geometric mean: fuel over no checks", fuel, "×");
    report.state(
        "geometric mean: fuel + epoch over no checks",
        fuel_and_epoch,
        "×",
    );
    report.state("geometric mean: --metering time over no checks", time, "×");
    report.promise(
        "geometric mean: Nesos over the same checks",
        geometric_mean(&over_same_checks),
        "×",
        Bound::AtMost(1.05),
    );
    Ok(())
}

/// CPU seconds of one kernel.
struct Times {
    none: f64,
    fuel: f64,
    fuel_and_epoch: f64,
    nesos_clock: f64,
    nesos_time: f64,
}

struct Ratios {
    same_checks: f64,
    fuel: f64,
    fuel_and_epoch: f64,
    time: f64,
}

impl Times {
    fn ratios(&self) -> Ratios {
        Ratios {
            same_checks: self.nesos_clock / self.fuel_and_epoch,
            fuel: self.fuel / self.none,
            fuel_and_epoch: self.fuel_and_epoch / self.none,
            time: self.nesos_time / self.none,
        }
    }
}

/// All that a kernel is run in.
struct Bench {
    cell: Cell,
    none: Bare,
    fuel: Bare,
    fuel_and_epoch: Bare,
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self {
            cell: Cell::start()?,
            none: Bare::new(Checks::None)?,
            fuel: Bare::new(Checks::Fuel)?,
            fuel_and_epoch: Bare::new(Checks::FuelAndEpoch)?,
        })
    }

    fn measure(&self, wasm: &Path) -> Result<Times> {
        let none = self.none.prepare(wasm)?;
        let fuel = self.fuel.prepare(wasm)?;
        let fuel_and_epoch = self.fuel_and_epoch.prepare(wasm)?;
        let clock = self.cell.compile(wasm, Metering::Clock)?;
        let time = self.cell.compile(wasm, Metering::Time)?;
        let rounds = rounds_for(RUN, |rounds| bare(&self.none, &none, rounds))?;
        let mut samples: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::new());
        for _ in 0..ALTERNATIONS {
            let times = [
                bare(&self.none, &none, rounds)?,
                bare(&self.fuel, &fuel, rounds)?,
                bare(&self.fuel_and_epoch, &fuel_and_epoch, rounds)?,
                nesos(&self.cell, &clock, rounds)?,
                nesos(&self.cell, &time, rounds)?,
            ];
            for (all, time) in samples.iter_mut().zip(times) {
                all.push(time);
            }
        }
        let [none, fuel, fuel_and_epoch, nesos_clock, nesos_time] =
            samples.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
        Ok(Times {
            none,
            fuel,
            fuel_and_epoch,
            nesos_clock,
            nesos_time,
        })
    }
}

/// CPU seconds of one run in bare wasmtime.
fn bare(engine: &Bare, program: &BareProgram, rounds: u64) -> Result<f64> {
    let began = own_cpu_time();
    engine.run(program, &["guest".to_owned(), rounds.to_string()])?;
    Ok((own_cpu_time() - began).as_secs_f64())
}

/// CPU seconds of one run in Nesos.
fn nesos(cell: &Cell, image: &Image, rounds: u64) -> Result<f64> {
    let spec = cell.spec(
        image,
        Launch {
            args: vec![rounds.to_string()],
            ..Launch::default()
        },
    )?;
    let began = own_cpu_time();
    cell.launch(spec).finish()?;
    Ok((own_cpu_time() - began).as_secs_f64())
}

/// How many rounds take about so long: from what 1 round and a few more take, for a kernel may have
/// much to prepare.
fn rounds_for(target: Duration, mut run: impl FnMut(u64) -> Result<f64>) -> Result<u64> {
    let first = run(1)?;
    let mut rounds = 2;
    loop {
        let took = run(rounds)?;
        if took >= target.as_secs_f64() / 4.0 || rounds >= 1 << 30 {
            let per_round = (took - first).max(took / 8.0) / as_f64(rounds);
            return Ok(as_rounds(target.as_secs_f64() / per_round));
        }
        rounds *= 2;
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 2^30")]
fn as_f64(rounds: u64) -> f64 {
    rounds as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number that is bounded by the time that it takes"
)]
fn as_rounds(rounds: f64) -> u64 {
    rounds.ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preparation_does_not_count_as_rounds() {
        let milliseconds = |count: f64| count / 1_000.0;
        let run = |rounds| Ok(milliseconds(100.0) + milliseconds(1.0) * as_f64(rounds));
        let rounds = rounds_for(Duration::from_millis(150), run).expect("it runs");
        assert!((16..=300).contains(&rounds), "{rounds}");
        let plain = rounds_for(Duration::from_millis(150), |rounds| {
            Ok(milliseconds(1.0) * as_f64(rounds))
        });
        assert!((140..=160).contains(&plain.expect("it runs")));
    }
}
