//! How a master starts, comes back, and gives up.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nesos_master_core::Record;

use super::*;
use crate::store::batch::Batch;
use crate::store::fence::Fence;

/// A store whose disk is full once `left` commits were made.
struct FullStore {
    left: usize,
    commits: StdArc<AtomicUsize>,
}

impl Store for FullStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _batch: &Batch) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.left = self.left.checked_sub(1).ok_or(StoreError::Full {
            path: "registry".into(),
            source: io::ErrorKind::StorageFull.into(),
        })?;
        Ok(())
    }

    fn fence(&self) -> Fence {
        Fence::always()
    }
}

fn lasting(directory: &tempfile::TempDir) -> MasterConfig {
    let mut config = MasterConfig::new(directory.path());
    config.listen.set_port(0);
    config
}

#[tokio::test]
async fn a_framework_survives_the_master() {
    let directory = tempfile::tempdir().unwrap();
    let running = Master::start(lasting(&directory)).await.unwrap();
    let first = TestMaster {
        running,
        directory: tempfile::tempdir().unwrap(),
    };
    let framework = first.scheduler().await.subscribe(None).await;
    first.stop().await;

    let running = Master::start(lasting(&directory)).await.unwrap();
    let second = TestMaster { running, directory };
    let mut scheduler = second.scheduler().await;
    assert_eq!(scheduler.subscribe(Some(framework)).await, framework);
    second.stop().await;
}

#[tokio::test]
async fn two_masters_cannot_share_a_directory_or_a_port() {
    let directory = tempfile::tempdir().unwrap();
    let running = Master::start(lasting(&directory)).await.unwrap();
    let error = Master::start(lasting(&directory)).await.unwrap_err();
    assert!(
        matches!(error, StartError::Registry(StoreError::InUse { .. })),
        "{error:?}"
    );

    let other = tempfile::tempdir().unwrap();
    let mut config = lasting(&other);
    config.listen = running.address();
    let error = Master::start(config).await.unwrap_err();
    assert!(error.to_string().contains(&running.address().to_string()));
    assert!(
        matches!(error, StartError::AddressInUse { .. }),
        "{error:?}"
    );
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Master::start(MasterConfig::ephemeral(&file))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StartError::StateDirectory { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("file"), "{error}");
}

#[tokio::test]
async fn a_corrupt_registry_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("registry.redb"), [7; 5000]).unwrap();
    let error = Master::start(lasting(&directory)).await.unwrap_err();
    assert!(
        matches!(error, StartError::Registry(StoreError::Corrupt { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("registry.redb"), "{error}");
}

#[tokio::test]
async fn nothing_is_told_that_could_not_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let commits = StdArc::<AtomicUsize>::default();
    let store = FullStore {
        left: 1,
        commits: StdArc::clone(&commits),
    };
    let config = MasterConfig::ephemeral(directory.path());
    let running = start_with(config, |_| Ok(store)).await.unwrap();
    let master = TestMaster { running, directory };
    let mut first = master.scheduler().await;
    first.subscribe(None).await;

    let mut second = master.scheduler().await;
    second.call([subscribe(None)]).await;
    let ended = second.next().await;
    assert!(
        ended.as_ref().is_none_or(Result::is_err),
        "not subscribed: {ended:?}"
    );
    let error = master.running.wait().await.unwrap_err();
    assert!(matches!(
        error,
        MasterError::Registry(StoreError::Full { .. })
    ));
    assert_eq!(commits.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn batches_without_records_commit_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let commits = StdArc::<AtomicUsize>::default();
    let store = FullStore {
        left: 1,
        commits: StdArc::clone(&commits),
    };
    let config = MasterConfig::ephemeral(directory.path());
    let running = start_with(config, |_| Ok(store)).await.unwrap();
    let master = TestMaster { running, directory };
    let mut scheduler = master.scheduler().await;
    scheduler.subscribe(None).await;
    for n in 0..10 {
        let tasks = vec![(format!("t{n}").parse().unwrap(), None)];
        scheduler.call([SchedulerCall::Reconcile { tasks }]).await;
        scheduler.update().await;
    }
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    master.stop().await;
}
