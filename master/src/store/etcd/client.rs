//! Speaking with an etcd: the few calls that a store and an election make, each tried at one member after
//! the other. What to make of a failure is decided by whoever asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::address::EtcdAddress;
use super::wire::kv_client::KvClient;
use super::wire::lease_client::LeaseClient;
use super::wire::watch_client::WatchClient;
use super::wire::{
    KeyValue, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest,
    TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, watch_request,
};

/// How many keys are read at a time.
const PAGE: i64 = 1_000;
/// Registries are small, pages of them are smaller.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// Why an etcd did not do what it was asked to.
#[derive(Debug, Error)]
pub(crate) enum EtcdError {
    /// No member answered. Whether it was done is not known.
    #[error("{0}")]
    Unreachable(String),
    /// It will not do it.
    #[error("{0}")]
    Refused(String),
}

/// A lease as it was granted or renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// Before this moment it cannot run out, by this machine's clock.
    pub(crate) until: Instant,
}

/// A connection to an etcd. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    members: Arc<[Channel]>,
    /// The member that answered last.
    at: Arc<AtomicUsize>,
    /// How long one member may take for one answer.
    patience: Duration,
}

impl Client {
    /// Connects when it is first used.
    pub(crate) fn new(address: &EtcdAddress, patience: Duration) -> Result<Self, EtcdError> {
        let channel = |member: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{member}"))
                .map_err(|error| EtcdError::Refused(format!("{member}: {error}")))?;
            let endpoint = endpoint.tcp_nodelay(true).connect_timeout(patience);
            Ok(endpoint.connect_lazy())
        };
        Ok(Self {
            members: address
                .members
                .iter()
                .map(channel)
                .collect::<Result<_, _>>()?,
            at: Arc::default(),
            patience,
        })
    }

    /// Asks the member that answered last, and the others if it does not.
    async fn ask<T, F>(&self, question: impl Fn(Channel) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let first = self.at.load(Ordering::Relaxed);
        let mut why = String::new();
        for index in 0..self.members.len() {
            let at = (first + index) % self.members.len();
            let answer = timeout(self.patience, question(self.members[at].clone())).await;
            match answer {
                Ok(Ok(answer)) => {
                    self.at.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(status)) if is_final(&status) => {
                    return Err(EtcdError::Refused(status.message().to_owned()));
                }
                Ok(Err(status)) => why = cause(&status),
                Err(_) => why = format!("no answer within {:?}", self.patience),
            }
        }
        Err(EtcdError::Unreachable(why))
    }

    /// One key, and the revision at which it was read.
    pub(crate) async fn get(&self, key: &str) -> Result<(Option<KeyValue>, i64), EtcdError> {
        let request = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        let answer = self
            .ask(async |channel| KvClient::new(channel).range(request.clone()).await)
            .await?
            .into_inner();
        let revision = answer.header.unwrap_or_default().revision;
        Ok((answer.kvs.into_iter().next(), revision))
    }

    /// All keys that begin so, as they were at one moment.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<KeyValue>, EtcdError> {
        let mut request = RangeRequest {
            key: prefix.into(),
            range_end: end_of(prefix),
            limit: PAGE,
            revision: 0,
        };
        let mut all = Vec::new();
        loop {
            let page = self
                .ask(async |channel| {
                    KvClient::new(channel)
                        .max_decoding_message_size(MAX_ANSWER_BYTES)
                        .range(request.clone())
                        .await
                })
                .await?
                .into_inner();
            if request.revision == 0 {
                request.revision = page.header.unwrap_or_default().revision;
            }
            all.extend(page.kvs);
            let last = all.last().filter(|_| page.more);
            let Some(last) = last else {
                return Ok(all);
            };
            request.key = [&*last.key, &[0]].concat();
        }
    }

    /// A transaction.
    pub(crate) async fn transact(&self, request: &TxnRequest) -> Result<TxnResponse, EtcdError> {
        let answer = self
            .ask(async |channel| KvClient::new(channel).txn(request.clone()).await)
            .await?;
        Ok(answer.into_inner())
    }

    /// A lease of at least this length.
    pub(crate) async fn grant(&self, length: Duration) -> Result<Lease, EtcdError> {
        let began = Instant::now();
        let request = LeaseGrantRequest {
            ttl: i64::try_from(length.as_millis().div_ceil(1000)).unwrap_or(i64::MAX),
        };
        let granted = self
            .ask(async |channel| LeaseClient::new(channel).lease_grant(request).await)
            .await?
            .into_inner();
        Ok(lease(granted.id, began, granted.ttl))
    }

    /// Renews a lease; nothing if it has run out.
    pub(crate) async fn renew(&self, id: i64) -> Result<Option<Lease>, EtcdError> {
        let began = Instant::now();
        let answer = self
            .ask(async |channel| {
                let request = futures::stream::iter([LeaseKeepAliveRequest { id }]);
                let answers = LeaseClient::new(channel).lease_keep_alive(request).await?;
                answers.into_inner().message().await
            })
            .await?;
        let ttl = answer.unwrap_or_default().ttl;
        Ok((ttl > 0).then(|| lease(id, began, ttl)))
    }

    /// Ends a lease, and with it the keys that were written under it.
    pub(crate) async fn revoke(&self, id: i64) -> Result<(), EtcdError> {
        let request = LeaseRevokeRequest { id };
        self.ask(async |channel| LeaseClient::new(channel).lease_revoke(request).await)
            .await?;
        Ok(())
    }

    /// Waits until a key has changed since a revision, or it cannot be said.
    pub(crate) async fn changed(&self, key: &str, since: i64, most: Duration) {
        let create = WatchCreateRequest {
            key: key.into(),
            start_revision: since + 1,
        };
        let request = WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(create)),
        };
        // The request stays open, or etcd would end the watch.
        let requests = futures::stream::iter([request]).chain(futures::stream::pending());
        let channel = self.members[self.at.load(Ordering::Relaxed)].clone();
        let heard = async {
            let mut client = WatchClient::new(channel);
            let mut answers = client.watch(requests).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                if answer.canceled || !answer.events.is_empty() {
                    return Ok(());
                }
            }
            Ok::<(), Status>(())
        };
        if let Ok(Err(status)) = timeout(most, heard).await {
            tracing::debug!(%status, "cannot watch etcd");
            sleep(self.patience.min(most)).await;
        }
    }
}

/// A lease that was asked for at a moment. A tenth of it is given up for clocks that differ in speed.
fn lease(id: i64, asked: Instant, ttl_seconds: i64) -> Lease {
    let length = Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or_default());
    Lease {
        id,
        until: asked + length * 9 / 10,
    }
}

/// Whether another member would say the same.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

/// The innermost cause of a failure.
fn cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

/// Behind the last key that begins so. All prefixes here end with a slash, which is not the last character.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
