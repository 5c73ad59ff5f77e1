//! A connection to a master: what the driver, the command line and tools share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
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

/// A connection to a master. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct MasterClient {
    url: Arc<str>,
    endpoint: Endpoint,
    channel: Channel,
    used: Arc<AtomicBool>,
}

impl MasterClient {
    /// A client that connects when it is first used. `url` is `http://host:port` or `host:port`.
    ///
    /// # Errors
    /// If the address is not one.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let endpoint = endpoint(url)?;
        Ok(Self {
            url: endpoint.uri().to_string().trim_end_matches('/').into(),
            channel: endpoint.connect_lazy(),
            endpoint,
            used: Arc::default(),
        })
    }

    /// Connects, trying again with growing delays until `patience` has passed. `on_failure` is told
    /// of each attempt that failed and how long it will wait.
    ///
    /// # Errors
    /// If the address is not one, or nobody answered in time.
    pub async fn connect(
        url: &str,
        patience: Duration,
        mut on_failure: impl FnMut(&str, Duration),
    ) -> Result<Self, ConnectError> {
        let mut client = Self::new(url)?;
        let mut random = StdRng::from_os_rng();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let start = Instant::now();
        for attempts in 1.. {
            let why = match client.endpoint.connect().await {
                Ok(channel) => {
                    client.channel = channel;
                    break;
                }
                Err(error) => root_cause(&error),
            };
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(ConnectError::GaveUp {
                    url: client.url.to_string(),
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

    /// Where the master is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The connection, for generated clients.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
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

    /// The shared connection for a first conversation; a connection of its own after a failure, for
    /// the shared one may be dead without knowing.
    pub(crate) fn channel_for_attempt(&self) -> Channel {
        if self.used.swap(true, Ordering::Relaxed) {
            self.endpoint.connect_lazy()
        } else {
            self.channel()
        }
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
        ] {
            assert_eq!(MasterClient::new(given).expect(given).url(), url);
        }
        for bad in ["", "master", "https://x:1", "http://", "a b:1", "ftp://x:1"] {
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
