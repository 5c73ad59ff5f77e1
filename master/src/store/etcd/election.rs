//! Becoming the leader, and staying it: one key under a lease, which names the leader and its term.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::address::EtcdAddress;
use super::client::{Client, EtcdError, Lease};
use super::wire::TxnRequest;
use super::{AGAIN, EtcdStore, Keys, changed_at, created_at, put};
use crate::store::StoreError;
use crate::store::fence::Fence;

/// How long to wait for a leader's end before it is looked at again: a watch may break without a word.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Who leads, as the leader wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leader {
    /// Where it is reached.
    pub(crate) url: String,
    /// How many elections there were until this one.
    pub(crate) term: u64,
}

/// A master that wants to lead.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    client: Client,
    keys: Keys,
    url: String,
    lease: Duration,
}

/// How a look at the throne ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This master leads.
    Elected(Reign),
    /// Somebody else does; wait for its end.
    Taken {
        leader: Leader,
        /// What was looked at.
        revision: i64,
    },
    /// Somebody was faster just now.
    Late,
}

/// The time from an election until the lease is lost or given back. Dropping it lets the lease run out.
#[derive(Debug)]
pub(crate) struct Reign {
    pub(crate) store: EtcdStore,
    pub(crate) term: u64,
    client: Client,
    lease: i64,
    keeper: AbortOnDropHandle<()>,
}

impl Candidate {
    /// A candidate that is reached at `url`, and whose lease lasts so long.
    pub(crate) fn new(
        address: &EtcdAddress,
        url: String,
        lease: Duration,
    ) -> Result<Self, StoreError> {
        let keys = Keys::of(address);
        // Three attempts within a lease, or a slow member would cost it.
        let client = Client::new(address, lease / 4).map_err(|error| keys.error(error))?;
        Ok(Self {
            client,
            keys,
            url,
            lease,
        })
    }

    /// Looks whether somebody leads, and tries to if nobody does.
    pub(crate) async fn run(&self) -> Result<Outcome, StoreError> {
        let tried = self.try_once().await;
        tried.map_err(|error| self.keys.error(error))?
    }

    async fn try_once(&self) -> Result<Result<Outcome, StoreError>, EtcdError> {
        let key = self.keys.leader();
        let (found, revision) = self.client.get(&key).await?;
        if let Some(found) = found {
            let leader = serde_json::from_slice(&found.value).map_err(|error| {
                let what = format!("{key} names no leader: {error}");
                self.keys.corrupt(what)
            });
            return Ok(leader.map(|leader| Outcome::Taken { leader, revision }));
        }
        let (counted, _) = self.client.get(&self.keys.term()).await?;
        let (before, counted_at) = match &counted {
            None => (0, 0),
            Some(counted) => match read_term(&counted.value) {
                Some(term) => (term, counted.mod_revision),
                None => {
                    let what = format!("{} is no number", self.keys.term());
                    return Ok(Err(self.keys.corrupt(what)));
                }
            },
        };
        let lease = self.client.grant(self.lease).await?;
        let taken = self.take(&lease, before + 1, counted_at).await;
        if !matches!(taken, Ok(Outcome::Elected(_))) {
            // If it was given after all, the throne is free again the sooner.
            let _ = self.client.revoke(lease.id).await;
        }
        taken.map(Ok)
    }

    async fn take(&self, lease: &Lease, term: u64, counted_at: i64) -> Result<Outcome, EtcdError> {
        let leader = Leader {
            url: self.url.clone(),
            term,
        };
        let value =
            serde_json::to_vec(&leader).map_err(|error| EtcdError::Refused(error.to_string()))?;
        let request = TxnRequest {
            compare: vec![
                created_at(self.keys.leader(), 0),
                changed_at(self.keys.term(), counted_at),
            ],
            success: vec![
                put(self.keys.leader(), value, lease.id),
                put(self.keys.term(), term.to_string().into_bytes(), 0),
            ],
        };
        let answer = self.client.transact(&request).await?;
        if !answer.succeeded {
            return Ok(Outcome::Late);
        }
        let elected_at = answer.header.unwrap_or_default().revision;
        Ok(Outcome::Elected(self.reign(lease, term, elected_at)))
    }

    fn reign(&self, lease: &Lease, term: u64, elected_at: i64) -> Reign {
        let fence = Fence::until(lease.until);
        let keeper = Keeper {
            client: self.client.clone(),
            leader: self.keys.leader(),
            elected_at,
            lease: lease.id,
            fence: fence.clone(),
            rest: self.lease / 4,
        };
        Reign {
            store: EtcdStore {
                client: self.client.clone(),
                keys: self.keys.clone(),
                elected_at,
                fence,
                runtime: Handle::current(),
            },
            term,
            client: self.client.clone(),
            lease: lease.id,
            keeper: AbortOnDropHandle::new(tokio::spawn(keeper.keep())),
        }
    }

    /// Waits until somebody else's reign may have ended.
    pub(crate) async fn wait(&self, since: i64) {
        self.client
            .changed(&self.keys.leader(), since, LOOK_AGAIN)
            .await;
    }
}

fn read_term(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl Reign {
    /// What is needed to give the lease back once the store is in use.
    pub(crate) fn into_parts(self) -> (EtcdStore, Seat) {
        let seat = Seat {
            client: self.client,
            lease: self.lease,
            keeper: self.keeper,
        };
        (self.store, seat)
    }
}

/// The lease of a reign.
#[derive(Debug)]
pub(crate) struct Seat {
    client: Client,
    lease: i64,
    keeper: AbortOnDropHandle<()>,
}

impl Seat {
    /// Gives the lease back, so that somebody else leads at once.
    pub(crate) async fn give_back(self) {
        self.keeper.abort();
        if let Err(error) = self.client.revoke(self.lease).await {
            tracing::debug!(%error, "the lease was not given back; it runs out");
        }
    }
}

/// Renews the lease, and makes the fence fall when it is lost.
struct Keeper {
    client: Client,
    leader: String,
    elected_at: i64,
    lease: i64,
    fence: Fence,
    rest: Duration,
}

impl Keeper {
    async fn keep(self) {
        let mut rest = self.rest;
        loop {
            sleep(rest.min(self.fence.left())).await;
            if !self.fence.holds() {
                tracing::warn!("the lease was not renewed in time");
                return;
            }
            rest = match timeout(self.fence.left(), self.renew()).await {
                Ok(Ok(true)) => self.rest,
                Ok(Ok(false)) => return self.fence.fall(),
                Ok(Err(error)) => {
                    tracing::warn!(%error, left = ?self.fence.left(), "cannot renew the lease");
                    AGAIN
                }
                Err(_) => Duration::ZERO,
            };
        }
    }

    /// Answers whether the key is still ours. The key is looked at too: an operator may have removed it.
    async fn renew(&self) -> Result<bool, EtcdError> {
        let Some(lease) = self.client.renew(self.lease).await? else {
            return Ok(false);
        };
        let (leader, _) = self.client.get(&self.leader).await?;
        let is_ours = leader.is_some_and(|key| key.create_revision == self.elected_at);
        if is_ours {
            self.fence.move_to(lease.until);
        }
        Ok(is_ours)
    }
}
