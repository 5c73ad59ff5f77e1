//! Pushing a large bundle to the master's registry, against copying the same file and hashing it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nesos_bundle::artifact::{Packed, Parts, pack};
use nesos_bundle::digest_of;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::statistics::percentile;

const BUNDLE_BYTES: usize = 60 << 20;
const ROUNDS: u8 = 7;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "A bundle of {} MiB (a command with a large custom section) is pushed over loopback in HTTP/1.1, \
         each layer in one piece, the manifest last, to a master in a process of its own that flushes what \
         it stores and looks into the module; against a copy of the same file with a flush, and its \
         SHA-256. {ROUNDS} rounds, alternating, each with other bytes; medians.",
        BUNDLE_BYTES >> 20
    ));
    let cluster = Cluster::start("cpus:1;mem:1GiB;disk:1GiB")?;
    let address = cluster.url().trim_start_matches("http://").to_owned();
    let directory = tempfile::tempdir()?;
    let (mut pushes, mut copies) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let packed = bundle(round)?;
        copies.push(copy(directory.path(), &packed)?);
        pushes.push(push(&address, &packed)?);
    }
    let (push, copy) = (percentile(&mut pushes, 50.0), percentile(&mut copies, 50.0));
    report.state("push", push, "ms");
    report.state("copy, flush and SHA-256", copy, "ms");
    report.promise(
        "speed of a push against that",
        copy / push,
        "",
        Bound::AtLeast(0.5),
    );
    let again = resume(&address, &bundle(ROUNDS)?)?;
    report.promise(
        "bytes sent twice after a break",
        again,
        "B",
        Bound::AtMost(0.0),
    );
    Ok(())
}

/// A command of `BUNDLE_BYTES`, most of which it does not need.
fn bundle(seed: u8) -> Result<Packed> {
    let mut wasm = wat::parse_str(r#"(module (func (export "_start")))"#)?;
    let content = (0..BUNDLE_BYTES).map(|at| byte(at % 251) ^ byte((at >> 16) & 0xff) ^ seed);
    let name = [1, b'x'];
    wasm.push(0);
    wasm.extend(leb128(BUNDLE_BYTES + name.len()));
    wasm.extend(name);
    wasm.extend(content);
    let wasm = wasm.into();
    Ok(pack(Parts {
        wasm,
        ..Parts::default()
    })?)
}

/// A number below 256.
fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(byte(number & 0x7f) | 0x80);
        number >>= 7;
    }
    bytes.push(byte(number));
    bytes
}

/// Milliseconds that a copy with a flush and a hash take.
fn copy(directory: &Path, packed: &Packed) -> Result<f64> {
    let (from, to) = (directory.join("from"), directory.join("to"));
    fs::write(&from, &packed.blobs[1].bytes)?;
    File::open(&from)?.sync_all()?;
    let began = Instant::now();
    fs::copy(&from, &to)?;
    File::open(&to)?.sync_all()?;
    let digest = digest_of(&fs::read(&from)?);
    let took = began.elapsed().as_secs_f64() * 1e3;
    ensure!(digest == packed.blobs[1].digest(), "the file has changed");
    fs::remove_file(to)?;
    Ok(took)
}

/// Milliseconds that a push takes.
fn push(address: &str, packed: &Packed) -> Result<f64> {
    let began = Instant::now();
    let mut connection = Connection::open(address)?;
    for blob in &packed.blobs {
        let place = connection.begin()?;
        let path = format!("{place}?digest={}", blob.digest());
        connection.ask("PUT", &path, &blob.bytes)?.expect(201)?;
    }
    let manifest = &packed.manifest.bytes;
    connection
        .ask("PUT", "/v2/bench/push/manifests/latest", manifest)?
        .expect(201)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Breaks an upload off in the middle and goes on; answers how many bytes were sent twice.
fn resume(address: &str, packed: &Packed) -> Result<f64> {
    let blob = &packed.blobs[1];
    let total = blob.bytes.len();
    let place = Connection::open(address)?.begin()?;
    let mut broken = Connection::open(address)?;
    broken.head("PATCH", &place, total)?;
    broken.0.write_all(&blob.bytes[..total / 2])?;
    broken.0.shutdown(Shutdown::Write)?;
    // Whether it is told that it broke off does not matter; what was sent has arrived when it ends.
    let _ = broken.0.read_to_end(&mut Vec::new());
    let mut connection = Connection::open(address)?;
    let status = connection.ask("GET", &place, &[])?.expect(204)?;
    let last = status
        .header("range")
        .and_then(|range| range.split('-').nth(1));
    let received = last.context("no range")?.parse::<usize>()? + 1;
    let path = format!("{place}?digest={}", blob.digest());
    connection
        .ask("PUT", &path, &blob.bytes[received..])?
        .expect(201)?;
    Ok((total / 2 + (total - received) - total) as f64)
}

/// A connection that speaks as much HTTP/1.1 as is needed, so that nothing but the master is measured.
struct Connection(TcpStream);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    fn begin(&mut self) -> Result<String> {
        let begun = self
            .ask("POST", "/v2/bench/push/blobs/uploads/", &[])?
            .expect(202)?;
        Ok(begun.header("location").context("no location")?.to_owned())
    }

    fn head(&mut self, method: &str, path: &str, length: usize) -> Result<()> {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: nesos\r\ncontent-length: {length}\r\n\r\n");
        Ok(self.0.write_all(head.as_bytes())?)
    }

    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.head(method, path, body.len())?;
        self.0.write_all(body)?;
        let mut read = Vec::new();
        let head = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break String::from_utf8(read.drain(..end + 4).collect())?.to_lowercase();
            }
            self.more(&mut read)?;
        };
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let answer = |body| Answer {
            status,
            head: head.clone(),
            body,
        };
        let length = answer(String::new())
            .header("content-length")
            .map_or(Ok(0), str::parse)?;
        while read.len() < length {
            self.more(&mut read)?;
        }
        Ok(answer(String::from_utf8_lossy(&read).into_owned()))
    }

    fn more(&mut self, read: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 4096];
        let more = self.0.read(&mut buffer)?;
        ensure!(more > 0, "the master closed the connection");
        read.extend(&buffer[..more]);
        Ok(())
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn expect(self, status: u16) -> Result<Self> {
        ensure!(
            self.status == status,
            "{} in place of {status}: {}",
            self.status,
            self.body
        );
        Ok(self)
    }
}
