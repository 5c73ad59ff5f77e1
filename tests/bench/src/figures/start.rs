//! From a launch inside a cell to the guest's first instruction.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nesos_artifacts::wasip2;
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
         before the launch. Begins on a thread that is no guest thread, and so includes waking one. The \
         component is a Rust program, whose standard library starts before its first own instruction."
    ));
    let cell = Cell::start()?;
    let wasm = tempfile::Builder::new().suffix(".wasm").tempfile()?;
    std::fs::write(wasm.path(), wat::parse_str(FIRST_ACT)?)?;
    let image = cell.compile(wasm.path(), Metering::Clock)?;
    measure(&cell, &image, &[], in_eight_bytes, "", 80.0, report)?;
    let component = Path::new(wasip2::SEARCH);
    let kilobytes = std::fs::metadata(component)?.len() / 1000;
    let image = cell.compile(component, Metering::Clock)?;
    let what = format!("component of {kilobytes} kB: ");
    measure(&cell, &image, &["--when"], in_digits, &what, 120.0, report)
}

/// How a guest's output says when its first instructions ran, in nanoseconds since 1970.
type Read = fn(&[u8]) -> Result<u64>;

fn in_eight_bytes(output: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(output.try_into()?))
}

fn in_digits(output: &[u8]) -> Result<u64> {
    Ok(std::str::from_utf8(output)?.parse()?)
}

fn measure(
    cell: &Cell,
    image: &Image,
    args: &[&str],
    read: Read,
    what: &str,
    bound: f64,
    report: &mut Report,
) -> Result<()> {
    let mut to_first_act = Vec::with_capacity(SAMPLES);
    let mut to_exit = Vec::with_capacity(SAMPLES);
    for sample in 0..WARM_UP + SAMPLES {
        let times = launch_once(cell, image, args, read)?;
        if sample >= WARM_UP {
            to_first_act.push(microseconds(times.to_first_act));
            to_exit.push(microseconds(times.to_exit));
        }
    }
    let p50 = percentile(&mut to_first_act, 50.0);
    let first = format!("{what}launch to first instruction");
    report.promise(format!("{first}, p50"), p50, "µs", Bound::AtMost(bound));
    let p99 = percentile(&mut to_first_act, 99.0);
    report.state(format!("{first}, p99"), p99, "µs");
    for percent in [50.0, 99.0] {
        let told = percentile(&mut to_exit, percent);
        report.state(
            format!("{what}launch to exit told, p{percent:.0}"),
            told,
            "µs",
        );
    }
    Ok(())
}

struct Times {
    to_first_act: Duration,
    to_exit: Duration,
}

fn launch_once(cell: &Cell, image: &Image, args: &[&str], read: Read) -> Result<Times> {
    let (sender, mut output) = tokio::sync::mpsc::channel(1);
    let spec = cell.spec(
        image,
        Launch {
            args: args.iter().map(ToString::to_string).collect(),
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
    let first_act = UNIX_EPOCH + Duration::from_nanos(read(&printed)?);
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
