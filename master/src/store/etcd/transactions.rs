//! A batch in transactions that an etcd takes: at most 128 operations and one and a half megabytes each,
//! as etcd is configured unless somebody says otherwise.
//!
//! What came of one event stays in one transaction if that is possible at all. Where a batch takes several
//! and a master ends between two of them, the registry has the events that came first, whole, in their
//! order: it is what it would be if the master had ended that much earlier, and nobody has been told of what
//! is missing, for effects follow the whole batch. Only an event that alone is more than a transaction can
//! be cut; its records are about different subjects, each true by itself, so what is left of it is a
//! registry that can be read, and whoever asked for it has had no answer.

use std::collections::BTreeMap;

use nesos_master_core::Record;

use crate::store::StoreError;
use crate::store::batch::Batch;

/// The most operations of a transaction.
pub(super) const MOST_OPERATIONS: usize = 128;
/// The most bytes of keys and values; etcd counts what is around them, too.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// Subject → what is to be kept of it; nothing, if it is to be dropped. A key is in a transaction once.
pub(super) type Transaction = BTreeMap<String, Option<Vec<u8>>>;

/// Splits a batch.
pub(super) fn transactions(
    batch: &Batch,
    encode: impl Fn(&Record) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<Transaction>, StoreError> {
    let mut packer = Packer::default();
    for event in batch.events() {
        let mut entries = Transaction::new();
        for record in event {
            entries.insert(record.subject().to_string(), encode(record)?);
        }
        packer.add(entries);
    }
    Ok(packer.finish())
}

#[derive(Default)]
struct Packer {
    full: Vec<Transaction>,
    open: Transaction,
}

impl Packer {
    /// Adds what belongs together.
    fn add(&mut self, entries: Transaction) {
        if !self.has_room(&entries) {
            self.close();
        }
        if self.has_room(&entries) {
            self.open.extend(entries);
            return;
        }
        for entry in entries {
            let entry = Transaction::from([entry]);
            if !self.has_room(&entry) {
                self.close();
            }
            self.open.extend(entry);
        }
    }

    fn has_room(&self, entries: &Transaction) -> bool {
        let new = entries.keys().filter(|key| !self.open.contains_key(*key));
        self.open.len() + new.count() <= MOST_OPERATIONS
            && bytes(&self.open) + bytes(entries) <= MOST_BYTES
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
    }

    fn finish(mut self) -> Vec<Transaction> {
        self.close();
        self.full
    }
}

fn bytes(entries: &Transaction) -> usize {
    let size =
        |(key, value): (&String, &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
    entries.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use nesos_master_core::Subject;
    use nesos_types::ids::FrameworkId;

    use super::*;

    fn forgotten(id: u128) -> Record {
        Record::Forgotten(Subject::Framework(FrameworkId(id)))
    }

    fn batch(events: &[std::ops::Range<u128>]) -> Batch {
        let mut batch = Batch::default();
        for event in events {
            batch.add(event.clone().map(forgotten));
        }
        batch
    }

    fn sizes(batch: &Batch, bytes: usize) -> Vec<usize> {
        let split = transactions(batch, |_| Ok(Some(vec![0; bytes]))).unwrap();
        split.iter().map(Transaction::len).collect()
    }

    #[test]
    fn a_small_batch_is_one_transaction() {
        assert_eq!(sizes(&batch(&[0..1, 1..3, 3..128]), 1), [128]);
        assert!(sizes(&Batch::default(), 1).is_empty());
    }

    #[test]
    fn what_came_of_one_event_is_not_cut_if_it_fits() {
        assert_eq!(sizes(&batch(&[0..100, 100..130, 130..150]), 1), [100, 50]);
        let half = MOST_BYTES / 2 - 1000;
        assert_eq!(sizes(&batch(&[0..1, 1..3]), half), [1, 2]);
    }

    #[test]
    fn an_event_that_is_more_than_a_transaction_is_cut_in_order() {
        assert_eq!(sizes(&batch(&[0..10, 10..310]), 1), [10, 128, 128, 44]);
        assert_eq!(sizes(&batch(&[0..0, 0..3]), MOST_BYTES + 1), [1, 1, 1]);
    }

    #[test]
    fn the_last_word_about_a_subject_counts() {
        let mut batch = batch(&[0..0, 0..1]);
        batch.add([forgotten(0)]);
        let said = std::cell::Cell::new(0_u8);
        let split = transactions(&batch, |_| {
            said.set(said.get() + 1);
            Ok(Some(vec![said.get()]))
        });
        let values: Vec<_> = split.unwrap().remove(0).into_values().collect();
        assert_eq!(values, [Some(vec![2])]);
    }
}
