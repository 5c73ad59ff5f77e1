use super::*;

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
