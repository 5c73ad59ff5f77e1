//! It is a store as any other, and what cannot be trusted is refused.

use std::fs;

use super::*;
use crate::store::suite::{self, Place, subscribed};

/// A file in a directory that goes with the test.
struct File(tempfile::TempDir);

impl Place for File {
    type Store = RedbStore;

    fn open(&mut self) -> RedbStore {
        RedbStore::open(&self.0.path().join("registry.redb")).unwrap()
    }
}

#[test]
fn it_is_a_store() {
    suite::all(|| File(tempfile::tempdir().unwrap()));
}

fn committed(path: &Path, batches: &[&[Record]]) -> RedbStore {
    let mut store = RedbStore::open(path).unwrap();
    for batch in batches {
        store.commit(&batch.iter().cloned().collect()).unwrap();
    }
    store
}

#[test]
fn two_masters_cannot_share_a_registry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let _first = committed(&path, &[]);
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_no_registry_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    fs::write(&path, b"this is not a registry".repeat(1000)).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("registry.redb"));
}

/// Whatever part of the file is damaged: what was committed is found whole, or damage is reported.
#[test]
fn a_damaged_registry_is_never_half_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let records: Vec<_> = (0..200).map(|n| subscribed(n, "some name")).collect();
    drop(committed(&path, &[&records]));
    let whole = fs::read(&path).unwrap();
    let mut damaged = 0;
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for at in (0..used).step_by(used / 24) {
        let mut bytes = whole.clone();
        bytes[at..(at + 64).min(used)].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        match RedbStore::open(&path).and_then(|mut store| store.load()) {
            Ok(loaded) => assert_eq!(loaded, records, "damaged at {at}"),
            Err(StoreError::Corrupt { .. }) => damaged += 1,
            Err(other) => panic!("damaged at {at}: {other:?}"),
        }
    }
    assert!(damaged > 0);
}

#[test]
fn a_registry_that_was_cut_short_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    drop(committed(&path, &[&[subscribed(1, "a")]]));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(5000).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn an_unreadable_record_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let mut store = committed(&path, &[]);
    store
        .write_all(&[("fw-x".to_owned(), Some(b"{}".to_vec()))])
        .unwrap();
    let error = store.load().unwrap_err();
    assert!(error.to_string().contains("fw-x"), "{error}");
}

#[test]
fn a_registry_from_the_future_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let store = committed(&path, &[]);
    let transaction = store.database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert(FORMAT_KEY, FORMAT + 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(store);
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { .. }), "{error:?}");
}
