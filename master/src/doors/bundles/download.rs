//! Sending a blob, one chunk read ahead of nobody: the next one is read when the peer has room.

use std::sync::Arc;

use futures::{Stream, stream};
use nesos_api::{MAX_CHUNK_BYTES, v1};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::blocking;
use crate::bundle_store::Blob;

/// Where a download stands.
struct Download {
    blob: Arc<dyn Blob>,
    next: u64,
    first: bool,
    stop: CancellationToken,
}

/// The chunks of a blob from `offset`. There is always one, so that the blob's size is told.
pub(super) fn chunks(
    blob: Arc<dyn Blob>,
    offset: u64,
    stop: CancellationToken,
) -> Result<impl Stream<Item = Result<v1::DownloadChunk, Status>>, Status> {
    if offset > blob.size() {
        return Err(Status::out_of_range(format!(
            "the blob has {} bytes; {offset} is beyond",
            blob.size()
        )));
    }
    let download = Download {
        blob,
        next: offset,
        first: true,
        stop,
    };
    Ok(stream::try_unfold(download, Download::step))
}

impl Download {
    async fn step(mut self) -> Result<Option<(v1::DownloadChunk, Self)>, Status> {
        let total = self.blob.size();
        if self.next == total && !self.first {
            return Ok(None);
        }
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the master is stopping"));
        }
        let data = self.read().await?;
        let chunk = v1::DownloadChunk {
            total: if self.first { total } else { 0 },
            data: data.into(),
        };
        self.next += chunk.data.len() as u64;
        self.first = false;
        Ok(Some((chunk, self)))
    }

    async fn read(&self) -> Result<Vec<u8>, Status> {
        let (blob, at) = (Arc::clone(&self.blob), self.next);
        let left = usize::try_from(blob.size() - at).unwrap_or(usize::MAX);
        let wanted = left.min(MAX_CHUNK_BYTES);
        let data = blocking(move || {
            let mut buffer = vec![0; wanted];
            let read = blob.read_at(at, &mut buffer)?;
            buffer.truncate(read);
            Ok(buffer)
        })
        .await?;
        if data.len() < wanted {
            return Err(Status::data_loss("the blob was cut short on the disk"));
        }
        Ok(data)
    }
}
