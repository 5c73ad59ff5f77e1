//! The registry in one redb file: subject → its newest record, as JSON, so that fields can be added
//! and a person can read it.

use std::io;
use std::path::{Path, PathBuf};

use nesos_master_core::Record;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::batch::Batch;
use super::fence::Fence;
use super::{Store, StoreError};

/// Subject → record.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Facts about the file itself.
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// Raised when a record can no longer be read by older versions.
const FORMAT: u32 = 1;
/// The registry is small; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

/// A registry in a file. The file is locked while this lives.
#[derive(Debug)]
pub(crate) struct RedbStore {
    database: Database,
    path: PathBuf,
}

impl RedbStore {
    /// Opens the registry, or creates an empty one. Every page is checked, so that damage is found
    /// here and not in the middle of work.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(|error| open_error(path, error))?;
        let store = Self {
            database,
            path: path.to_owned(),
        };
        store.check_format()?;
        Ok(store)
    }

    /// Stamps a new file with the format, and refuses one from the future.
    fn check_format(&self) -> Result<(), StoreError> {
        let found = self.stamp().map_err(|error| self.error("open", error))?;
        if found > FORMAT {
            return Err(StoreError::NewerFormat {
                path: self.path.clone(),
                found,
                known: FORMAT,
            });
        }
        Ok(())
    }

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
        match found {
            Some(_) => transaction.abort()?,
            None => transaction.commit()?,
        }
        Ok(found.unwrap_or(FORMAT))
    }

    fn read_all(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        table
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_owned(), value.value().to_vec()))
            })
            .collect()
    }

    fn write_all(&self, entries: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (subject, record) in entries {
                match record {
                    Some(record) => table.insert(subject.as_str(), record.as_slice())?,
                    None => table.remove(subject.as_str())?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn error(&self, action: &'static str, error: redb::Error) -> StoreError {
        store_error(&self.path, action, error)
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let entries = self.read_all().map_err(|error| self.error("read", error))?;
        entries
            .into_iter()
            .map(|(subject, record)| {
                serde_json::from_slice(&record).map_err(|error| StoreError::Corrupt {
                    path: self.path.clone(),
                    what: format!("the record of {subject} cannot be read: {error}"),
                })
            })
            .collect()
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let entries = batch
            .records()
            .iter()
            .map(|record| self.entry(record))
            .collect::<Result<Vec<_>, _>>()?;
        self.write_all(&entries)
            .map_err(|error| self.error("write", error))
    }

    fn fence(&self) -> Fence {
        Fence::always()
    }
}

impl RedbStore {
    /// A record's key and value; no value means that the subject is to be dropped.
    fn entry(&self, record: &Record) -> Result<(String, Option<Vec<u8>>), StoreError> {
        let value = match record {
            Record::Forgotten(_) => None,
            record => Some(serde_json::to_vec(record).map_err(|error| StoreError::Io {
                action: "write",
                path: self.path.clone(),
                source: error.into(),
            })?),
        };
        Ok((record.subject().to_string(), value))
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
        },
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => StoreError::Corrupt {
            path: path.to_owned(),
            what: error.to_string(),
        },
        other => store_error(path, "open", other.into()),
    }
}

fn store_error(path: &Path, action: &'static str, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(source) => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path, source }
            }
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => StoreError::Corrupt {
                path,
                what: source.to_string(),
            },
            _ => StoreError::Io {
                action,
                path,
                source,
            },
        },
        redb::Error::Corrupted(what) => StoreError::Corrupt { path, what },
        redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
            StoreError::Corrupt {
                path,
                what: error.to_string(),
            }
        }
        other => StoreError::Io {
            action,
            path,
            source: io::Error::other(other),
        },
    }
}

#[cfg(test)]
mod tests;
