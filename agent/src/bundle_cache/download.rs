//! One download: resumed where it broke off, verified, and only then given its name.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::{BlobSource, FetchError, Place, SourceError};

/// How often a source may break off without giving a single byte before it is given up.
const FRUITLESS_ATTEMPTS: u32 = 5;

/// The pause before the second attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Brings a blob to `path`; answers its size.
pub(super) async fn download(
    source: &dyn BlobSource,
    place: &Place,
    digest: Digest,
    path: &Path,
    max_bytes: u64,
) -> Result<u64, FetchError> {
    let part = path.with_extension("part");
    let disk = |source| FetchError::Disk {
        digest,
        source: Arc::new(source),
    };
    let result = async {
        let mut download = Download {
            place: place.clone(),
            digest,
            file: File::create(&part).await.map_err(disk)?,
            hash: Sha256::new(),
            bytes: 0,
            max_bytes,
        };
        download.run(source).await?;
        download.verify()?;
        // The file writes behind: only a flush says that a write failed.
        download.file.flush().await.map_err(disk)?;
        download.file.sync_all().await.map_err(disk)?;
        tokio::fs::rename(&part, path).await.map_err(disk)?;
        Ok(download.bytes)
    };
    let result = result.await;
    if result.is_err() {
        // What cannot be removed now is when the cache is next opened.
        let _ = tokio::fs::remove_file(&part).await;
    }
    result
}

struct Download {
    place: Place,
    digest: Digest,
    file: File,
    hash: Sha256,
    bytes: u64,
    max_bytes: u64,
}

/// Why one attempt ended early.
enum Interrupted {
    Source(SourceError),
    Final(FetchError),
}

impl Download {
    /// Attempts until all is there, as long as attempts bear fruit.
    async fn run(&mut self, source: &dyn BlobSource) -> Result<(), FetchError> {
        let mut fruitless = 0;
        loop {
            let before = self.bytes;
            let why = match self.attempt(source).await {
                Ok(()) => return Ok(()),
                Err(Interrupted::Final(error)) => return Err(error),
                Err(Interrupted::Source(SourceError::Unknown)) => {
                    let (digest, place) = (self.digest, self.place.clone());
                    return Err(FetchError::Unknown { digest, place });
                }
                Err(Interrupted::Source(SourceError::Refused(why))) => {
                    let digest = self.digest;
                    return Err(FetchError::Source { digest, why });
                }
                Err(Interrupted::Source(SourceError::Broken(why))) => why,
            };
            fruitless = if self.bytes > before {
                0
            } else {
                fruitless + 1
            };
            if fruitless == FRUITLESS_ATTEMPTS {
                let digest = self.digest;
                return Err(FetchError::Source { digest, why });
            }
            tracing::info!(digest = %self.digest, at = self.bytes, why, "a download is resumed");
            tokio::time::sleep(FIRST_PAUSE * 2u32.pow(fruitless)).await;
        }
    }

    async fn attempt(&mut self, source: &dyn BlobSource) -> Result<(), Interrupted> {
        let opened = source.open(&self.place, self.digest, self.bytes).await;
        let mut blob = opened.map_err(Interrupted::Source)?;
        if blob.total > self.max_bytes {
            return Err(Interrupted::Final(FetchError::TooLarge {
                digest: self.digest,
                bytes: blob.total,
                limit: self.max_bytes,
            }));
        }
        while self.bytes < blob.total {
            let Some(chunk) = blob.chunks.next().await else {
                let why = format!("broke off after {} of {} bytes", self.bytes, blob.total);
                return Err(Interrupted::Source(SourceError::Broken(why)));
            };
            let chunk = chunk.map_err(Interrupted::Source)?;
            self.write(&chunk).await.map_err(|source| {
                Interrupted::Final(FetchError::Disk {
                    digest: self.digest,
                    source: Arc::new(source),
                })
            })?;
        }
        Ok(())
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk).await?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), FetchError> {
        let actual = Digest(self.hash.finalize_reset().into());
        if actual == self.digest {
            return Ok(());
        }
        Err(FetchError::DigestMismatch {
            expected: self.digest,
            actual,
        })
    }
}
