//! Several masters of one cluster: which one is spoken with next, and how one that does not lead says who
//! does.
//!
//! A master that waits answers every call with `UNAVAILABLE`, and names the leader in the metadata
//! [`LEADER_KEY`] if there is one. gRPC's health service tells the same without anything being asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::v1::scheduler_service_server::SERVICE_NAME;

/// The metadata, and the HTTP header, in which a master that does not lead names the one that does.
pub const LEADER_KEY: &str = "nesos-leader";
/// The metadata in which it says why it does not.
pub const STANDBY_KEY: &str = "nesos-standby";

/// How long a master may take to say whether it leads.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many redirections are followed in a row: leaders do not change that fast.
const MOST_REDIRECTIONS: usize = 3;

/// The masters that were named, and the one that is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masters {
    listed: Vec<String>,
    at: usize,
    /// Whom one of them has named.
    leader: Option<String>,
}

impl Masters {
    /// Reads `URL[,URL…]`; a URL without a scheme is one of `http`. What is no URL at all is found when it
    /// is used.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        Self {
            listed: list.split(',').map(full_url).collect(),
            at: 0,
            leader: None,
        }
    }

    /// All that were named.
    #[must_use]
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// The one to be asked.
    #[must_use]
    pub fn current(&self) -> &str {
        self.leader.as_deref().unwrap_or(&self.listed[self.at])
    }

    /// Whether there is more than one master, as far as is known.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.listed.len() > 1 || self.leader.is_some()
    }

    /// The one that was asked says that this one leads.
    pub fn on_redirected(&mut self, leader: &str) {
        let leader = full_url(leader);
        self.leader = match self.listed.iter().position(|listed| *listed == leader) {
            Some(at) => {
                self.at = at;
                None
            }
            None => Some(leader),
        };
    }

    /// The one that was asked is not there, or leads no more: the next one that was named is next.
    pub fn on_failed(&mut self) {
        if self.leader.take().is_none() {
            self.at = (self.at + 1) % self.listed.len();
        }
    }
}

fn full_url(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    }
}

/// Why no leader was found.
#[derive(Debug, Error)]
pub enum FindError {
    /// An address that was given is none.
    #[error("{url:?} is not an address of a master; expected http://HOST:PORT")]
    BadUrl {
        /// The address.
        url: String,
    },
    /// The last one that was asked cannot be reached.
    #[error("cannot connect to {url}")]
    Unreachable {
        /// Which one.
        url: String,
        /// What stands in the way.
        #[source]
        source: tonic::transport::Error,
    },
    /// It does not answer.
    #[error("{url} does not answer: {why}")]
    Silent {
        /// Which one.
        url: String,
        /// What came instead.
        why: String,
    },
    /// It answers, and knows of no leader.
    #[error("{url} waits: {why}")]
    NoLeader {
        /// Which one.
        url: String,
        /// What it waits for.
        why: String,
    },
}

/// Finds the master that leads: asks each that was named once, follows where they point, and begins again
/// after a pause while there are several, one of which answers, and patience is left.
///
/// # Errors
/// What became of the last one that was asked.
pub async fn find(
    masters: &Mutex<Masters>,
    endpoint: impl Fn(&str) -> Option<Endpoint>,
    patience: Duration,
    mut pause: impl FnMut() -> Duration,
) -> Result<(String, Channel), FindError> {
    let began = Instant::now();
    loop {
        let mut waiting = false;
        let why = match one_round(masters, &endpoint, &mut waiting).await {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        // Nobody answers: that is for whoever asks to deal with, by a longer pause.
        if !waiting || began.elapsed() >= patience {
            return Err(why);
        }
        tokio::time::sleep(pause()).await;
    }
}

/// Asks each once. `waiting` says whether one of them waits for an election.
async fn one_round(
    masters: &Mutex<Masters>,
    endpoint: impl Fn(&str) -> Option<Endpoint>,
    waiting: &mut bool,
) -> Result<(String, Channel), FindError> {
    let mut failures = 0;
    let mut redirections = 0;
    loop {
        let (url, several, most) = {
            let masters = lock(masters);
            let url = masters.current().to_owned();
            (url, masters.are_several(), masters.listed.len())
        };
        let why = match try_one(&url, several, &endpoint).await {
            Ok(Found::Leads(channel)) => return Ok((url, channel)),
            Ok(Found::Redirects(leader)) => {
                *waiting = true;
                redirections += 1;
                if redirections <= MOST_REDIRECTIONS {
                    lock(masters).on_redirected(&leader);
                    continue;
                }
                let why = format!("it says that {leader} leads");
                FindError::NoLeader { url, why }
            }
            Err(why) => {
                *waiting |= matches!(why, FindError::NoLeader { .. });
                why
            }
        };
        lock(masters).on_failed();
        failures += 1;
        if failures >= most {
            return Err(why);
        }
    }
}

fn lock(masters: &Mutex<Masters>) -> MutexGuard<'_, Masters> {
    masters.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Found {
    Leads(Channel),
    Redirects(String),
}

async fn try_one(
    url: &str,
    several: bool,
    endpoint: impl Fn(&str) -> Option<Endpoint>,
) -> Result<Found, FindError> {
    let endpoint = endpoint(url).ok_or_else(|| FindError::BadUrl { url: url.into() })?;
    let endpoint = if several { watched(endpoint) } else { endpoint };
    let unreachable = |source| FindError::Unreachable {
        url: url.into(),
        source,
    };
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let silent = |why: String| FindError::Silent {
        url: url.into(),
        why,
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, ask(channel.clone())).await;
    let answer = answer.map_err(|_| silent(format!("nothing within {ANSWER_WITHIN:?}")))?;
    match answer.map_err(|status| silent(status.message().to_owned()))? {
        Answer::Leads => Ok(Found::Leads(channel)),
        Answer::Redirects(leader) => Ok(Found::Redirects(leader)),
        Answer::Waits(why) => Err(FindError::NoLeader {
            url: url.into(),
            why,
        }),
    }
}

/// Where there are others to go to, a master that has fallen silent is noticed within seconds.
fn watched(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
}

/// What a master says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It leads.
    Leads,
    /// It does not, and names who does.
    Redirects(String),
    /// It does not, and knows nobody who does.
    Waits(String),
}

/// Asks a master whether it leads. What has no health service is taken for one that does.
///
/// # Errors
/// If it does not answer.
pub async fn ask(channel: Channel) -> Result<Answer, Status> {
    let request = HealthCheckRequest {
        service: SERVICE_NAME.to_owned(),
    };
    match HealthClient::new(channel)
        .check(Request::new(request))
        .await
    {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(Answer::Leads),
        Ok(answer) => Ok(answer_of(answer.metadata())),
        Err(status) if status.code() == Code::Unimplemented => Ok(Answer::Leads),
        Err(status) if status.code() == Code::NotFound => Ok(answer_of(status.metadata())),
        Err(status) => Err(status),
    }
}

/// What the metadata of a master that does not lead says.
fn answer_of(metadata: &MetadataMap) -> Answer {
    let text = |key| Some(metadata.get(key)?.to_str().ok()?.to_owned());
    match text(LEADER_KEY) {
        Some(leader) => Answer::Redirects(leader),
        None => Answer::Waits(text(STANDBY_KEY).unwrap_or_else(|| "it is stopping".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_gone_through_in_turn() {
        let mut masters = Masters::parse("a:1, http://b:2/,https://c:3");
        assert_eq!(
            masters.listed(),
            ["http://a:1", "http://b:2", "https://c:3"]
        );
        for url in ["http://a:1", "http://b:2", "https://c:3", "http://a:1"] {
            assert_eq!(masters.current(), url);
            masters.on_failed();
        }
    }

    #[test]
    fn a_redirection_is_followed_until_it_fails() {
        let mut masters = Masters::parse("a:1,b:2");
        masters.on_redirected("http://b:2");
        assert_eq!(masters.current(), "http://b:2");
        masters.on_failed();
        assert_eq!(
            masters.current(),
            "http://a:1",
            "b was listed, so a is next"
        );
        masters.on_redirected("http://elsewhere:9/");
        assert_eq!(masters.current(), "http://elsewhere:9");
        masters.on_failed();
        assert_eq!(
            masters.current(),
            "http://a:1",
            "whoever pointed there is asked again"
        );
    }

    #[test]
    fn one_master_is_not_several_until_it_points_elsewhere() {
        let mut masters = Masters::parse("a:1");
        assert!(!masters.are_several());
        masters.on_failed();
        assert_eq!(masters.current(), "http://a:1");
        masters.on_redirected("http://b:2");
        assert!(masters.are_several());
    }

    #[test]
    fn a_standby_names_the_leader_or_says_what_it_waits_for() {
        let mut metadata = MetadataMap::new();
        assert_eq!(answer_of(&metadata), Answer::Waits("it is stopping".into()));
        metadata.insert(STANDBY_KEY, "recovering".parse().expect("ASCII"));
        assert_eq!(answer_of(&metadata), Answer::Waits("recovering".into()));
        metadata.insert(LEADER_KEY, "http://b:2".parse().expect("ASCII"));
        assert_eq!(answer_of(&metadata), Answer::Redirects("http://b:2".into()));
    }
}
