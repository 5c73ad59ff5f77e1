//! The stream of what happens, for operators who watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use nesos_api::v1;
use nesos_api::v1::watch_event::Event;
use nesos_master_core::Happening;
use nesos_types::task::{StatusSource, TaskStatus};
use nesos_types::time::Time;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::policy;
use super::state::{Parts, state};
use crate::driver::watch::{Happenings, Watching};

/// How often something is said where nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One operator who watches.
struct Watcher {
    happenings: Receiver<Arc<Happenings>>,
    queue: VecDeque<v1::WatchEvent>,
    /// The time of the latest event.
    at: Time,
    stop: CancellationToken,
}

/// The snapshot, if it is wanted, and then what happens.
pub(super) fn events(
    watching: Watching,
    with_snapshot: bool,
    started: Time,
    stop: CancellationToken,
) -> impl Stream<Item = Result<v1::WatchEvent, Status>> {
    let at = watching.snapshot.at;
    let snapshot = with_snapshot.then(|| {
        event(
            at,
            Event::Snapshot(state(&watching.snapshot, Parts::ALL, started)),
        )
    });
    let watcher = Watcher {
        happenings: watching.happenings,
        queue: snapshot.into_iter().collect(),
        at,
        stop,
    };
    stream::try_unfold(watcher, Watcher::step)
}

impl Watcher {
    async fn step(mut self) -> Result<Option<(v1::WatchEvent, Self)>, Status> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some((event, self)));
            }
            self.wait().await?;
        }
    }

    /// Waits until something has happened, or for so long that a heartbeat is due.
    async fn wait(&mut self) -> Result<(), Status> {
        let stopping = || Status::unavailable("the master is stopping");
        let received = self
            .stop
            .run_until_cancelled(timeout(HEARTBEAT, self.happenings.recv()))
            .await
            .ok_or_else(stopping)?;
        match received {
            Err(_elapsed) => {
                self.at = self.at + HEARTBEAT;
                let heartbeat = event(self.at, Event::Heartbeat(v1::WatchHeartbeat {}));
                self.queue.push_back(heartbeat);
                Ok(())
            }
            Ok(Ok(batch)) => {
                self.at = batch.at;
                let wire = |happening| event(batch.at, happened(batch.at, happening));
                self.queue.extend(batch.happenings.iter().map(wire));
                Ok(())
            }
            Ok(Err(RecvError::Lagged(_))) => Err(Status::resource_exhausted(
                "this watcher fell behind and was cut; watch again",
            )),
            Ok(Err(RecvError::Closed)) => Err(stopping()),
        }
    }
}

fn event(at: Time, event: Event) -> v1::WatchEvent {
    v1::WatchEvent {
        at_us: at.as_micros(),
        event: Some(event),
    }
}

/// What happened, as the wire has it: who it is about, and what is new about them.
fn happened(at: Time, happening: &Happening) -> Event {
    match happening {
        Happening::AgentAdded { agent, hostname } => Event::AgentAdded(v1::AgentState {
            id: agent.to_string(),
            info: Some(v1::AgentInfo {
                hostname: hostname.clone(),
                ..v1::AgentInfo::default()
            }),
            status: v1::AgentStatus::Active.into(),
            ..v1::AgentState::default()
        }),
        Happening::AgentDisconnected(agent) => Event::AgentUpdated(v1::AgentState {
            id: agent.to_string(),
            status: v1::AgentStatus::Disconnected.into(),
            ..v1::AgentState::default()
        }),
        Happening::RemovalLimitReached { removed, known } => {
            Event::RemovalLimitReached(v1::WatchRemovalLimit {
                removed: u32::try_from(*removed).unwrap_or(u32::MAX),
                known: u32::try_from(*known).unwrap_or(u32::MAX),
            })
        }
        Happening::AgentOrdered(agent) => Event::AgentOrdered(agent.to_string()),
        Happening::AgentRemoved(agent) => Event::AgentRemoved(agent.to_string()),
        Happening::PolicyChanged(view) => Event::PolicyChanged(policy::state(view)),
        Happening::ReservationsChanged(agent) => Event::ReservationsChanged(agent.to_string()),
        Happening::RoleChanged(role) => Event::RoleChanged(role.to_string()),
        Happening::FrameworkAdded { framework, name } => {
            Event::FrameworkAdded(v1::FrameworkState {
                id: framework.to_string(),
                info: Some(v1::FrameworkInfo {
                    name: name.clone(),
                    ..v1::FrameworkInfo::default()
                }),
                connected: true,
                ..v1::FrameworkState::default()
            })
        }
        Happening::FrameworkUpdated(framework) => Event::FrameworkUpdated(v1::FrameworkState {
            id: framework.to_string(),
            connected: true,
            ..v1::FrameworkState::default()
        }),
        Happening::FrameworkDisconnected(framework) => {
            Event::FrameworkUpdated(v1::FrameworkState {
                id: framework.to_string(),
                connected: false,
                ..v1::FrameworkState::default()
            })
        }
        Happening::FrameworkRemoved(framework) => Event::FrameworkRemoved(framework.to_string()),
        Happening::TaskAdded { key, agent } => Event::TaskAdded(v1::TaskRecord {
            framework_id: key.framework.to_string(),
            agent_id: agent.to_string(),
            task: Some(v1::TaskInfo {
                id: key.task.to_string(),
                ..v1::TaskInfo::default()
            }),
            ..v1::TaskRecord::default()
        }),
        Happening::TaskUpdated {
            key,
            agent,
            state,
            reason,
        } => {
            let mut status =
                TaskStatus::new(key.task.clone(), *state, StatusSource::Master, at).on(*agent);
            status.reason = *reason;
            Event::TaskUpdated(v1::WatchTaskUpdate {
                framework_id: key.framework.to_string(),
                status: Some((&status).into()),
            })
        }
    }
}
