//! Masters that do not lead, that lead, and that lead no more.

use std::sync::Mutex;

use nesos_api::masters::{Answer, Masters, STANDBY_KEY, ask, find};
use tokio::time::sleep;
use tonic::Code;
use tonic::transport::Endpoint;

use super::*;
use crate::store::etcd::client::Client;
use crate::store::etcd::tests::process::Etcd;
use crate::store::etcd::wire::request_op::Request;
use crate::store::etcd::wire::{DeleteRangeRequest, RequestOp, TxnRequest};

const PATIENCE: Duration = Duration::from_secs(60);

fn one_of_several(store: &str, directory: &tempfile::TempDir) -> MasterConfig {
    let mut config = MasterConfig::new(directory.path());
    config.listen.set_port(0);
    config.store = store.parse().unwrap();
    config
}

async fn started(store: &str) -> TestMaster {
    let directory = tempfile::tempdir().unwrap();
    let running = Master::start(one_of_several(store, &directory))
        .await
        .unwrap();
    TestMaster { running, directory }
}

/// Waits until one of these leads, and says which.
async fn leader(masters: &[&TestMaster]) -> (String, Channel) {
    let urls: Vec<_> = masters.iter().map(|master| master.running.url()).collect();
    let masters = Mutex::new(Masters::parse(&urls.join(",")));
    let endpoint = |url: &str| Endpoint::from_shared(url.to_owned()).ok();
    let pause = || Duration::from_millis(50);
    find(&masters, endpoint, PATIENCE, pause).await.unwrap()
}

#[tokio::test]
async fn a_master_that_waits_serves_nobody_and_says_what_it_waits_for() {
    let master = started("etcd://127.0.0.1:1").await;
    let channel = master.channel().await;
    let answer = ask(channel.clone()).await.unwrap();
    assert!(matches!(answer, Answer::Waits(_)), "{answer:?}");
    let calls = tokio_stream::iter([v1::SchedulerCalls::default()]);
    let refused = SchedulerServiceClient::new(channel).converse(calls).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.metadata().contains_key(STANDBY_KEY), "{refused:?}");
    master.stop().await;
}

#[tokio::test]
async fn a_lease_that_cannot_be_kept_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = one_of_several("etcd://127.0.0.1:1", &directory);
    config.lease_ms = 999;
    let error = Master::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::ShortLease { lease_ms: 999 }));
    assert!(error.to_string().contains("lease_ms is 999"), "{error}");
}

#[tokio::test]
async fn one_leads_the_other_points_to_it_and_takes_over_when_it_stops() {
    let Some(etcd) = Etcd::start() else {
        return;
    };
    let store = format!("etcd://{}", etcd.member());
    let (first, second) = (started(&store).await, started(&store).await);
    let (url, channel) = leader(&[&first, &second]).await;
    let (first, second) = if url == first.running.url() {
        (first, second)
    } else {
        (second, first)
    };
    let framework = TestScheduler::connect(channel).await.subscribe(None).await;
    // It may not have looked who leads yet.
    while ask(second.channel().await).await.unwrap() != Answer::Redirects(url.clone()) {
        sleep(Duration::from_millis(20)).await;
    }
    first.stop().await;
    let (next, channel) = leader(&[&second]).await;
    assert_eq!(next, second.running.url());
    let mut scheduler = TestScheduler::connect(channel).await;
    assert_eq!(scheduler.subscribe(Some(framework)).await, framework);
    second.stop().await;
}

#[tokio::test]
async fn a_master_that_is_deposed_ends_its_streams_and_is_elected_again() {
    let Some(etcd) = Etcd::start() else {
        return;
    };
    let store = format!("etcd://{}", etcd.member());
    let master = started(&store).await;
    let (_, channel) = leader(&[&master]).await;
    let mut scheduler = TestScheduler::connect(channel).await;
    let framework = scheduler.subscribe(None).await;
    remove_leader(&store).await;
    let ended = loop {
        match scheduler.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("it ends with a reason"),
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(
        ended.message().contains("another master leads"),
        "{ended:?}"
    );
    let (_, channel) = leader(&[&master]).await;
    let mut scheduler = TestScheduler::connect(channel).await;
    assert_eq!(scheduler.subscribe(Some(framework)).await, framework);
    master.stop().await;
}

/// An operator removes the leader's key.
async fn remove_leader(store: &str) {
    let Ok(StoreAddress::Etcd(address)) = store.parse() else {
        panic!("{store}");
    };
    let remove = DeleteRangeRequest {
        key: b"nesos/leader".to_vec(),
    };
    let request = TxnRequest {
        compare: Vec::new(),
        success: vec![RequestOp {
            request: Some(Request::RequestDeleteRange(remove)),
        }],
    };
    let client = Client::new(&address, PATIENCE).unwrap();
    assert!(client.transact(&request).await.unwrap().succeeded);
}
