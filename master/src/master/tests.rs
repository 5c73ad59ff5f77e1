//! A master behind real sockets, spoken to as any client would.

use std::time::Duration;

use futures::StreamExt;
use nesos_api::v1;
use nesos_api::v1::agent_service_client::AgentServiceClient;
use nesos_api::v1::scheduler_service_client::SchedulerServiceClient;
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use nesos_types::message::{AgentCommand, AgentEvent, Refusal, SchedulerCall, SchedulerEvent};
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::resources::Resources;
use nesos_types::task::{StatusSource, TaskInfo, TaskState, TaskStatus};
use nesos_types::time::Time;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::*;

mod bundles;
mod conversations;
mod operator;
mod policy;
mod registry;
mod s3;
mod standby;
mod starting;

/// A master of one test, and its directory.
struct TestMaster {
    running: RunningMaster,
    directory: tempfile::TempDir,
}

impl TestMaster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let running = Master::start(MasterConfig::ephemeral(directory.path()))
            .await
            .unwrap();
        Self { running, directory }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(self.running.url())
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    async fn scheduler(&self) -> TestScheduler {
        TestScheduler::connect(self.channel().await).await
    }

    async fn agent(&self) -> TestAgent {
        TestAgent::connect(self.channel().await).await
    }

    /// Stops the master and asserts that it did so in good order.
    async fn stop(self) {
        let shutdown = self.running.shutdown().await.unwrap();
        assert_eq!(shutdown, Shutdown { graceful: true });
        self.directory.close().unwrap();
    }
}

/// A scheduler that speaks the wire by hand.
struct TestScheduler {
    calls: mpsc::Sender<v1::SchedulerCalls>,
    frames: Streaming<v1::SchedulerEvents>,
    queue: Vec<SchedulerEvent>,
}

impl TestScheduler {
    async fn connect(channel: Channel) -> Self {
        let (calls, receiver) = mpsc::channel(16);
        let frames = SchedulerServiceClient::new(channel)
            .converse(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self {
            calls,
            frames,
            queue: Vec::new(),
        }
    }

    async fn call(&self, calls: impl IntoIterator<Item = SchedulerCall>) {
        let calls = calls.into_iter().map(|call| (&call).into()).collect();
        self.calls.send(v1::SchedulerCalls { calls }).await.unwrap();
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<SchedulerEvent, Status>> {
        while self.queue.is_empty() {
            match self.frames.next().await? {
                Ok(frame) => {
                    let events = frame.events.into_iter().rev();
                    self.queue
                        .extend(events.map(|event| SchedulerEvent::try_from(event).unwrap()));
                }
                Err(status) => return Some(Err(status)),
            }
        }
        self.queue.pop().map(Ok)
    }

    async fn event(&mut self) -> SchedulerEvent {
        self.next().await.expect("more to come").unwrap()
    }

    async fn subscribe(&mut self, framework: Option<FrameworkId>) -> FrameworkId {
        self.call([subscribe(framework)]).await;
        match self.event().await {
            SchedulerEvent::Subscribed { framework, .. } => framework,
            other => panic!("{other:?}"),
        }
    }

    async fn offer(&mut self) -> Offer {
        match self.event().await {
            SchedulerEvent::Offers(mut offers) if offers.len() == 1 => offers.remove(0),
            other => panic!("{other:?}"),
        }
    }

    async fn update(&mut self) -> TaskStatus {
        match self.event().await {
            SchedulerEvent::Update(status) => status,
            other => panic!("{other:?}"),
        }
    }
}

/// An agent that speaks the wire by hand.
struct TestAgent {
    events: mpsc::Sender<v1::AgentEvents>,
    frames: Streaming<v1::AgentCommands>,
    queue: Vec<AgentCommand>,
}

impl TestAgent {
    async fn connect(channel: Channel) -> Self {
        let (events, receiver) = mpsc::channel(16);
        let frames = AgentServiceClient::new(channel)
            .converse(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self {
            events,
            frames,
            queue: Vec::new(),
        }
    }

    async fn say(&self, events: impl IntoIterator<Item = AgentEvent>) {
        let events = events.into_iter().map(|event| (&event).into()).collect();
        self.events.send(v1::AgentEvents { events }).await.unwrap();
    }

    async fn command(&mut self) -> AgentCommand {
        while self.queue.is_empty() {
            let frame = self.frames.next().await.expect("more to come").unwrap();
            let commands = frame.commands.into_iter().rev();
            self.queue
                .extend(commands.map(|command| AgentCommand::try_from(command).unwrap()));
        }
        self.queue.pop().expect("was filled")
    }

    async fn register(&mut self) -> AgentId {
        let register = AgentEvent::Register {
            agent: None,
            info: agent_info(),
            tasks: Vec::new(),
        };
        self.say([register]).await;
        match self.command().await {
            AgentCommand::Registered { agent, .. } => agent,
            other => panic!("{other:?}"),
        }
    }
}

fn subscribe(framework: Option<FrameworkId>) -> SchedulerCall {
    SchedulerCall::Subscribe {
        framework,
        info: FrameworkInfo::new("test", ["web".parse().unwrap()]),
        suppressed: [].into(),
    }
}

fn agent_info() -> AgentInfo {
    AgentInfo::new("host", Resources::new(4000, 4 << 30))
}

fn task(id: &str) -> TaskInfo {
    TaskInfo::new(
        id.parse().unwrap(),
        Digest([1; 32]),
        Resources::new(1000, 1 << 30),
    )
}

fn accept(offer: &Offer, task: TaskInfo) -> SchedulerCall {
    SchedulerCall::Accept {
        offers: vec![offer.id],
        operations: vec![Operation::Launch(vec![task.into()])],
        filters: Filters::refuse_for(Duration::from_secs(3600)),
    }
}

fn status(task: &str, state: TaskState, update: u128) -> TaskStatus {
    let task: TaskId = task.parse().unwrap();
    let mut status = TaskStatus::new(task, state, StatusSource::Cell, Time::from_micros(1));
    status.update = Some(UpdateId(update));
    status
}
