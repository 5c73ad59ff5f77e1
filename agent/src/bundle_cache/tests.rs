use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A source that breaks off after so many bytes each time.
struct Flaky {
    blob: &'static [u8],
    bytes_per_attempt: usize,
    opened: AtomicU32,
}

impl Flaky {
    fn new(blob: &'static [u8], bytes_per_attempt: usize) -> Arc<Self> {
        Arc::new(Self {
            blob,
            bytes_per_attempt,
            opened: AtomicU32::new(0),
        })
    }
}

#[tonic::async_trait]
impl BlobSource for Flaky {
    async fn open(&self, _: &Place, _: Digest, offset: u64) -> Result<Blob, SourceError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let offset = usize::try_from(offset).expect("small");
        let end = self.blob.len().min(offset + self.bytes_per_attempt);
        let chunk = Ok(Bytes::from_static(&self.blob[offset..end]));
        let broken = (end < self.blob.len()).then(|| Err(SourceError::Broken("gone".to_owned())));
        Ok(Blob {
            total: self.blob.len() as u64,
            chunks: Box::pin(futures::stream::iter([chunk].into_iter().chain(broken))),
        })
    }
}

struct Nobody;

#[tonic::async_trait]
impl BlobSource for Nobody {
    async fn open(&self, _: &Place, _: Digest, _: u64) -> Result<Blob, SourceError> {
        Err(SourceError::Unknown)
    }
}

const BLOB: &[u8] = b"0123456789";

fn digest_of(bytes: &[u8]) -> Digest {
    nesos_bundle::digest_of(bytes)
}

fn cache(max_bytes: u64, source: Arc<dyn BlobSource>) -> (tempfile::TempDir, BundleCache) {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = BundleCache::open(directory.path().to_owned(), max_bytes, source).expect("opens");
    (directory, cache)
}

fn files(directory: &tempfile::TempDir) -> usize {
    std::fs::read_dir(directory).expect("readable").count()
}

#[tokio::test(start_paused = true)]
async fn a_download_that_breaks_off_is_resumed() {
    let source = Flaky::new(BLOB, 3);
    let (_directory, cache) = cache(100, source.clone());
    let held = cache
        .fetch(&Place::Bare, digest_of(BLOB))
        .await
        .expect("arrives");
    assert_eq!(std::fs::read(held.path()).expect("readable"), BLOB);
    assert_eq!(source.opened.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gives_nothing_is_given_up() {
    let (directory, cache) = cache(100, Flaky::new(BLOB, 0));
    let error = cache
        .fetch(&Place::Bare, digest_of(BLOB))
        .await
        .expect_err("fails");
    assert!(matches!(error, FetchError::Source { .. }), "{error}");
    assert_eq!(error.reason(), TaskReason::FetchFailed);
    assert_eq!(files(&directory), 0);
}

#[tokio::test]
async fn other_bytes_than_promised_are_refused_and_not_kept() {
    let (directory, cache) = cache(100, Flaky::new(BLOB, 100));
    let error = cache
        .fetch(&Place::Bare, digest_of(b"else"))
        .await
        .expect_err("fails");
    assert_eq!(error.reason(), TaskReason::DigestMismatch);
    assert_eq!(files(&directory), 0);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_kept() {
    let (directory, cache) = cache(100, Flaky::new(BLOB, 100));
    let part = directory
        .path()
        .join(digest_of(BLOB).hex())
        .with_extension("part");
    std::os::unix::fs::symlink("/dev/full", part).expect("a link");
    let error = cache
        .fetch(&Place::Bare, digest_of(BLOB))
        .await
        .expect_err("fails");
    assert!(matches!(error, FetchError::Disk { .. }), "{error}");
    assert_eq!(files(&directory), 0);
}

#[tokio::test]
async fn a_bundle_that_nobody_has_is_not_asked_for_again() {
    let (_directory, cache) = cache(100, Arc::new(Nobody));
    let error = cache
        .fetch(&Place::Bare, digest_of(BLOB))
        .await
        .expect_err("fails");
    assert!(matches!(error, FetchError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn a_bundle_larger_than_the_cache_is_refused() {
    let (_directory, cache) = cache(9, Flaky::new(BLOB, 100));
    let error = cache
        .fetch(&Place::Bare, digest_of(BLOB))
        .await
        .expect_err("fails");
    assert!(
        matches!(error, FetchError::TooLarge { bytes: 10, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn those_who_want_the_same_bundle_share_its_download() {
    let source = Flaky::new(BLOB, 100);
    let (directory, cache) = cache(100, source.clone());
    let digest = digest_of(BLOB);
    let (first, second) = tokio::join!(
        cache.fetch(&Place::Bare, digest),
        cache.fetch(&Place::Bare, digest)
    );
    assert!(first.is_ok() && second.is_ok());
    let again = BundleCache::open(directory.path().to_owned(), 100, source.clone());
    again
        .expect("opens")
        .fetch(&Place::Bare, digest)
        .await
        .expect("is there");
    assert_eq!(source.opened.load(Ordering::Relaxed), 1);
}
