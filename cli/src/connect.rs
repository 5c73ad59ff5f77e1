//! Which master, and how long to look for it.

use std::time::Duration;

use clap::Args;
use nesos_sdk::{ConnectError, MasterClient};

use crate::amounts;
use crate::output;

/// Where a master is if nobody says.
pub(crate) const DEFAULT_MASTER: &str = "http://127.0.0.1:5050";

/// How long to look for a master if nobody says.
pub(crate) const DEFAULT_CONNECT_TIMEOUT: &str = "10s";

/// The master that a command asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct MasterOptions {
    /// The master: http://HOST:PORT or HOST:PORT; of several, all or some of them behind commas
    #[arg(
        long,
        env = "NESOS_MASTER",
        value_name = "URL[,URL…]",
        default_value = DEFAULT_MASTER
    )]
    pub(crate) master: String,
    /// How long to go on trying to reach the master
    #[arg(long, value_name = "TIME", default_value = DEFAULT_CONNECT_TIMEOUT, value_parser = amounts::duration)]
    pub(crate) connect_timeout: Duration,
}

impl MasterOptions {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<MasterClient, ConnectError> {
        // A variable that is set to nothing says as much as one that is not set.
        let url = if self.master.is_empty() {
            DEFAULT_MASTER
        } else {
            &self.master
        };
        connect(url, self.connect_timeout).await
    }
}

/// The first of the masters that are named.
pub(crate) fn first(masters: &str) -> &str {
    masters.split(',').next().unwrap_or(masters)
}

/// The master that leads, as a URL; the first that is named if none says now that it does, for then it has
/// something to say about it.
pub(crate) async fn leader(masters: &str) -> String {
    let named = if masters.is_empty() {
        DEFAULT_MASTER
    } else {
        masters
    };
    match MasterClient::connect(named, Duration::ZERO, |_, _| {}).await {
        Ok(client) => client.url(),
        Err(_) => first(named).to_owned(),
    }
}

/// Connects, and says so once if it takes more than one attempt.
pub(crate) async fn connect(url: &str, patience: Duration) -> Result<MasterClient, ConnectError> {
    let mut told = false;
    MasterClient::connect(url, patience, |why, _| {
        if !std::mem::replace(&mut told, true) {
            output::complain(&format!(
                "no master at {url} yet ({why}); trying for {patience:?}"
            ));
        }
    })
    .await
}
