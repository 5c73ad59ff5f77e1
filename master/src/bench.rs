//! What `nesos-bench` needs of the store: commits as the driver makes them, without the driver.

use std::time::{Duration, Instant};

use nesos_master_core::Record;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::time::Time;

use crate::config::MasterConfig;
use crate::driver::BATCH;
use crate::master::StartError;
use crate::store::batch::Batch;
use crate::store::etcd::address::StoreAddress;
use crate::store::etcd::election::{Candidate, Outcome};
use crate::store::redb::RedbStore;
use crate::store::{Store, StoreError};

/// Writes so many records to the store that a configuration names, in commits as large as the driver's
/// batches grow, and says how long that took. Each is an event of its own. Must be called within a tokio
/// runtime.
///
/// # Errors
/// If the store cannot be opened or written.
pub async fn write(config: MasterConfig, records: u32) -> Result<Duration, StartError> {
    match &config.store {
        StoreAddress::Redb => {
            let path = config.state_directory.join("registry.redb");
            timed(move || RedbStore::open(&path), records).await
        }
        StoreAddress::Etcd(etcd) => {
            let candidate = Candidate::new(etcd, "http://bench:1".to_owned(), config.lease())?;
            let Outcome::Elected(reign) = candidate.run().await? else {
                return Err(StoreError::Deposed.into());
            };
            let (store, seat) = reign.into_parts();
            let took = timed(move || Ok(store), records).await;
            seat.give_back().await;
            took
        }
    }
}

async fn timed<S: Store>(
    open: impl FnOnce() -> Result<S, StoreError> + Send + 'static,
    records: u32,
) -> Result<Duration, StartError> {
    let writing = move || {
        let mut store = open()?;
        store.load()?;
        let batches = batches(records);
        let began = Instant::now();
        for batch in &batches {
            store.commit(batch)?;
        }
        Ok::<_, StoreError>(began.elapsed())
    };
    let written = tokio::task::spawn_blocking(writing).await;
    Ok(written.map_err(StartError::Lost)??)
}

fn batches(records: u32) -> Vec<Batch> {
    let info = FrameworkInfo::new("a framework of some name", []);
    let record = |id: u32| Record::FrameworkSubscribed {
        framework: FrameworkId(id.into()),
        info: info.clone().into(),
        since: Time::from_micros(u64::from(id)),
    };
    let ids: Vec<u32> = (0..records).collect();
    let batch = |ids: &[u32]| {
        let mut batch = Batch::default();
        ids.iter().for_each(|id| batch.add([record(*id)]));
        batch
    };
    ids.chunks(BATCH).map(batch).collect()
}
