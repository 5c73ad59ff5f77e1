//! The registry in an etcd, for several masters of which one leads.
//!
//! Below the cluster's prefix there are `leader`, which goes with the lease of the master that wrote it,
//! `term`, how often somebody was elected, `format`, and `registry/SUBJECT`, a record as JSON. Every write is
//! a transaction that compares the revision at which `leader` was created with the one at which this master
//! was elected: whoever was deposed cannot write, however late its request arrives.

use std::time::Duration;

use nesos_master_core::Record;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::batch::Batch;
use super::fence::Fence;
use super::{Store, StoreError};

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod election;
mod transactions;
pub(crate) mod wire;

use address::EtcdAddress;
use client::{Client, EtcdError};
use transactions::{Transaction, transactions};
use wire::compare::{CompareResult, CompareTarget, TargetUnion};
use wire::request_op::Request;
use wire::{Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};

/// Raised when a record can no longer be read by older versions.
const FORMAT: u32 = 1;
/// How long to wait before a request is repeated that nobody answered.
const AGAIN: Duration = Duration::from_millis(100);

/// Where this cluster's keys are.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The etcd as a person is told it.
    shown: String,
    prefix: String,
}

impl Keys {
    pub(crate) fn of(address: &EtcdAddress) -> Self {
        Self {
            shown: address.to_string(),
            prefix: address.prefix.clone(),
        }
    }

    fn leader(&self) -> String {
        format!("{}/leader", self.prefix)
    }

    fn term(&self) -> String {
        format!("{}/term", self.prefix)
    }

    fn format(&self) -> String {
        format!("{}/format", self.prefix)
    }

    fn registry(&self) -> String {
        format!("{}/registry/", self.prefix)
    }

    fn record(&self, subject: &str) -> String {
        format!("{}/registry/{subject}", self.prefix)
    }

    fn corrupt(&self, what: String) -> StoreError {
        StoreError::Corrupt {
            path: (&self.shown).into(),
            what,
        }
    }

    /// What a failure of etcd is to a store.
    fn error(&self, error: EtcdError) -> StoreError {
        let etcd = self.shown.clone();
        match error {
            EtcdError::Unreachable(why) => StoreError::Unreachable { etcd, why },
            EtcdError::Refused(why) => StoreError::Refused { etcd, why },
        }
    }
}

/// The registry, for as long as this master leads.
#[derive(Debug)]
pub(crate) struct EtcdStore {
    client: Client,
    keys: Keys,
    /// The revision at which the leader's key was created that is ours.
    elected_at: i64,
    fence: Fence,
    /// Where what waits for etcd is driven while a call blocks.
    runtime: Handle,
}

impl EtcdStore {
    async fn read(&self) -> Result<Vec<Record>, StoreError> {
        self.check_format().await?;
        let prefix = self.keys.registry();
        let entries = self.client.list(&prefix).await;
        let entries = entries.map_err(|error| self.keys.error(error))?;
        let record = |entry: wire::KeyValue| {
            serde_json::from_slice(&entry.value).map_err(|error| {
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                let what = format!("the record {key} cannot be read: {error}");
                self.keys.corrupt(what)
            })
        };
        entries.into_iter().map(record).collect()
    }

    /// Stamps a new registry with the format, and refuses one from the future.
    async fn check_format(&self) -> Result<(), StoreError> {
        let key = self.keys.format();
        let (found, _) = self
            .client
            .get(&key)
            .await
            .map_err(|error| self.keys.error(error))?;
        let Some(found) = found else {
            let stamp = put(key, FORMAT.to_string().into_bytes(), 0);
            return self.write(vec![stamp]).await;
        };
        let text = String::from_utf8_lossy(&found.value);
        match text.parse::<u32>() {
            Ok(found) if found > FORMAT => Err(StoreError::NewerFormat {
                path: (&self.keys.shown).into(),
                found,
                known: FORMAT,
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(self
                .keys
                .corrupt(format!("{key} is {text:?}, which is no format"))),
        }
    }

    async fn write_all(&self, transactions: Vec<Transaction>) -> Result<(), StoreError> {
        for transaction in transactions {
            let operation = |(subject, value): (String, Option<Vec<u8>>)| {
                let key = self.keys.record(&subject);
                match value {
                    Some(value) => put(key, value, 0),
                    None => delete(key),
                }
            };
            self.write(transaction.into_iter().map(operation).collect())
                .await?;
        }
        Ok(())
    }

    /// Writes if this master leads. A request that nobody answered is repeated for as long as it does: as
    /// nobody else writes meanwhile, it makes no difference whether it was carried out before.
    async fn write(&self, operations: Vec<RequestOp>) -> Result<(), StoreError> {
        let request = TxnRequest {
            compare: vec![created_at(self.keys.leader(), self.elected_at)],
            success: operations,
        };
        while self.fence.holds() {
            match self.client.transact(&request).await {
                Ok(answer) if answer.succeeded => return Ok(()),
                Ok(_) => break,
                Err(EtcdError::Unreachable(why)) => {
                    tracing::warn!(etcd = self.keys.shown, why, "cannot write; trying again");
                    sleep(AGAIN).await;
                }
                Err(refused) => return Err(self.keys.error(refused)),
            }
        }
        self.fence.fall();
        Err(StoreError::Deposed)
    }
}

impl Store for EtcdStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        self.runtime.block_on(self.read())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transactions = transactions(batch, |record| encode(&self.keys, record))?;
        self.runtime.block_on(self.write_all(transactions))
    }

    fn fence(&self) -> Fence {
        self.fence.clone()
    }
}

/// What is kept of a record; nothing, if its subject is to be dropped.
fn encode(keys: &Keys, record: &Record) -> Result<Option<Vec<u8>>, StoreError> {
    match record {
        Record::Forgotten(_) => Ok(None),
        record => serde_json::to_vec(record)
            .map(Some)
            .map_err(|error| StoreError::Io {
                action: "write",
                path: (&keys.shown).into(),
                source: error.into(),
            }),
    }
}

fn put(key: String, value: Vec<u8>, lease: i64) -> RequestOp {
    let put = PutRequest {
        key: key.into_bytes(),
        value,
        lease,
    };
    RequestOp {
        request: Some(Request::RequestPut(put)),
    }
}

fn delete(key: String) -> RequestOp {
    let delete = DeleteRangeRequest {
        key: key.into_bytes(),
    };
    RequestOp {
        request: Some(Request::RequestDeleteRange(delete)),
    }
}

/// The key was created at this revision; zero is that there is none.
fn created_at(key: String, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.into_bytes(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// The key was last changed at this revision; zero is that there is none.
fn changed_at(key: String, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.into_bytes(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
