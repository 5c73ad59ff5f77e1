//! The redb file.

use std::io;
use std::path::{Path, PathBuf};

use nesos_agent_core::checkpoint::{
    AgentRecord, CellRecord, Change, Record, RecordKey, Recovered, TaskRecord,
};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CheckpointError;

/// Key → record. The key's first byte says of what kind the record is.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Facts about the file itself.
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// Raised when a record can no longer be read by older versions.
const FORMAT: u32 = 1;
/// A checkpoint is small; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

const AGENT: u8 = b'a';
const CELL: u8 = b'c';
const TASK: u8 = b't';

/// A key and its value, as they lie in the file.
type Stored = (Vec<u8>, Vec<u8>);

/// An open checkpoint. Nobody else can open it while this lives.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    database: Database,
    path: PathBuf,
}

impl CheckpointFile {
    /// Opens a checkpoint, or makes an empty one. Every page is checked, so that damage is found here.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => CheckpointError::InUse {
                    path: path.to_owned(),
                },
                error => describe(path, "open", error.into()),
            })?;
        let file = Self {
            database,
            path: path.to_owned(),
        };
        match file.stamp().map_err(|error| file.error("open", error))? {
            found if found > FORMAT => Err(CheckpointError::NewerFormat {
                path: path.to_owned(),
                found,
                known: FORMAT,
            }),
            _ => Ok(file),
        }
    }

    /// The file's format; stamps a new file.
    fn stamp(&self) -> Result<u32, redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            transaction.open_table(RECORDS)?;
            let found = meta.get(FORMAT_KEY)?.map(|format| format.value());
            if found.is_none() {
                meta.insert(FORMAT_KEY, FORMAT)?;
            }
            found
        };
        transaction.commit()?;
        Ok(found.unwrap_or(FORMAT))
    }

    /// Everything that was committed.
    pub(crate) fn load(&self) -> Result<Recovered, CheckpointError> {
        let entries = self.read().map_err(|error| self.error("read", error))?;
        let mut state = Recovered::default();
        for (key, value) in entries {
            self.add(&mut state, &key, &value)?;
        }
        Ok(state)
    }

    fn read(&self) -> Result<Vec<Stored>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        table
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            })
            .collect()
    }

    fn add(&self, state: &mut Recovered, key: &[u8], value: &[u8]) -> Result<(), CheckpointError> {
        match key.first() {
            Some(&AGENT) => state.agent = Some(self.decode::<AgentRecord>("the agent", value)?),
            Some(&CELL) => state
                .cells
                .push(self.decode::<CellRecord>("a cell", value)?),
            Some(&TASK) => state
                .tasks
                .push(self.decode::<TaskRecord>("a task", value)?),
            _ => return Err(self.corrupt(format!("it has a record of an unknown kind: {key:?}"))),
        }
        Ok(())
    }

    fn decode<T: DeserializeOwned>(&self, what: &str, value: &[u8]) -> Result<T, CheckpointError> {
        rmp_serde::from_slice(value)
            .map_err(|error| self.corrupt(format!("the record of {what} cannot be read: {error}")))
    }

    fn corrupt(&self, what: String) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.clone(),
            what,
        }
    }

    /// Makes a group of changes durable: all of them or none.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<(), CheckpointError> {
        let entries = changes
            .iter()
            .map(|change| self.entry(change))
            .collect::<Result<Vec<_>, _>>()?;
        self.write(&entries)
            .map_err(|error| self.error("write", error))
    }

    fn write(&self, entries: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in entries {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn entry(&self, change: &Change) -> Result<(Vec<u8>, Option<Vec<u8>>), CheckpointError> {
        let (key, value) = match change {
            Change::Delete(key) => return Ok((encode_key(key), None)),
            Change::Put(record) => (
                record.key(),
                match record {
                    Record::Agent(agent) => encode(agent),
                    Record::Cell(cell) => encode(cell),
                    Record::Task(task) => encode(task),
                },
            ),
        };
        let value = value.map_err(|error| CheckpointError::Io {
            action: "encode",
            path: self.path.clone(),
            source: io::Error::other(error),
        })?;
        Ok((encode_key(&key), Some(value)))
    }

    fn error(&self, action: &'static str, error: redb::Error) -> CheckpointError {
        describe(&self.path, action, error)
    }
}

fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(record)
}

fn encode_key(key: &RecordKey) -> Vec<u8> {
    match key {
        RecordKey::Agent => vec![AGENT],
        RecordKey::Cell(cell) => [&[CELL][..], &cell.0.to_be_bytes()].concat(),
        RecordKey::Task(key) => [
            &[TASK][..],
            &key.framework.0.to_be_bytes(),
            key.task.as_str().as_bytes(),
        ]
        .concat(),
    }
}

/// A failure of the disk is one thing, a file that is not what it should be another.
fn describe(path: &Path, action: &'static str, error: redb::Error) -> CheckpointError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            CheckpointError::Io {
                action,
                path,
                source,
            }
        }
        redb::Error::PreviousIo => CheckpointError::Io {
            action,
            path,
            source: io::Error::other("an earlier write failed"),
        },
        error => CheckpointError::Corrupt {
            path,
            what: error.to_string(),
        },
    }
}
