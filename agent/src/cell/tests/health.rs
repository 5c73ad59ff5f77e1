//! Health checks in a cell: when probes are made, what is told of them, and how a task that is not well ends.

use nesos_types::service::{HealthCheck, Probe};
use nesos_types::task::TaskStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn checked(probe: Probe) -> CellCommand {
    let CellCommand::Launch(mut launch) = launch("a", Stdio::Retained) else {
        unreachable!("a launch");
    };
    let mut task = (*launch.task).clone();
    task.kill_grace = Some(Duration::from_secs(7));
    task.health = Some(Box::new(HealthCheck {
        probe,
        delay: SECOND,
        interval: SECOND,
        timeout: SECOND,
        failures: 2,
        grace: Duration::ZERO,
    }));
    launch.task = task.into();
    CellCommand::Launch(launch)
}

/// What was told of the task's health: the state, whether it is well, and why.
fn told(session: &mut Session) -> Vec<TaskStatus> {
    std::iter::from_fn(|| session.events.try_recv().ok())
        .filter_map(|event| match event.try_into().expect("valid") {
            CellEvent::Update { status, .. } => Some(status),
            _ => None,
        })
        .collect()
}

fn brief(statuses: &[TaskStatus]) -> Vec<(TaskState, Option<bool>)> {
    let all = statuses.iter();
    all.map(|status| (status.state, status.healthy)).collect()
}

#[tokio::test(start_paused = true)]
async fn health_is_told_when_it_changes_and_a_sick_task_is_killed() {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(checked(Probe::Call));
    stage.run(0);
    assert_eq!(brief(&told(&mut session)), [(TaskState::Running, None)]);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(brief(&told(&mut session)), [], "not before the delay");
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(
        brief(&told(&mut session)),
        [(TaskState::Running, Some(true))]
    );
    stage.sick.store(true, Ordering::SeqCst);
    tokio::time::sleep(SECOND).await;
    let statuses = told(&mut session);
    assert_eq!(brief(&statuses), [(TaskState::Running, Some(false))]);
    assert_eq!(statuses[0].message, "health check failed (1 of 2): sick");
    assert_eq!(stage.kills.lock().expect("not poisoned").len(), 0);
    tokio::time::sleep(SECOND).await;
    let kill = stage.kills.lock().expect("not poisoned")[0].1.clone();
    assert_eq!(
        (kill.reason, kill.grace),
        (TaskReason::Unhealthy, 7 * SECOND)
    );
    stage.exit(0);
    assert_eq!(
        brief(&told(&mut session)),
        [(TaskState::Finished, Some(false))]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_probed_once_killing_starts() {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(checked(Probe::Call));
    stage.run(0);
    tokio::time::sleep(SECOND * 2).await;
    stage.sick.store(true, Ordering::SeqCst);
    told(&mut session);
    cell.on_command(kill("a"));
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(brief(&told(&mut session)), []);
    assert_eq!(stage.kills.lock().expect("not poisoned").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_hears_how_the_task_is() {
    let (stage, cell) = cell();
    let session = cell.connect();
    cell.on_command(checked(Probe::Call));
    stage.run(0);
    cell.disconnect(session.number);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(
        brief(&told(&mut cell.connect())),
        [(TaskState::Running, Some(true))]
    );
}

/// The first status after RUNNING.
async fn first_word(probe: Probe) -> TaskStatus {
    let (stage, cell) = cell();
    let mut session = cell.connect();
    cell.on_command(checked(probe));
    stage.run(0);
    loop {
        let event = session.events.recv().await.expect("connected");
        if let Ok(CellEvent::Update { status, .. }) = event.try_into()
            && status.healthy.is_some()
        {
            return status;
        }
    }
}

/// Answers each connection with these bytes.
async fn answering(bytes: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let len = stream.read(&mut asked).await.unwrap_or(0);
            assert!(asked[..len].starts_with(b"GET /health HTTP/1.1\r\n") || len == 0);
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    port
}

fn http(port: u16) -> Probe {
    let path = "/health".to_owned();
    Probe::Http { port, path }
}

#[tokio::test]
async fn http_is_well_from_200_to_399() {
    for (answer, well) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
        ("nonsense\r\n\r\n", false),
        ("", false),
    ] {
        let port = answering(answer).await;
        let status = first_word(http(port)).await;
        assert_eq!(status.healthy, Some(well), "{answer:?}: {}", status.message);
    }
}

#[tokio::test]
async fn tcp_is_well_if_somebody_listens() {
    let port = answering("").await;
    assert_eq!(first_word(Probe::Tcp { port }).await.healthy, Some(true));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let status = first_word(Probe::Tcp { port }).await;
    assert_eq!(status.healthy, Some(false));
    assert!(
        status.message.contains("cannot connect"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failure() {
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let status = first_word(http(port)).await;
    assert_eq!(status.healthy, Some(false));
    assert!(
        status.message.ends_with("no answer within 1 s"),
        "{}",
        status.message
    );
}
