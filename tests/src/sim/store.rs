//! The store of the masters: the newest record of each subject, and a lease that says who may write.
//!
//! It stands for redb with one master and for etcd with three, and it has the only clock that counts for the
//! lease. A commit compares the term with the lease's, so that whoever was deposed writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_master_core::{Record, Subject};
use nesos_types::time::Time;

/// How long a lease holds if it is not renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// What the masters keep.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) records: BTreeMap<Subject, Record>,
    /// Numbers reigns.
    term: u64,
    /// When the lease of this term runs out.
    until: Time,
    /// Until when it is slow, and until when it fails.
    pub(crate) slow_until: Time,
    pub(crate) fails_until: Time,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            term: 0,
            until: Time::ZERO,
            slow_until: Time::ZERO,
            fails_until: Time::ZERO,
        }
    }

    /// The only master there is begins a reign: nobody else can, as long as it has the file.
    pub(crate) fn open(&mut self) -> u64 {
        self.term += 1;
        self.until = Time::MAX;
        self.term
    }

    /// Somebody wants to reign. Answers the term, if nobody does.
    pub(crate) fn acquire(&mut self, now: Time) -> Option<u64> {
        if now < self.until {
            return None;
        }
        self.term += 1;
        self.until = now + LEASE;
        Some(self.term)
    }

    /// Whoever reigns wants to go on. A lease that has run out does not come back.
    pub(crate) fn renew(&mut self, term: u64, now: Time) -> bool {
        let holds = self.holds(term, now);
        if holds {
            self.until = now + LEASE;
        }
        holds
    }

    /// Whether this is the reign, now.
    pub(crate) fn holds(&self, term: u64, now: Time) -> bool {
        term == self.term && now < self.until
    }

    /// Makes records durable.
    pub(crate) fn put(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Forgotten(subject) => self.records.remove(&subject),
                record => self.records.insert(record.subject(), record),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reigns_at_a_time_and_a_lease_that_ran_out_stays_so() {
        let mut store = Store::new();
        let begin = Time::ZERO + LEASE;
        let first = store.acquire(begin).expect("nobody reigns");
        assert_eq!(store.acquire(begin + LEASE / 2), None);
        assert!(store.renew(first, begin + LEASE / 2));
        assert!(store.holds(first, begin + LEASE));
        let late = begin + LEASE * 2;
        assert!(!store.renew(first, late));
        let second = store.acquire(late).expect("the first has lost it");
        assert!(store.holds(second, late) && !store.holds(first, late));
    }
}
