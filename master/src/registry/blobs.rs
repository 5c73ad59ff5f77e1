//! Blobs, addressed by the SHA-256 digest of what they contain: `sha256/<hex>`.
//!
//! An upload becomes a blob only when its bytes have the digest that was promised. What is read is hashed
//! on its way, the last piece is held back until the hash is right, and a blob that is damaged is put
//! aside: a reader sees an answer that breaks off, never a wrong one that ends, and whoever pushes the blob
//! again heals it.
//!
//! A blob that was pushed as part of an artifact has a mark, `layers/<hex>`. One without is a bare bundle,
//! which nothing but its digest names and which is kept longer for that.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use dashmap::DashMap;
use futures::{StreamExt, TryStreamExt, stream};
use nesos_types::bundle::Digest;
use sha2::{Digest as _, Sha256};

use super::error::BundleStoreError;
use super::objects::{Chunks, Meta, Objects, blocking};
use super::staging::{Staging, Upload};

/// What a blob is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An artifact.
    Layer,
    /// Nothing: a bundle of its own.
    Bare,
}

/// What damaged blobs are below that were put aside.
const DAMAGED: &str = "damaged";

/// A content-addressed store of blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    pub(super) objects: Objects,
    pub(crate) staging: Staging,
    /// When blobs were last asked for in this process.
    used: Arc<DashMap<Digest, SystemTime>>,
}

/// A blob that is open for reading.
pub(crate) struct Blob {
    /// Its size.
    pub(crate) size: u64,
    digest: Digest,
    chunks: Chunks,
    blobs: Blobs,
}

impl Blobs {
    pub(crate) fn new(objects: Objects, staging: Staging) -> Self {
        Self {
            objects,
            staging,
            used: Arc::default(),
        }
    }

    /// The size of a blob, if it is there. Whoever asks is about to use it.
    pub(crate) async fn stat(&self, digest: Digest) -> Result<Option<u64>, BundleStoreError> {
        let meta = self.objects.stat(&key(digest)).await?;
        if meta.is_some() {
            self.use_of(digest).await;
        }
        Ok(meta.map(|meta| meta.size))
    }

    /// Opens a blob, if it is there.
    pub(crate) async fn open(&self, digest: Digest) -> Result<Option<Blob>, BundleStoreError> {
        let Some((size, chunks)) = self.objects.read(&key(digest)).await? else {
            return Ok(None);
        };
        self.use_of(digest).await;
        Ok(Some(Blob {
            size,
            digest,
            chunks,
            blobs: self.clone(),
        }))
    }

    /// All of a blob, if it is there.
    pub(crate) async fn read(&self, digest: Digest) -> Result<Option<Bytes>, BundleStoreError> {
        let Some(bytes) = self.objects.read_all(&key(digest)).await? else {
            return Ok(None);
        };
        self.use_of(digest).await;
        let (bytes, found) = blocking(move || {
            let found = nesos_bundle::digest_of(&bytes);
            Ok((bytes, found))
        })
        .await?;
        if found == digest {
            return Ok(Some(bytes));
        }
        Err(self.damaged(digest, bytes.len() as u64, found).await)
    }

    /// Makes the upload a blob if it has this digest; otherwise drops what was received.
    pub(crate) async fn commit(
        &self,
        mut upload: Upload,
        expected: Digest,
        purpose: Purpose,
    ) -> Result<(), BundleStoreError> {
        let found = upload.digest();
        if found != expected {
            blocking(move || upload.discard()).await?;
            return Err(BundleStoreError::DigestMismatch { expected, found });
        }
        self.mark(expected, purpose).await?;
        self.objects.adopt(upload.finish(), &key(expected)).await?;
        self.use_of(expected).await;
        tracing::debug!(digest = %expected, bytes = upload.received(), "stored a blob");
        Ok(())
    }

    /// Stores a small blob.
    pub(crate) async fn put(&self, bytes: Bytes) -> Result<Digest, BundleStoreError> {
        let digest = nesos_bundle::digest_of(&bytes);
        self.mark(digest, Purpose::Layer).await?;
        self.objects.put(&key(digest), bytes).await?;
        self.use_of(digest).await;
        Ok(digest)
    }

    /// Remembers what a blob is for. What is bare once stays so.
    pub(crate) async fn mark(
        &self,
        digest: Digest,
        purpose: Purpose,
    ) -> Result<(), BundleStoreError> {
        let mark = mark_of(digest);
        match purpose {
            Purpose::Bare => self.objects.delete(&mark).await,
            Purpose::Layer if self.objects.stat(&key(digest)).await?.is_some() => Ok(()),
            // Without its mark a blob is kept longer, and nothing else is lost.
            Purpose::Layer => self.objects.put_hastily(&mark, Bytes::new()).await,
        }
    }

    /// Removes a blob for good.
    pub(crate) async fn remove(&self, digest: Digest) -> Result<(), BundleStoreError> {
        self.objects.delete(&key(digest)).await?;
        self.used.remove(&digest);
        self.objects.delete(&mark_of(digest)).await
    }

    /// Removes what was put aside as damaged before this moment.
    pub(crate) async fn drop_damaged(&self, before: SystemTime) -> Result<(), BundleStoreError> {
        for (key, meta) in self.objects.list(DAMAGED).await? {
            if meta.modified < before {
                self.objects.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// All blobs.
    pub(crate) async fn list(&self) -> Result<Vec<(Digest, Meta)>, BundleStoreError> {
        self.digests_below("sha256").await
    }

    /// Blobs that were pushed as part of an artifact.
    pub(crate) async fn marked(&self) -> Result<Vec<(Digest, Meta)>, BundleStoreError> {
        self.digests_below("layers").await
    }

    async fn digests_below(&self, key: &str) -> Result<Vec<(Digest, Meta)>, BundleStoreError> {
        let all = self.objects.list(key).await?;
        let digest = |key: &str| format!("sha256:{}", key.rsplit('/').next()?).parse().ok();
        let named = all.into_iter();
        Ok(named
            .filter_map(|(key, meta)| Some((digest(&key)?, meta)))
            .collect())
    }

    /// When a blob was last used, as far as this process knows.
    pub(crate) fn last_used(&self, digest: Digest) -> Option<SystemTime> {
        self.used.get(&digest).map(|at| *at)
    }

    async fn use_of(&self, digest: Digest) {
        self.used.insert(digest, SystemTime::now());
        self.objects.touch(&key(digest)).await;
    }

    /// Makes room for a good copy, and keeps the bad one to be looked at.
    async fn damaged(&self, digest: Digest, size: u64, found: Digest) -> BundleStoreError {
        let found = format!("its {size} bytes have the digest {found}");
        tracing::error!(%digest, found, "a stored blob is damaged; it is put aside");
        let aside = format!("{DAMAGED}/{}", digest.hex());
        if let Err(error) = self.objects.rename(&key(digest), &aside).await {
            return error;
        }
        BundleStoreError::Damaged { digest, found }
    }
}

impl Blob {
    /// All bytes.
    pub(crate) fn whole(self) -> Chunks {
        let all = 0..self.size;
        self.range(all)
    }

    /// Some of the bytes. All are read and hashed nevertheless.
    pub(crate) fn range(self, wanted: Range<u64>) -> Chunks {
        let reading = Reading {
            blob: self,
            wanted,
            hasher: Sha256::new(),
            at: 0,
            held: None,
            over: false,
        };
        stream::try_unfold(reading, Reading::step).boxed()
    }
}

/// Where a reader stands.
struct Reading {
    blob: Blob,
    wanted: Range<u64>,
    hasher: Sha256,
    at: u64,
    /// The latest piece, which is not given away before more was read or the hash was right.
    held: Option<Bytes>,
    over: bool,
}

impl Reading {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, BundleStoreError> {
        if self.over {
            return Ok(None);
        }
        while let Some(chunk) = self.blob.chunks.try_next().await? {
            if let Some(piece) = self.take(&chunk) {
                return Ok(Some((piece, self)));
            }
        }
        self.verify().await?;
        self.over = true;
        Ok(self.held.take().map(|piece| (piece, self)))
    }

    /// Hashes a chunk; answers what can be given away now.
    fn take(&mut self, chunk: &Bytes) -> Option<Bytes> {
        self.hasher.update(chunk);
        let (begin, end) = (self.at, self.at + chunk.len() as u64);
        self.at = end;
        let within = |at: u64| usize::try_from(at.clamp(begin, end) - begin).unwrap_or_default();
        let piece = chunk.slice(within(self.wanted.start)..within(self.wanted.end));
        if piece.is_empty() {
            return None;
        }
        self.held.replace(piece)
    }

    async fn verify(&mut self) -> Result<(), BundleStoreError> {
        let found = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if found == self.blob.digest {
            return Ok(());
        }
        let blob = &self.blob;
        Err(blob.blobs.damaged(blob.digest, self.at, found).await)
    }
}

fn key(digest: Digest) -> String {
    format!("sha256/{}", digest.hex())
}

fn mark_of(digest: Digest) -> String {
    format!("layers/{}", digest.hex())
}

#[cfg(test)]
mod tests;
