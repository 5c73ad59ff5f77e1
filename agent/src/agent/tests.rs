use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use nesos_agent_core::checkpoint::Recovered;
use nesos_api::v1;
use nesos_api::v1::agent_service_server::{AgentService, AgentServiceServer};
use nesos_types::bundle::Digest;
use nesos_types::ids::{AgentId, FrameworkId, TaskKey};
use nesos_types::message::{AgentCommand, AgentEvent};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskInfo, TaskState};
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::checkpoint_log::CheckpointFile;

fn config(directory: &std::path::Path) -> AgentConfig {
    AgentConfig {
        // Nobody listens there; an agent without a master is an agent all the same.
        master: "http://127.0.0.1:1".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        // Not measured.
        fuel_per_cpu_second: 1,
        ..AgentConfig::new(directory)
    }
}

#[tokio::test]
async fn an_agent_without_a_master_starts_waits_and_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(config(directory.path())).await.unwrap();
    assert_eq!(agent.url(), format!("http://{}", agent.address()));
    let snapshot = agent.snapshot().await.unwrap();
    assert!(!snapshot.registered && snapshot.tasks.is_empty());
    assert!(snapshot.info.resources.cpu_milli >= 1000);
    let left = Shutdown::Left {
        graceful: true,
        tasks_left: 0,
        updates_left: 0,
    };
    assert_eq!(agent.shutdown().await.unwrap(), left);
}

#[tokio::test]
async fn one_agent_at_a_time_uses_a_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(config(directory.path())).await.unwrap();
    let second = Agent::start(config(directory.path())).await;
    assert!(matches!(second, Err(StartError::Locked { .. })));
    assert_eq!(agent.detach().await.unwrap(), Shutdown::Detached);
    let third = Agent::start(config(directory.path())).await.unwrap();
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(directory.path());
    config.listen = taken.local_addr().unwrap();
    let Err(error) = Agent::start(config).await else {
        panic!("the port is taken");
    };
    let port = taken.local_addr().unwrap().to_string();
    assert!(error.to_string().contains(&port), "{error}");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    std::fs::write(&path, b"garbage").unwrap();
    let Err(error) = Agent::start(config(directory.path())).await else {
        panic!("the checkpoint is damaged");
    };
    assert!(matches!(
        error,
        StartError::Checkpoint(CheckpointError::Corrupt { .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"garbage");
}

#[tokio::test]
async fn a_state_directory_that_is_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let Err(error) = Agent::start(config(&file)).await else {
        panic!("it is a file");
    };
    assert!(matches!(error, StartError::StateDirectory { .. }));
}

/// A master that takes every agent, launches what the test says, and passes on what it hears.
struct StubMaster {
    launches: Vec<SharedTask>,
    heard: mpsc::UnboundedSender<AgentEvent>,
}

const ID: AgentId = AgentId(0xa9);
const FRAMEWORK: FrameworkId = FrameworkId(0xf9);

impl StubMaster {
    /// Serves on a port of its own; answers its address and what it hears.
    async fn serve(launches: Vec<SharedTask>) -> (String, mpsc::UnboundedReceiver<AgentEvent>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, hearing) = mpsc::unbounded_channel();
        let service = AgentServiceServer::new(Self { launches, heard });
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        (url, hearing)
    }

    fn answers(&self, event: &AgentEvent) -> Vec<AgentCommand> {
        match event {
            AgentEvent::Register { .. } => vec![
                AgentCommand::Registered {
                    agent: ID,
                    ping_interval: Duration::from_secs(15),
                },
                AgentCommand::Launch {
                    framework: FRAMEWORK,
                    role: Role::default_role(),
                    signers: Default::default(),
                    tasks: self.launches.clone(),
                },
            ],
            AgentEvent::Update { status, .. } => vec![AgentCommand::Acknowledge {
                key: TaskKey {
                    framework: FRAMEWORK,
                    task: status.task.clone(),
                },
                update: status.update.unwrap(),
            }],
            AgentEvent::Message { .. }
            | AgentEvent::Slack { .. }
            | AgentEvent::Bundles { .. }
            | AgentEvent::Pong
            | AgentEvent::Unregister => Vec::new(),
        }
    }
}

#[tonic::async_trait]
impl AgentService for StubMaster {
    type ConverseStream = BoxStream<'static, Result<v1::AgentCommands, Status>>;

    async fn converse(
        &self,
        request: Request<Streaming<v1::AgentEvents>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let master = Self {
            launches: self.launches.clone(),
            heard: self.heard.clone(),
        };
        let answers = request.into_inner().map_ok(move |frame| {
            let mut commands = Vec::new();
            for event in frame.events {
                let event = AgentEvent::try_from(event).unwrap();
                commands.extend(master.answers(&event).iter().map(Into::into));
                let _ = master.heard.send(event);
            }
            v1::AgentCommands { commands }
        });
        Ok(Response::new(answers.boxed()))
    }
}

#[tokio::test]
async fn an_agent_registers_answers_and_says_goodbye() {
    let id = "large".parse().unwrap();
    let much = Resources::new(u64::MAX, 1);
    let large = TaskInfo::new(id, Digest([1; 32]), much).into();
    let (url, mut heard) = StubMaster::serve(vec![large]).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.master = url;
    let agent = Agent::start(config).await.unwrap();
    let Some(AgentEvent::Register {
        agent: None,
        info,
        tasks,
    }) = heard.recv().await
    else {
        panic!("expected a registration");
    };
    assert_eq!((info.url.as_str(), tasks.len()), (agent.url(), 0));
    let Some(AgentEvent::Update { status, .. }) = heard.recv().await else {
        panic!("expected an update");
    };
    assert_eq!(status.state, TaskState::Dropped);
    assert_eq!(status.agent, Some(ID));
    let Shutdown::Left { tasks_left: 0, .. } = agent.shutdown().await.unwrap() else {
        panic!("expected it to leave");
    };
    assert_eq!(heard.recv().await, Some(AgentEvent::Unregister));
    // Whoever left comes back as a new agent.
    let file = CheckpointFile::open(&directory.path().join("checkpoint.redb")).unwrap();
    assert_eq!(file.load().unwrap(), Recovered::default());
}

#[tokio::test]
async fn an_agent_that_only_ended_comes_back_under_its_id() {
    let (url, mut heard) = StubMaster::serve(Vec::new()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.master = url;
    for known in [None, Some(ID)] {
        let agent = Agent::start(config.clone()).await.unwrap();
        let Some(AgentEvent::Register { agent: id, .. }) = heard.recv().await else {
            panic!("expected a registration");
        };
        assert_eq!(id, known);
        while !agent.snapshot().await.unwrap().registered {
            tokio::task::yield_now().await;
        }
        assert_eq!(agent.detach().await.unwrap(), Shutdown::Detached);
    }
}
