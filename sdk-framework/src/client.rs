//! A connection to the master that leads: what the driver, the command line and tools share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nesos_api::masters::{FindError, Masters, find};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Error as TransportError};

use crate::backoff::Backoff;
use crate::blobs::Blobs;
use crate::operator::Operator;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The address is not one.
    #[error("{url:?} is not an address of a master; write http://HOST:PORT or HOST:PORT")]
    BadUrl {
        /// As it was given.
        url: String,
    },
    /// Nobody answered in time.
    #[error("no answer from {url} within {within:?} ({attempts} attempts): {why}")]
    GaveUp {
        /// Where.
        url: String,
        /// How long it was tried.
        within: Duration,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt came to.
        why: String,
    },
}

/// How long one attempt to connect may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Flow-control window of one stream and of one connection: large enough that a loopback or a data
/// centre's network is never waited for.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// How long to wait for an election in one attempt: less than a subscription may take.
const ELECTION_PATIENCE: Duration = Duration::from_secs(6);
/// How long to wait before masters are asked again that wait for an election; spread over half of it.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A connection to the master that leads, of one or several. Cheap to clone; clones share the connection,
/// and what they learn of who leads.
#[derive(Clone, Debug)]
pub struct MasterClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    masters: Mutex<Masters>,
    current: Mutex<Current>,
    used: AtomicBool,
}

/// The master that was spoken with last.
#[derive(Clone, Debug)]
struct Current {
    url: String,
    channel: Channel,
    /// Whether it has said that it leads.
    leads: bool,
}

impl MasterClient {
    /// A client that connects when it is first used. `url` is `http://host:port` or `host:port`; of several
    /// masters, all or some of them behind commas. Which one leads is found by [`MasterClient::connect`] and
    /// by drivers.
    ///
    /// # Errors
    /// If the address is not one.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let masters = Masters::parse(url);
        for listed in masters.listed() {
            endpoint(listed).map_err(|_| ConnectError::BadUrl {
                url: url.to_owned(),
            })?;
        }
        let url = masters.current().to_owned();
        let current = Current {
            channel: endpoint(&url)?.connect_lazy(),
            url,
            leads: false,
        };
        Ok(Self(Arc::new(Shared {
            masters: Mutex::new(masters),
            current: Mutex::new(current),
            used: AtomicBool::new(false),
        })))
    }

    /// Connects to the master that leads, trying again with growing delays until `patience` has passed.
    /// `on_failure` is told of each attempt that failed and how long it will wait.
    ///
    /// # Errors
    /// If the address is not one, or nobody answered in time.
    pub async fn connect(
        url: &str,
        patience: Duration,
        mut on_failure: impl FnMut(&str, Duration),
    ) -> Result<Self, ConnectError> {
        let client = Self::new(url)?;
        let mut random = StdRng::from_os_rng();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let start = Instant::now();
        for attempts in 1.. {
            let left = patience.saturating_sub(start.elapsed());
            let why = match client.find(left.min(ELECTION_PATIENCE)).await {
                Ok(_) => break,
                Err(error) => described(&error),
            };
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(ConnectError::GaveUp {
                    url: client.listed(),
                    within: patience,
                    attempts,
                    why,
                });
            }
            let delay = backoff.delay(&mut random).min(left);
            on_failure(&why, delay);
            tokio::time::sleep(delay).await;
        }
        Ok(client)
    }

    /// Finds the master that leads and connects to it.
    async fn find(&self, patience: Duration) -> Result<Channel, FindError> {
        let mut random = StdRng::from_os_rng();
        let pause = || ASK_AGAIN.mul_f64(random.random_range(0.5..=1.0));
        let endpoint = |url: &str| endpoint(url).ok();
        let (url, channel) = find(&self.0.masters, endpoint, patience, pause).await?;
        *self.current() = Current {
            url,
            channel: channel.clone(),
            leads: true,
        };
        Ok(channel)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the master is that was spoken with last.
    #[must_use]
    pub fn url(&self) -> String {
        self.current().url.clone()
    }

    /// All masters that were named.
    #[must_use]
    pub fn listed(&self) -> String {
        let masters = self.0.masters.lock();
        let masters = masters.unwrap_or_else(PoisonError::into_inner);
        masters.listed().join(",")
    }

    /// The connection, for generated clients.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.current().channel.clone()
    }

    /// Blobs on the master.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.channel())
    }

    /// The master's operator interface.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(self.channel())
    }

    /// The shared connection for a first conversation, if it is to a master that leads; a new one after a
    /// failure, to whoever leads now, for the shared one may be dead without knowing.
    pub(crate) async fn channel_for_attempt(&self) -> Result<Channel, Status> {
        let current = self.current().clone();
        if !self.0.used.swap(true, Ordering::Relaxed) && current.leads {
            return Ok(current.channel);
        }
        let found = self.find(ELECTION_PATIENCE).await;
        found.map_err(|error| Status::unavailable(described(&error)))
    }
}

/// What stands in the way, in a person's words: the innermost cause, if only one master was asked.
fn described(error: &FindError) -> String {
    match error {
        FindError::Unreachable { source, .. } => root_cause(source),
        other => other.to_string(),
    }
}

/// An endpoint with everything set as Nesos wants it.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, ConnectError> {
    let bad_url = || ConnectError::BadUrl {
        url: url.to_owned(),
    };
    let absolute = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let endpoint = Endpoint::from_shared(absolute).map_err(|_| bad_url())?;
    let is_http = endpoint.uri().scheme_str() == Some("http");
    let host = endpoint.uri().host().unwrap_or_default();
    if !is_http || host.is_empty() || endpoint.uri().port_u16().is_none() {
        return Err(bad_url());
    }
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(ATTEMPT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

/// The innermost cause, which is the one that says something ("connection refused").
fn root_cause(error: &TransportError) -> String {
    innermost(error).to_string()
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// A failed call in a person's words: the innermost cause if there is one, else the status' text.
#[must_use]
pub fn describe(status: &Status) -> String {
    use std::error::Error;
    match status.source() {
        Some(source) => innermost(source).to_string(),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_may_leave_the_scheme_out() {
        for (given, url) in [
            ("127.0.0.1:5050", "http://127.0.0.1:5050"),
            ("http://master.example:1", "http://master.example:1"),
            ("http://[::1]:5050/", "http://[::1]:5050"),
            ("a:1,b:2", "http://a:1"),
        ] {
            assert_eq!(MasterClient::new(given).expect(given).url(), url);
        }
        for bad in [
            "",
            "master",
            "https://x:1",
            "http://",
            "a b:1",
            "ftp://x:1",
            "a:1,",
            "a:1,b",
        ] {
            assert!(MasterClient::new(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_after_patience_with_the_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut failures = 0;
        let error = MasterClient::connect(&address, Duration::ZERO, |_, _| failures += 1)
            .await
            .expect_err("nobody listens");
        assert!(error.to_string().contains("refused"), "{error}");
        assert_eq!(failures, 0, "without patience there is one attempt");
    }
}
