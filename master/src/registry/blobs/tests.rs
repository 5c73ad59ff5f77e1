//! Blobs are what they promise, on the disk and in a remote store.

use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::config::BundlesConfig;
use crate::registry::staging::UploadName;

const BYTES: &[u8] = b"some bytes that are stored";

fn digest_of(bytes: &[u8]) -> Digest {
    nesos_bundle::digest_of(bytes)
}

/// A store on the disk, and one that is remote.
fn stores(directory: &std::path::Path) -> [Blobs; 2] {
    let local = Objects::open(directory, true, &BundlesConfig::default()).unwrap();
    let remote = Objects::remote(Arc::new(InMemory::new()));
    let uploads = ["uploads", "more"].map(|name| Staging::open(directory.join(name)).unwrap());
    let [first, second] = uploads;
    [Blobs::new(local, first), Blobs::new(remote, second)]
}

async fn upload(blobs: &Blobs, promised: &[u8], sent: &[u8]) -> Result<(), BundleStoreError> {
    let digest = digest_of(promised);
    let mut upload = blobs.staging.resume(&UploadName::of_digest(digest), 0)?;
    upload.append(sent)?;
    blobs.commit(upload, digest, Purpose::Bare).await
}

async fn range(blobs: &Blobs, range: Range<u64>) -> Result<Vec<u8>, BundleStoreError> {
    let blob = blobs.open(digest_of(BYTES)).await?.expect("is there");
    let pieces: Vec<Bytes> = blob.range(range).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn an_upload_becomes_a_blob() {
    let directory = tempfile::tempdir().unwrap();
    for blobs in stores(directory.path()) {
        assert_eq!(blobs.stat(digest_of(BYTES)).await.unwrap(), None);
        assert!(blobs.open(digest_of(BYTES)).await.unwrap().is_none());
        upload(&blobs, BYTES, BYTES).await.unwrap();
        upload(&blobs, BYTES, BYTES).await.expect("once more");
        assert_eq!(blobs.staging.count(), 0, "nothing is left behind");
        assert_eq!(
            blobs.stat(digest_of(BYTES)).await.unwrap(),
            Some(BYTES.len() as u64)
        );
        assert_eq!(range(&blobs, 0..BYTES.len() as u64).await.unwrap(), BYTES);
        assert_eq!(range(&blobs, 5..9).await.unwrap(), BYTES[5..9]);
        assert_eq!(range(&blobs, 9..9).await.unwrap(), b"");
        assert_eq!(blobs.list().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_has_another_digest_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    for blobs in stores(directory.path()) {
        let error = upload(&blobs, BYTES, b"something else").await.unwrap_err();
        let BundleStoreError::DigestMismatch { expected, found } = error else {
            panic!("{error:?}");
        };
        let (promised, sent) = (digest_of(BYTES), digest_of(b"something else"));
        assert_eq!((expected, found), (promised, sent));
        assert_eq!(blobs.stat(promised).await.unwrap(), None);
        assert_eq!(blobs.staging.count(), 0);
    }
}

#[tokio::test]
async fn a_damaged_blob_is_never_read_to_its_end_and_healed_by_a_push() {
    let directory = tempfile::tempdir().unwrap();
    for blobs in stores(directory.path()) {
        for (damage, wanted) in [
            (&b"some bytes that are rotten"[..], 0..26),
            (b"some", 0..4),
            (b"some bytes that are rotten", 0..4),
        ] {
            upload(&blobs, BYTES, BYTES).await.unwrap();
            let rotten = Bytes::copy_from_slice(damage);
            blobs
                .objects
                .put(&key(digest_of(BYTES)), rotten)
                .await
                .unwrap();
            let error = range(&blobs, wanted).await.unwrap_err();
            assert!(
                matches!(error, BundleStoreError::Damaged { .. }),
                "{error:?}"
            );
            assert_eq!(
                blobs.stat(digest_of(BYTES)).await.unwrap(),
                None,
                "put aside"
            );
        }
        upload(&blobs, BYTES, BYTES).await.unwrap();
        assert_eq!(range(&blobs, 0..26).await.unwrap(), BYTES);
        let aside = async || blobs.objects.list(DAMAGED).await.unwrap().len();
        blobs.drop_damaged(SystemTime::UNIX_EPOCH).await.unwrap();
        assert_eq!(aside().await, 1, "it may yet be looked at");
        let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3600);
        blobs.drop_damaged(tomorrow).await.unwrap();
        assert_eq!(aside().await, 0);
    }
}

#[tokio::test]
async fn blobs_of_earlier_releases_are_found_and_bare() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sha256");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(digest_of(BYTES).hex()), BYTES).unwrap();
    let [blobs, _] = stores(directory.path());
    assert_eq!(blobs.read(digest_of(BYTES)).await.unwrap().unwrap(), BYTES);
    assert!(blobs.marked().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_fails_says_so_and_keeps_the_upload_or_the_blob() {
    let directory = tempfile::tempdir().unwrap();
    let [blobs, _] = stores(directory.path());
    let folder = directory.path().join("sha256");
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, b"a file in the way").unwrap();
    assert!(upload(&blobs, BYTES, BYTES).await.is_err());
    assert_eq!(blobs.staging.count(), 1, "nothing is lost");
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    upload(&blobs, BYTES, BYTES).await.unwrap();
}
