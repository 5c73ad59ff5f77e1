//! The standard streams as `wasmtime-wasi` wants to see them, in WASI 0.2 and 0.3.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::wasi::stdio::{FRAME, Input, Output};

/// A component's stdin.
#[derive(Clone)]
pub(super) struct StdinOf(Arc<Input>);

impl StdinOf {
    pub(super) fn new(input: Input) -> Self {
        Self(Arc::new(input))
    }
}

impl IsTerminal for StdinOf {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for StdinOf {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl AsyncRead for StdinOf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_take(cx, buffer.remaining()).map(|bytes| {
            buffer.put_slice(&bytes);
            Ok(())
        })
    }
}

#[async_trait]
impl InputStream for StdinOf {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.0.try_take(size.min(FRAME)) {
            Some(bytes) if bytes.is_empty() && size > 0 => Err(StreamError::Closed),
            bytes => Ok(bytes.unwrap_or_default()),
        }
    }
}

#[async_trait]
impl Pollable for StdinOf {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

/// A component's stdout or stderr.
#[derive(Clone)]
pub(super) struct StdoutOf(pub(super) Output);

impl IsTerminal for StdoutOf {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for StdoutOf {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer {
            output: self.0.clone(),
            waiting: Mutex::new(None),
        })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stream {
            output: self.0.clone(),
            unsent: None,
        })
    }
}

/// Output in WASI 0.3.
struct Writer {
    output: Output,
    /// The wait for room; in a mutex for it cannot be shared, and never locked.
    waiting: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { output, waiting } = &mut *self;
        let waiting = waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(wait) = waiting {
                std::task::ready!(wait.as_mut().poll(cx));
                *waiting = None;
            }
            match output.try_write_some(&[io::IoSlice::new(buffer)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let output = output.clone();
                    *waiting = Some(Box::pin(async move { output.ready().await }));
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Output in WASI 0.2: at most one frame waits here for room.
struct Stream {
    output: Output,
    unsent: Option<Bytes>,
}

impl Stream {
    fn send(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self.output.try_write(bytes) {
            Ok(unsent) => {
                self.unsent = unsent;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(StreamError::Closed),
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

#[async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.unsent.is_some() || bytes.len() > FRAME {
            return Err(StreamError::trap("wrote more than check-write allowed"));
        }
        self.send(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing to hasten; `check-write` tells when what waits is on its way.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if let Some(bytes) = self.unsent.take() {
            self.send(bytes)?;
        }
        Ok(if self.unsent.is_none() { FRAME } else { 0 })
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        while self.unsent.is_some() {
            self.output.ready().await;
            let Some(bytes) = self.unsent.take() else {
                break;
            };
            // An end of the reader is told by the next call.
            if self.send(bytes).is_err() {
                break;
            }
        }
    }
}
