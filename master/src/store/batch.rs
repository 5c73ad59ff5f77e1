//! Records that are made durable together, and which of them came of one event.

use nesos_master_core::Record;

/// The records of many events, in the order in which they were decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    records: Vec<Record>,
    /// Where the records of each event end.
    ends: Vec<usize>,
}

impl Batch {
    /// Adds what came of one event. Nothing is no event.
    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = Record>) {
        self.records.extend(records);
        if self.ends.last().copied().unwrap_or_default() < self.records.len() {
            self.ends.push(self.records.len());
        }
    }

    /// Whether there is nothing to make durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records of each event, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &[Record]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, end)| &self.records[begin..*end])
    }
}

impl FromIterator<Record> for Batch {
    /// Records of one event.
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut batch = Self::default();
        batch.add(records);
        batch
    }
}

#[cfg(test)]
mod tests {
    use nesos_master_core::Subject;
    use nesos_types::ids::FrameworkId;

    use super::*;

    #[test]
    fn events_keep_their_records_together() {
        let record = |id| Record::Forgotten(Subject::Framework(FrameworkId(id)));
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.add([record(1), record(2)]);
        batch.add([]);
        batch.add([record(3)]);
        let events: Vec<_> = batch.events().map(<[_]>::len).collect();
        assert_eq!(events, [2, 1]);
        assert_eq!(batch.records().len(), 3);
    }
}
