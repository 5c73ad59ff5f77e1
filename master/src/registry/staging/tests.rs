//! Uploads can be interrupted and go on, with one writer at a time.

use super::*;

const BYTES: &[u8] = b"some bytes that are uploaded in pieces";

fn staging() -> (tempfile::TempDir, Staging) {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::open(directory.path().join("uploads")).unwrap();
    (directory, staging)
}

fn name() -> UploadName {
    UploadName::of_digest(nesos_bundle::digest_of(BYTES))
}

#[test]
fn an_interrupted_upload_goes_on_where_it_stopped() {
    let (directory, staging) = staging();
    let mut first = staging.resume(&name(), 0).unwrap();
    first.append(&BYTES[..20]).unwrap();
    drop(first);
    assert_eq!(staging.received(&name()).unwrap(), Some(20));
    let restarted = Staging::open(directory.path().join("uploads")).unwrap();
    for (staging, from) in [(&staging, 20), (&restarted, 20), (&staging, 15)] {
        let mut second = staging.resume(&name(), from).unwrap();
        second
            .append(&BYTES[usize::try_from(from).unwrap()..])
            .unwrap();
        assert_eq!(second.received(), BYTES.len() as u64);
        assert_eq!(second.digest(), nesos_bundle::digest_of(BYTES));
        drop(second);
        drop(staging.resume(&name(), 20).unwrap());
    }
}

#[test]
fn a_remembered_hash_of_a_file_that_has_changed_is_not_used() {
    let (directory, staging) = staging();
    let mut upload = staging.resume(&name(), 0).unwrap();
    upload.append(&BYTES[..20]).unwrap();
    drop(upload);
    let path = directory.path().join("uploads").join(name().as_str());
    fs::write(path, &BYTES[..10]).unwrap();
    let mut upload = staging.resume(&name(), 10).unwrap();
    upload.append(&BYTES[10..]).unwrap();
    assert_eq!(upload.digest(), nesos_bundle::digest_of(BYTES));
}

#[test]
fn an_upload_has_no_gaps_and_one_writer() {
    let (_directory, staging) = staging();
    let name = name();
    assert!(matches!(
        staging.resume(&name, 1),
        Err(BundleStoreError::OffsetBeyond {
            offset: 1,
            received: 0
        })
    ));
    let first = staging.resume(&name, 0).unwrap();
    assert!(matches!(
        staging.resume(&name, 0),
        Err(BundleStoreError::Busy)
    ));
    assert!(matches!(
        staging.resume(&name, 0),
        Err(BundleStoreError::Busy)
    ));
    assert!(staging.resume(&name.beside(1), 0).is_ok());
    drop(first);
    assert!(staging.resume(&name, 0).is_ok());
}

#[test]
fn a_discarded_upload_leaves_nothing() {
    let (directory, staging) = staging();
    let mut upload = staging.resume(&name(), 0).unwrap();
    upload.append(BYTES).unwrap();
    upload.discard().unwrap();
    assert_eq!(
        fs::read_dir(directory.path().join("uploads"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn abandoned_uploads_are_dropped_and_active_ones_are_not() {
    let (_directory, staging) = staging();
    let active = staging.resume(&name(), 0).unwrap();
    drop(staging.resume(&name().beside(1), 0).unwrap());
    staging.drop_abandoned(SystemTime::now());
    assert_eq!(staging.count(), 2);
    staging.drop_abandoned(SystemTime::now() + 2 * ABANDONED_AFTER);
    assert_eq!(staging.count(), 1);
    drop(active);
}

#[test]
fn names_of_uploads_are_safe_file_names() {
    assert!("session-1".parse::<UploadName>().is_ok());
    for bad in ["", "..", "a/b", "A", &"x".repeat(129)] {
        assert!(bad.parse::<UploadName>().is_err(), "{bad}");
    }
    let session = UploadName::session("a/b", 7);
    assert!(session.as_str().parse::<UploadName>().is_ok());
    assert!(session.belongs_to("a/b") && !session.belongs_to("a/c"));
    assert!(!name().belongs_to("a/b"));
}
