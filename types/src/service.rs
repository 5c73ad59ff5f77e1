//! Services: tasks that answer HTTP requests, and how anybody knows whether they are well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a task of the world `wasi:http` serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Where it listens on its agent's host: one of the `ports` among the task's resources.
    pub port: u16,
    /// Requests that one instance of the guest answers one after another before a fresh one takes over;
    /// one is an instance for each request.
    pub requests_per_instance: u32,
    /// Requests that are answered at the same time, each by an instance of its own; more wait.
    pub concurrency: u32,
    /// The most CPU time of one request.
    pub request_cpu: Option<Duration>,
    /// The most wall-clock time of one request, from its first byte to the end of its answer.
    pub request_timeout: Option<Duration>,
    /// The most memory of one instance, in bytes; all together have the task's memory.
    pub instance_mem_bytes: Option<u64>,
}

impl Service {
    /// A service at this port: fresh instances for each request, as many at a time as memory allows up to 64.
    #[must_use]
    pub fn at(port: u16) -> Self {
        Self {
            port,
            requests_per_instance: 1,
            concurrency: 64,
            request_cpu: None,
            request_timeout: Some(Duration::from_secs(30)),
            instance_mem_bytes: None,
        }
    }
}

/// How it is found out whether a task is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From RUNNING to the first probe (Mesos: 15 s).
    pub delay: Duration,
    /// From the end of one probe to the next (Mesos: 10 s).
    pub interval: Duration,
    /// How long a probe may take; one that takes longer has failed (Mesos: 20 s).
    pub timeout: Duration,
    /// So many failures in a row are the task's end (Mesos: 3).
    pub failures: u32,
    /// How long after the delay failures do not count. Ends at the first success (Mesos: 10 s, but counted
    /// from the launch, so that with its defaults it never does anything).
    pub grace: Duration,
}

impl HealthCheck {
    /// A check by this probe with the usual times.
    #[must_use]
    pub fn by(probe: Probe) -> Self {
        Self {
            probe,
            delay: Duration::from_secs(15),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            failures: 3,
            grace: Duration::from_secs(10),
        }
    }
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A GET of this path at the port; well if the status is 200 to 399.
    Http {
        /// On the agent's host.
        port: u16,
        /// With its leading slash.
        path: String,
    },
    /// A connection to the port; well if it is taken.
    Tcp {
        /// On the agent's host.
        port: u16,
    },
    /// A call of the guest's exported function `health` of `nesos:guest`; well if it says so.
    Call,
}
