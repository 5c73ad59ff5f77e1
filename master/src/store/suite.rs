//! What holds of every store.

use nesos_master_core::{Record, Subject};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::time::Time;

use super::Store;
use super::batch::Batch;

/// Where the same registry is opened again and again, one store at a time.
pub(crate) trait Place {
    type Store: Store;

    /// Opens it, after whatever was opened before was dropped.
    fn open(&mut self) -> Self::Store;
}

pub(crate) fn subscribed(id: u128, name: &str) -> Record {
    Record::FrameworkSubscribed {
        framework: FrameworkId(id),
        info: FrameworkInfo::new(name, []).into(),
        since: Time::from_micros(7),
    }
}

fn forgotten(id: u128) -> Record {
    Record::Forgotten(Subject::Framework(FrameworkId(id)))
}

/// All of it, each on a registry of its own.
pub(crate) fn all<P: Place>(mut place: impl FnMut() -> P) {
    a_new_registry_is_empty(place());
    the_newest_record_of_each_subject_survives(place());
    one_batch_may_say_something_of_a_subject_twice(place());
    a_batch_of_any_size_survives_whole(place());
    the_fence_of_a_store_that_was_just_opened_holds(place());
}

fn a_new_registry_is_empty(mut place: impl Place) {
    assert_eq!(place.open().load().unwrap(), []);
}

fn the_newest_record_of_each_subject_survives(mut place: impl Place) {
    let mut store = place.open();
    let first = [subscribed(1, "a"), subscribed(2, "b")];
    store.commit(&first.into_iter().collect()).unwrap();
    let second = [subscribed(1, "renamed"), forgotten(2), subscribed(3, "c")];
    store.commit(&second.into_iter().collect()).unwrap();
    drop(store);
    let loaded = place.open().load().unwrap();
    assert_eq!(loaded, [subscribed(1, "renamed"), subscribed(3, "c")]);
}

fn one_batch_may_say_something_of_a_subject_twice(mut place: impl Place) {
    let mut batch = Batch::default();
    batch.add([subscribed(1, "a"), subscribed(2, "b")]);
    batch.add([forgotten(1)]);
    batch.add([forgotten(2), subscribed(2, "again")]);
    let mut store = place.open();
    store.commit(&batch).unwrap();
    drop(store);
    assert_eq!(place.open().load().unwrap(), [subscribed(2, "again")]);
}

fn a_batch_of_any_size_survives_whole(mut place: impl Place) {
    let long = "x".repeat(10_000);
    let records: Vec<_> = (0..1_000).map(|id| subscribed(id, &long)).collect();
    let mut batch = Batch::default();
    for event in records.chunks(150) {
        batch.add(event.iter().cloned());
    }
    let mut store = place.open();
    store.commit(&batch).unwrap();
    drop(store);
    assert_eq!(place.open().load().unwrap(), records);
}

fn the_fence_of_a_store_that_was_just_opened_holds(mut place: impl Place) {
    assert!(place.open().fence().holds());
}
