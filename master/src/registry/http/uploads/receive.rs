//! From a request's body to the disk: while one batch is written and hashed, the next one comes in, and what was
//! written before goes to the disk itself, so that little is left to flush in the end.

use std::fs::File;
use std::io;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::registry::error::{BundleStoreError, RegistryError};
use crate::registry::staging::Upload;

/// How much is gathered before it is written.
const BATCH_BYTES: usize = 1 << 20;
/// How much is written before it is sent to the disk.
const FLUSH_BYTES: u64 = 8 << 20;

type Writing = JoinHandle<Result<Upload, BundleStoreError>>;

/// Takes a body to its end. What arrived of one that breaks off is kept.
pub(super) async fn receive(
    upload: Upload,
    mut body: Body,
    most: u64,
    stop: &CancellationToken,
    flush: bool,
) -> Result<Upload, RegistryError> {
    let mut received = upload.received();
    let mut flusher = Flusher::new(&upload, flush);
    let mut writing = write(upload, Vec::new());
    loop {
        let (batch, end) = gather(&mut body, stop).await;
        received += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let upload = writing.await??;
        if received > most {
            tokio::task::spawn_blocking(move || upload.discard()).await??;
            let (what, bytes) = ("the blob", received);
            return Err(RegistryError::TooLarge { what, bytes, most });
        }
        let mut flushed = flusher.written(upload.received()).await;
        if !matches!(end, End::NotYet) && flushed.is_ok() {
            flushed = flusher.wait().await;
        }
        if let Err(error) = flushed {
            return Err(lost(upload, error).await);
        }
        writing = write(upload, batch);
        match end {
            End::NotYet => {}
            End::Whole => return Ok(writing.await??),
            End::BrokenOff => {
                writing.await??;
                return Err(RegistryError::BrokenOff(received));
            }
        }
    }
}

/// The disk has lost some of what was written: nobody can go on with it.
async fn lost(upload: Upload, error: io::Error) -> RegistryError {
    let error = upload.io_error("flush", error);
    match tokio::task::spawn_blocking(move || upload.discard()).await {
        Ok(Ok(())) => error.into(),
        Ok(Err(error)) => error.into(),
        Err(lost) => lost.into(),
    }
}

fn write(mut upload: Upload, batch: Vec<Bytes>) -> Writing {
    tokio::task::spawn_blocking(move || {
        for piece in batch {
            upload.append(&piece)?;
        }
        Ok(upload)
    })
}

/// Sends to the disk what was written, a piece at a time. A disk that fails says so once, to whoever asks first: so
/// each answer is heard.
#[derive(Default)]
struct Flusher {
    file: Option<File>,
    flushing: Option<JoinHandle<io::Result<File>>>,
    /// How much was written when that was begun last.
    at: u64,
}

impl Flusher {
    /// One that has nothing to do if nothing is to be flushed.
    fn new(upload: &Upload, flush: bool) -> Self {
        Self {
            file: flush.then(|| upload.file()).flatten(),
            ..Self::default()
        }
    }

    /// So much is written by now.
    async fn written(&mut self, bytes: u64) -> io::Result<()> {
        if self.flushing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.wait().await?;
        }
        if bytes.saturating_sub(self.at) < FLUSH_BYTES {
            return Ok(());
        }
        if let Some(file) = self.file.take() {
            self.at = bytes;
            self.flushing = Some(tokio::task::spawn_blocking(move || {
                file.sync_data()?;
                Ok(file)
            }));
        }
        Ok(())
    }

    /// Waits for what is under way.
    async fn wait(&mut self) -> io::Result<()> {
        if let Some(flushing) = self.flushing.take() {
            self.file = Some(flushing.await.map_err(io::Error::other)??);
        }
        Ok(())
    }
}

/// How the gathering of a batch ended.
enum End {
    NotYet,
    Whole,
    BrokenOff,
}

async fn gather(body: &mut Body, stop: &CancellationToken) -> (Vec<Bytes>, End) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES {
        let frame = match stop.run_until_cancelled(body.frame()).await {
            Some(Some(Ok(frame))) => frame,
            Some(None) => return (batch, End::Whole),
            Some(Some(Err(_))) | None => return (batch, End::BrokenOff),
        };
        if let Ok(piece) = frame.into_data() {
            bytes += piece.len();
            batch.push(piece);
        }
    }
    (batch, End::NotYet)
}
