//! Health checks: probes of the tasks that have one, from RUNNING until they are killed or end.
//!
//! The cell makes them, for it outlives the agent. What a probe means is decided in the core; here is how one is
//! made, and how what it means is told. Probes go to this host only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use nesos_agent_core::{Health, Verdict};
use nesos_types::ids::TaskKey;
use nesos_types::service::{HealthCheck, Probe};
use nesos_types::task::{TaskReason, TaskState};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::launcher::{Guest, Kill, Launcher};
use super::sandboxes::{DEFAULT_KILL_GRACE, Sandboxes};

impl<L: Launcher> Sandboxes<L> {
    /// A task runs: it is probed from now on, if it is to be. Must be called within a tokio runtime if so.
    pub(super) fn watch_health(self: &Arc<Self>, key: &TaskKey) {
        let check = self
            .table
            .get(key)
            .and_then(|entry| entry.ledger.task().health.clone());
        let Some(check) = check else {
            return;
        };
        let (sandboxes, key) = (self.clone(), key.clone());
        let watched = key.clone();
        let watch = tokio::spawn(async move { sandboxes.probe_for_ever(&key, *check).await });
        if let Some(mut entry) = self.table.get_mut(&watched)
            && !entry.ledger.has_ended()
        {
            entry.watch = Some(AbortOnDropHandle::new(watch));
        } else {
            watch.abort();
        }
    }

    /// Returns when the task is to be killed for its health.
    async fn probe_for_ever(self: &Arc<Self>, key: &TaskKey, check: HealthCheck) {
        let began = Instant::now();
        let mut health = Health::new(check.clone());
        for probes in 0.. {
            sleep(health.wait(probes)).await;
            let found = match timeout(check.timeout, self.probe(key, &check.probe)).await {
                Ok(found) => found,
                Err(_) => Err(took_too_long(check.timeout)),
            };
            let verdict = health.probed(began.elapsed(), found.is_ok());
            let why = found.err().unwrap_or_default();
            match verdict {
                Verdict::Nothing => {}
                Verdict::Well => self.tell_health(key, true, String::new()),
                Verdict::Ailing(failures) => {
                    let allowed = check.failures;
                    let message = format!("health check failed ({failures} of {allowed}): {why}");
                    self.tell_health(key, false, message);
                }
                Verdict::End => return self.end_for_health(key),
            }
        }
    }

    async fn probe(&self, key: &TaskKey, probe: &Probe) -> Result<(), String> {
        match probe {
            Probe::Tcp { port } => connect(*port).await.map(drop),
            Probe::Http { port, path } => get(*port, path).await,
            Probe::Call => match self.guest(key) {
                Some(guest) => guest.healthy().await,
                None => Err("the guest has not started".to_owned()),
            },
        }
    }

    fn tell_health(&self, key: &TaskKey, healthy: bool, message: String) {
        let mut status = self.status(key, TaskState::Running);
        status.healthy = Some(healthy);
        status.message = message;
        self.report(key, status);
    }

    fn end_for_health(self: &Arc<Self>, key: &TaskKey) {
        let grace = self.table.get_mut(key).and_then(|mut entry| {
            entry.healthy = Some(false);
            entry.ledger.task().kill_grace
        });
        let kill = Kill {
            grace: grace.unwrap_or(DEFAULT_KILL_GRACE),
            reason: TaskReason::Unhealthy,
            message: "too many health checks in a row failed",
        };
        self.kill(key, kill);
    }
}

fn took_too_long(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect(("127.0.0.1", port)).await;
    connected.map_err(|error| format!("cannot connect to port {port}: {error}"))
}

/// Well if the answer's status says so; of its body nothing is read.
async fn get(port: u16, path: &str) -> Result<(), String> {
    let io = TokioIo::new(connect(port).await?);
    let broke = |error: hyper::Error| format!("no HTTP answer on port {port}: {error}");
    let (mut client, connection) = http1::handshake(io).await.map_err(broke)?;
    let request = Request::get(path)
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(USER_AGENT, "nesos-health-check")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot ask for {path}: {error}"))?;
    let connection = async {
        // What breaks it breaks the answer, too.
        drop(connection.await);
        std::future::pending().await
    };
    let response = tokio::select! {
        response = client.send_request(request) => response.map_err(broke)?,
        never = connection => never,
    };
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("GET {path} on port {port} gave {status}"))
    }
}
