//! Where the masters are, and which of them leads as far as this agent knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nesos_api::masters::{FindError, Masters, find};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};

use crate::bundle_cache::Cluster;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much the master may send before it is read, on a stream and on the whole connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How long to wait for an election, in one attempt to find a leader: less than an attempt to register takes.
const ELECTION_PATIENCE: Duration = Duration::from_secs(6);
/// How long to wait before masters are asked again that wait for an election; spread over half of it.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A master's address that is none.
#[derive(Debug, Error)]
#[error("{url:?} is not an address of a master; expected http://HOST:PORT, several behind commas")]
pub struct MasterUrlError {
    /// What was given.
    url: String,
}

/// Where the masters are. Cheap to clone; clones share what they learn.
#[derive(Clone, Debug)]
pub(crate) struct MasterAddress(Arc<Known>);

#[derive(Debug)]
struct Known {
    masters: Mutex<Masters>,
    /// The master that was spoken with last.
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    url: String,
    channel: Channel,
}

impl MasterAddress {
    /// Reads `http://host:port[,…]`; `host:port` is understood as well.
    pub(crate) fn parse(urls: &str) -> Result<Self, MasterUrlError> {
        let masters = Masters::parse(urls);
        let bad = |url: &String| MasterUrlError { url: url.clone() };
        for url in masters.listed() {
            endpoint(url).ok_or_else(|| bad(url))?;
        }
        let url = masters.current().to_owned();
        let channel = endpoint(&url).ok_or_else(|| bad(&url))?.connect_lazy();
        Ok(Self(Arc::new(Known {
            masters: Mutex::new(masters),
            found: Mutex::new(Found { url, channel }),
        })))
    }

    /// Connects to the master that leads.
    pub(super) async fn find(&self) -> Result<Channel, FindError> {
        let mut random = StdRng::from_os_rng();
        let pause = || ASK_AGAIN.mul_f64(random.random_range(0.5..=1.0));
        let (url, channel) = find(&self.0.masters, endpoint, ELECTION_PATIENCE, pause).await?;
        let mut found = self.found();
        if found.url != url {
            tracing::info!(url, "another master leads");
        }
        *found = Found {
            url,
            channel: channel.clone(),
        };
        Ok(channel)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster for MasterAddress {
    fn host(&self) -> String {
        let found = self.found();
        let host = found
            .url
            .split_once("://")
            .map_or(&*found.url, |(_, host)| host);
        host.to_owned()
    }

    fn is_plain(&self) -> bool {
        !self.found().url.starts_with("https:")
    }

    fn channel(&self) -> Channel {
        self.found().channel.clone()
    }
}

/// How a master is spoken with; nothing if the address is none.
fn endpoint(url: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(url.to_owned()).ok()?;
    endpoint.uri().authority()?;
    Some(
        endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_urls_or_host_and_port_and_may_be_several() {
        for (good, host) in [
            ("http://127.0.0.1:5050", "127.0.0.1:5050"),
            ("localhost:5050", "localhost:5050"),
            ("http://[::1]:1,b:2", "[::1]:1"),
        ] {
            let address = MasterAddress::parse(good).expect(good);
            assert_eq!(address.host(), host, "{good}");
            assert!(address.is_plain());
        }
        for bad in ["http://a b", "a:1,http://a b", "a:1,,b:2", ""] {
            let error = MasterAddress::parse(bad).expect_err(bad).to_string();
            assert!(error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
