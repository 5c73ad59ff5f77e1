//! From a launch inside a cell to the guest's first instruction.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nesos_runtime::Stdout;
use nesos_types::limits::Metering;

use crate::Options;
use crate::cell::{Cell, Image, Launch};
use crate::figure::{Bound, Report};
use crate::statistics::percentile;

/// Its first act is to read the clock; then it prints what it read.
const FIRST_ACT: &str = include_str!("start/first_act.wat");

const SAMPLES: usize = 3_000;
const WARM_UP: usize = 200;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{SAMPLES} launches one after another in a warm runtime as a cell has it. The guest's first \
         instructions read the wall clock and its output is what it read: that, less the wall clock just \
         before the launch. Begins on a thread that is no guest thread, and so includes waking one."
    ));
    let cell = Cell::start()?;
    let wasm = tempfile::Builder::new().suffix(".wasm").tempfile()?;
    std::fs::write(wasm.path(), wat::parse_str(FIRST_ACT)?)?;
    let image = cell.compile(wasm.path(), Metering::Clock)?;
    let mut to_first_act = Vec::with_capacity(SAMPLES);
    let mut to_exit = Vec::with_capacity(SAMPLES);
    for sample in 0..WARM_UP + SAMPLES {
        let times = launch_once(&cell, &image)?;
        if sample >= WARM_UP {
            to_first_act.push(microseconds(times.to_first_act));
            to_exit.push(microseconds(times.to_exit));
        }
    }
    report.promise(
        "launch to first instruction, p50",
        percentile(&mut to_first_act, 50.0),
        "µs",
        Bound::AtMost(80.0),
    );
    report.state(
        "launch to first instruction, p99",
        percentile(&mut to_first_act, 99.0),
        "µs",
    );
    report.state(
        "launch to exit told, p50",
        percentile(&mut to_exit, 50.0),
        "µs",
    );
    report.state(
        "launch to exit told, p99",
        percentile(&mut to_exit, 99.0),
        "µs",
    );
    Ok(())
}

struct Times {
    to_first_act: Duration,
    to_exit: Duration,
}

fn launch_once(cell: &Cell, image: &Image) -> Result<Times> {
    let (sender, mut output) = tokio::sync::mpsc::channel(1);
    let spec = cell.spec(
        image,
        Launch {
            stdout: Stdout::Attached(sender),
            ..Launch::default()
        },
    )?;
    let launched = Instant::now();
    let launched_at = SystemTime::now();
    let guest = cell.launch(spec);
    guest.finish()?;
    let to_exit = launched.elapsed();
    let printed = output.blocking_recv().context("the guest prints")?;
    let read = u64::from_le_bytes(printed.as_ref().try_into()?);
    let first_act = UNIX_EPOCH + Duration::from_nanos(read);
    Ok(Times {
        to_first_act: first_act
            .duration_since(launched_at)
            .context("the wall clock was set back")?,
        to_exit,
    })
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
