//! From a request's body to the disk: while one batch is written and hashed, the next one comes in.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::registry::error::{BundleStoreError, RegistryError};
use crate::registry::staging::Upload;

/// How much is gathered before it is written.
const BATCH_BYTES: usize = 1 << 20;

type Writing = JoinHandle<Result<Upload, BundleStoreError>>;

/// Takes a body to its end. What arrived of one that breaks off is kept.
pub(super) async fn receive(
    upload: Upload,
    mut body: Body,
    most: u64,
    stop: &CancellationToken,
) -> Result<Upload, RegistryError> {
    let mut received = upload.received();
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

fn write(mut upload: Upload, batch: Vec<Bytes>) -> Writing {
    tokio::task::spawn_blocking(move || {
        for piece in batch {
            upload.append(&piece)?;
        }
        Ok(upload)
    })
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
