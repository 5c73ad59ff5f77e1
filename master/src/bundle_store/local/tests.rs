//! Uploads can be interrupted, are verified, and appear whole or not at all.

use super::*;

const BYTES: &[u8] = b"some bytes that are uploaded in pieces";

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn store() -> (tempfile::TempDir, LocalBundleStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalBundleStore::open(directory.path(), true).unwrap();
    (directory, store)
}

fn contents(store: &LocalBundleStore, digest: Digest, offset: u64) -> Vec<u8> {
    let blob = BundleStore::open(store, digest).unwrap().expect("is there");
    let mut buffer = vec![0; 1000];
    let read = blob.read_at(offset, &mut buffer).unwrap();
    buffer.truncate(read);
    buffer
}

#[test]
fn an_interrupted_upload_goes_on_where_it_stopped() {
    let (_directory, store) = store();
    let digest = digest_of(BYTES);
    let name = UploadName::of_digest(digest);

    let mut first = store.resume(&name, 0).unwrap();
    first.append(&BYTES[..20]).unwrap();
    drop(first);
    assert_eq!(store.uploaded(&name).unwrap(), 20);
    assert_eq!(store.stat(digest).unwrap(), None);

    let mut second = store.resume(&name, 15).unwrap();
    second.append(&BYTES[15..]).unwrap();
    assert_eq!(second.received(), BYTES.len() as u64);
    second.commit(digest).unwrap();
    assert_eq!(store.stat(digest).unwrap(), Some(BYTES.len() as u64));
    assert_eq!(store.uploaded(&name).unwrap(), 0);
    assert_eq!(contents(&store, digest, 0), BYTES);
    assert_eq!(contents(&store, digest, 30), &BYTES[30..]);
    assert_eq!(contents(&store, digest, 1000), b"");
}

#[test]
fn what_has_another_digest_is_dropped() {
    let (_directory, store) = store();
    let (promised, sent) = (digest_of(BYTES), b"something else");
    let name = UploadName::of_digest(promised);
    let mut upload = store.resume(&name, 0).unwrap();
    upload.append(sent).unwrap();
    let error = upload.commit(promised).unwrap_err();
    let BundleStoreError::DigestMismatch { expected, found } = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, found), (promised, digest_of(sent)));
    assert_eq!(store.stat(promised).unwrap(), None);
    assert_eq!(store.uploaded(&name).unwrap(), 0);
}

#[test]
fn an_upload_has_no_gaps_and_one_writer() {
    let (_directory, store) = store();
    let name = UploadName::of_digest(digest_of(BYTES));
    assert!(matches!(
        store.resume(&name, 1),
        Err(BundleStoreError::OffsetBeyond {
            offset: 1,
            received: 0
        })
    ));
    let first = store.resume(&name, 0).unwrap();
    assert!(matches!(
        store.resume(&name, 0),
        Err(BundleStoreError::Busy)
    ));
    assert!(store.resume(&name.beside(1), 0).is_ok());
    drop(first);
    assert!(store.resume(&name, 0).is_ok());
}

#[test]
fn a_discarded_upload_leaves_nothing() {
    let (directory, store) = store();
    let name = UploadName::of_digest(digest_of(BYTES));
    let mut upload = store.resume(&name, 0).unwrap();
    upload.append(BYTES).unwrap();
    upload.discard().unwrap();
    let left = fs::read_dir(directory.path().join("uploads")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn blobs_survive_the_store() {
    let (directory, store) = store();
    let digest = digest_of(BYTES);
    let mut upload = store.resume(&UploadName::of_digest(digest), 0).unwrap();
    upload.append(BYTES).unwrap();
    upload.commit(digest).unwrap();
    drop(store);
    let store = LocalBundleStore::open(directory.path(), true).unwrap();
    assert_eq!(contents(&store, digest, 0), BYTES);
}

#[test]
fn names_of_uploads_are_safe_file_names() {
    assert!("session-1".parse::<UploadName>().is_ok());
    for bad in ["", "..", "a/b", "A", &"x".repeat(129)] {
        assert!(bad.parse::<UploadName>().is_err(), "{bad}");
    }
}
