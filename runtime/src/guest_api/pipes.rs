//! The executor's ends of its children's standard streams, and who pays for what is in between.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamResult,
};

use crate::ledger::Ledger;
use crate::wasi::component::{input_stream, output_stream};
use crate::wasi::pipe::pipe;
use crate::wasi::stdio::{FRAME, Input, Output};
use crate::wasi::{Stdin, Stdout};

/// What a pipe holds at the most: a frame on its way, and one that was taken out and not read yet.
pub(super) const PIPE_BYTES: u64 = 2 * FRAME as u64;

/// Memory that is charged for as long as this lives.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Charge {
    /// Charges `bytes` if they fit.
    pub(super) fn take(ledger: &Arc<Ledger>, bytes: u64) -> Option<Self> {
        ledger.take(bytes).then(|| Self {
            ledger: ledger.clone(),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(self.bytes);
    }
}

/// The executor's ends of one child's pipes, each until it is taken.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<DynOutputStream>,
    pub(super) stdout: Option<DynInputStream>,
    pub(super) stderr: Option<DynInputStream>,
}

/// A pipe into a child: the child's end, and the executor's.
pub(super) fn into_child(ledger: &Arc<Ledger>) -> Option<(Stdin, DynOutputStream)> {
    let charge = Charge::take(ledger, PIPE_BYTES)?;
    let (writer, reader) = pipe();
    let output = Output::new(Stdout::Pipe(writer), Arc::default());
    let stream = output_stream(output);
    let end = Charged { stream, charge };
    Some((Stdin::Pipe(reader), Box::new(end)))
}

/// A pipe out of a child: the child's end, and the executor's.
pub(super) fn out_of_child(ledger: &Arc<Ledger>) -> Option<(Stdout, DynInputStream)> {
    let charge = Charge::take(ledger, PIPE_BYTES)?;
    let (writer, reader) = pipe();
    let stream = input_stream(Input::new(Stdin::Pipe(reader)));
    let end = Charged { stream, charge };
    Some((Stdout::Pipe(writer), Box::new(end)))
}

/// A stream that is paid for.
struct Charged<S> {
    stream: S,
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    charge: Charge,
}

#[async_trait]
impl Pollable for Charged<DynInputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl InputStream for Charged<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.read(size)
    }
}

#[async_trait]
impl Pollable for Charged<DynOutputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl OutputStream for Charged<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }
}
