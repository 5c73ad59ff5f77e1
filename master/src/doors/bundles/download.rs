//! Sending a blob, one chunk read ahead of nobody: the next one is read when the peer has room.

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use nesos_api::{MAX_CHUNK_BYTES, v1};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status_of;
use crate::registry::blobs::Blob;
use crate::registry::objects::Chunks;

/// Where a download stands.
struct Download {
    chunks: Chunks,
    /// What was read and is more than goes into one message.
    left: Bytes,
    total: u64,
    first: bool,
    stop: CancellationToken,
}

/// The chunks of a blob from `offset`. There is always one, so that the blob's size is told.
pub(super) fn chunks(
    blob: Blob,
    offset: u64,
    stop: CancellationToken,
) -> Result<impl Stream<Item = Result<v1::DownloadChunk, Status>>, Status> {
    let total = blob.size;
    if offset > total {
        return Err(Status::out_of_range(format!(
            "the blob has {total} bytes; {offset} is beyond"
        )));
    }
    let download = Download {
        chunks: blob.range(offset..total),
        left: Bytes::new(),
        total,
        first: true,
        stop,
    };
    Ok(stream::try_unfold(download, Download::step))
}

impl Download {
    async fn step(mut self) -> Result<Option<(v1::DownloadChunk, Self)>, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the master is stopping"));
        }
        if self.left.is_empty() {
            let next = self.chunks.try_next().await;
            self.left = next.map_err(|error| status_of(&error))?.unwrap_or_default();
        }
        if self.left.is_empty() && !self.first {
            return Ok(None);
        }
        let data = self.left.split_to(self.left.len().min(MAX_CHUNK_BYTES));
        let total = if self.first { self.total } else { 0 };
        self.first = false;
        Ok(Some((v1::DownloadChunk { total, data }, self)))
    }
}
