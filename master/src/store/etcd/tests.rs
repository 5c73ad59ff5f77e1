//! It is a store as any other, and a master that was deposed cannot write: against a real etcd, where there
//! is one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::runtime::Runtime;

use super::address::StoreAddress;
use super::election::{Candidate, Leader, Outcome, Reign, Seat};
use super::*;
use crate::store::suite::{self, Place, subscribed};

#[path = "../../../../tests/src/etcd.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the same file serves the tests of the whole cluster, which stop etcd as well"
)]
pub(crate) mod process;

use process::Etcd;

const LEASE: Duration = Duration::from_secs(5);

/// A registry in an etcd, and candidates for it.
struct Registry<'a> {
    runtime: &'a Runtime,
    address: EtcdAddress,
    seat: Option<Seat>,
}

impl<'a> Registry<'a> {
    fn new(runtime: &'a Runtime, etcd: &Etcd) -> Self {
        static REGISTRIES: AtomicU32 = AtomicU32::new(0);
        let prefix = REGISTRIES.fetch_add(1, Ordering::Relaxed);
        let address = format!("etcd://{}/test/{prefix}", etcd.member());
        let Ok(StoreAddress::Etcd(address)) = address.parse() else {
            panic!("{address}");
        };
        Self {
            runtime,
            address,
            seat: None,
        }
    }

    fn run(&self, url: &str) -> Result<Outcome, StoreError> {
        let candidate = Candidate::new(&self.address, url.to_owned(), LEASE).unwrap();
        self.runtime.block_on(candidate.run())
    }

    fn elect(&self, url: &str) -> Reign {
        match self.run(url) {
            Ok(Outcome::Elected(reign)) => reign,
            other => panic!("{other:?}"),
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.address, LEASE).unwrap()
    }

    /// Somebody else writes to etcd.
    fn meddle(&self, operation: RequestOp) {
        let request = TxnRequest {
            compare: Vec::new(),
            success: vec![operation],
        };
        let done = self.runtime.block_on(self.client().transact(&request));
        assert!(done.unwrap().succeeded);
    }
}

impl Place for Registry<'_> {
    type Store = EtcdStore;

    fn open(&mut self) -> EtcdStore {
        if let Some(seat) = self.seat.take() {
            self.runtime.block_on(seat.give_back());
        }
        let (store, seat) = self.elect("http://a:1").into_parts();
        self.seat = Some(seat);
        store
    }
}

/// Runs a test against an etcd of its own, if there is one here.
fn with_etcd(test: impl FnOnce(&Runtime, &mut Etcd)) {
    if let Some(mut etcd) = Etcd::start() {
        let runtime = Runtime::new().unwrap();
        let _entered = runtime.enter();
        test(&runtime, &mut etcd);
    }
}

#[test]
fn it_is_a_store() {
    with_etcd(|runtime, etcd| suite::all(|| Registry::new(runtime, etcd)));
}

#[test]
fn one_of_several_leads_and_the_others_learn_who() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let first = registry.elect("http://a:1");
        assert_eq!(first.term, 1);
        match registry.run("http://b:2") {
            Ok(Outcome::Taken { leader, .. }) => {
                let url = "http://a:1".to_owned();
                assert_eq!(leader, Leader { url, term: 1 });
            }
            other => panic!("{other:?}"),
        }
        runtime.block_on(first.into_parts().1.give_back());
        assert_eq!(registry.elect("http://b:2").term, 2);
    });
}

#[test]
fn whoever_waits_hears_at_once_that_the_lease_was_given_back() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let seat = registry.elect("http://a:1").into_parts().1;
        let Ok(Outcome::Taken { revision, .. }) = registry.run("http://b:2") else {
            panic!("it is taken");
        };
        let waiting = Candidate::new(&registry.address, "http://b:2".to_owned(), LEASE).unwrap();
        let began = Instant::now();
        runtime.block_on(async { tokio::join!(waiting.wait(revision), seat.give_back()) });
        assert!(began.elapsed() < LEASE / 2, "{:?}", began.elapsed());
    });
}

#[test]
fn a_master_that_was_deposed_cannot_write_whatever_its_clock_says() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut old, _seat) = registry.elect("http://a:1").into_parts();
        old.commit(&[subscribed(1, "a")].into_iter().collect())
            .unwrap();
        // As if its lease had run out and it had slept through it: its own fence still stands.
        registry.meddle(delete(old.keys.leader()));
        let (mut new, _new_seat) = registry.elect("http://b:2").into_parts();
        assert!(old.fence().holds());
        let refused = old.commit(&[subscribed(2, "late")].into_iter().collect());
        assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
        assert!(!old.fence().holds(), "it has heard of it now");
        assert_eq!(new.load().unwrap(), [subscribed(1, "a")]);
    });
}

#[test]
fn a_master_whose_fence_has_fallen_does_not_even_ask() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut store, _seat) = registry.elect("http://a:1").into_parts();
        store.fence().fall();
        let refused = store.commit(&[subscribed(1, "a")].into_iter().collect());
        assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
        store.fence = Fence::always();
        assert_eq!(store.load().unwrap(), [], "nothing was written");
    });
}

#[test]
fn a_leader_whose_key_was_removed_hears_of_it_without_writing() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (store, _seat) = registry.elect("http://a:1").into_parts();
        registry.meddle(delete(store.keys.leader()));
        let fence = store.fence();
        let heard = runtime.block_on(async { tokio::time::timeout(LEASE, fence.fallen()).await });
        assert!(heard.is_ok());
    });
}

#[test]
fn a_leader_without_etcd_steps_down_when_its_lease_must_be_taken_as_lost() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut store, _seat) = registry.elect("http://a:1").into_parts();
        etcd.stop();
        let refused = store.commit(&[subscribed(1, "a")].into_iter().collect());
        assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
        let error = registry.run("http://b:2").unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&etcd.member()), "{error}");
    });
}

#[test]
fn what_etcd_refuses_is_said_with_its_own_words() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut store, _seat) = registry.elect("http://a:1").into_parts();
        let long = "x".repeat(1_800_000);
        let error = store.commit(&[subscribed(1, &long)].into_iter().collect());
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("too large"), "{error}");
    });
}

#[test]
fn records_that_cannot_be_read_are_refused_by_name() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut store, _seat) = registry.elect("http://a:1").into_parts();
        registry.meddle(put(store.keys.record("fw-x"), b"{}".to_vec(), 0));
        let error = store.load().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("registry/fw-x"), "{error}");
        registry.meddle(put(store.keys.leader(), b"?".to_vec(), 0));
        let error = registry.run("http://b:2").unwrap_err();
        assert!(error.to_string().contains("names no leader"), "{error}");
    });
}

#[test]
fn a_registry_from_the_future_is_refused() {
    with_etcd(|runtime, etcd| {
        let registry = Registry::new(runtime, etcd);
        let (mut store, _seat) = registry.elect("http://a:1").into_parts();
        let newer = (FORMAT + 1).to_string().into_bytes();
        registry.meddle(put(store.keys.format(), newer, 0));
        let error = store.load().unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { .. }), "{error:?}");
    });
}
