//! Services: components that answer HTTP requests on a port of their agent's host.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use bytes::Bytes;
use nesos_artifacts::services as guests;
use nesos_sdk::{
    Driver, MasterClient, QueueConfig, QueueEvent, QueueInput, SessionConfig, TaskQueue, digest_of,
};
use nesos_types::framework::FrameworkInfo;
use nesos_types::resources::{RangeSet, Resources};
use nesos_types::role::Role;
use nesos_types::service::{HealthCheck, Probe, Service};
use nesos_types::task::{TaskInfo, TaskReason, TaskState, TaskStatus};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::harness::{Dev, Guarded, exit_status, nesos, read_until, run, run_with, signal};

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_services!(is_tested);

const PATIENCE: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// A `nesos run` that serves.
pub(crate) struct Serving {
    pub(crate) process: Guarded,
    pub(crate) port: u16,
}

impl Serving {
    pub(crate) fn start(guest: &str, flags: &[&str]) -> Self {
        let port = free_port();
        let mut child: Child = nesos()
            .args(["run", "--port", &port.to_string()])
            .args(flags)
            .arg(guest)
            .stderr(Stdio::piped())
            .spawn()
            .expect("nesos starts");
        let stderr = child.stderr.as_mut().expect("piped");
        let said = read_until(stderr, "\n");
        let address = format!("serving at http://127.0.0.1:{port}/;");
        assert!(said.contains(&address), "{said}");
        let process = Guarded(child);
        Self { process, port }
    }
}

/// Status and body of the answer.
pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn hello_http() {
    let mut serving = Serving::start(guests::HELLO_HTTP, &[]);
    for _ in 0..3 {
        let greeting = (200, "Hello, world!\n".to_owned());
        assert_eq!(get(serving.port, "/"), greeting);
    }
    signal(serving.process.0.id(), "INT");
    let status = serving.process.0.wait().expect("it ends");
    assert_eq!(exit_status(status), 130);
    assert!(TcpStream::connect(("127.0.0.1", serving.port)).is_err());
}

#[test]
fn faults() {
    let mut serving = Serving::start(guests::FAULTS, &["--request-timeout", "300ms"]);
    assert_eq!(get(serving.port, "/trap").0, 500);
    let stderr = serving.process.0.stderr.as_mut().expect("piped");
    let said = read_until(stderr, "GET /trap: ");
    assert!(said.contains("as it was told"), "{said}");
    assert_eq!(get(serving.port, "/loop").0, 504);
    assert_eq!(get(serving.port, "/").0, 200);
}

#[test]
fn a_request_that_takes_more_cpu_than_one_may_have_is_ended() {
    let mut serving = Serving::start(guests::FAULTS, &["--request-cpu", "50ms"]);
    assert_eq!(get(serving.port, "/loop").0, 504);
    let stderr = serving.process.0.stderr.as_mut().expect("piped");
    read_until(stderr, "its CPU time is used up");
    assert_eq!(get(serving.port, "/").0, 200);
}

#[test]
fn a_service_on_the_command_line_is_checked_and_ended_when_it_is_not_well() {
    for (check, why) in [
        (
            ["--health-call", "--health-grace=0"],
            "it was asked to be sick",
        ),
        (["--health-http=/", "--health-grace=0"], "gave 503"),
    ] {
        let times = ["--health-delay=0", "--health-interval=100ms"];
        let flags = [&check[..], &times].concat();
        let mut serving = Serving::start(guests::AILING, &flags);
        assert_eq!(get(serving.port, "/sick").0, 503);
        let stderr = serving.process.0.stderr.as_mut().expect("piped");
        let said = read_until(stderr, "too many health checks in a row failed");
        assert!(said.contains("health check failed (1 of 3): "), "{said}");
        assert!(said.contains(why), "{said}");
        let status = serving.process.0.wait().expect("it ends");
        assert_eq!(exit_status(status), 137);
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let port = port.to_string();
    let flags = ["--port", &port, "--timeout", "20s"];
    let outcome = run_with(&flags, guests::HELLO_HTTP).go();
    assert_eq!(outcome.status, 125, "{outcome}");
    outcome.says(&format!("port {port} of this host is taken"));
}

#[test]
fn a_service_without_a_port_is_told_what_to_add() {
    run(guests::HELLO_HTTP).go().exits(126).says("--port");
    let port = free_port().to_string();
    run_with(&["--port", &port], nesos_artifacts::wasip2::HELLO)
        .go()
        .exits(125)
        .says("incoming-handler");
}

/// The next status that says how the task is, or its end.
async fn health(events: &mut UnboundedReceiver<QueueEvent>) -> TaskStatus {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        match event.expect("soon").expect("connected") {
            QueueEvent::Status(status)
                if status.healthy.is_some() || status.state.is_terminal() =>
            {
                return status;
            }
            _ => {}
        }
    }
}

/// On a whole cluster, whose agent gives ports as it comes: a service is well, falls ill and is killed for it.
#[tokio::test]
async fn ailing() {
    let dev = Dev::start(&[]);
    let master = MasterClient::connect(&dev.url, PATIENCE, |_, _| {}).await;
    let master = master.expect("connected");
    let bytes = Bytes::from(std::fs::read(guests::AILING).expect("built"));
    let digest = digest_of(&bytes);
    let uploaded = master.blobs().ensure(digest, &bytes, |_| {}).await;
    uploaded.expect("uploaded");
    let (queue, mut events) = TaskQueue::new(QueueConfig::default());
    let info = FrameworkInfo::new("services", [Role::default_role()]);
    let (driver, handle) = Driver::new(queue, master, SessionConfig::new(info));
    let driver = tokio::spawn(driver.run());

    // Among those that every agent has; which of them is free it cannot know.
    let port = (31_000..32_000)
        .find(|&port| TcpListener::bind(("0.0.0.0", port)).is_ok())
        .expect("a free port");
    let ports = RangeSet::new([(u64::from(port), u64::from(port))]);
    let resources = Resources::new(100, 32 << 20)
        .with_disk(1 << 20)
        .with_ranges("ports", ports);
    let id = "ailing".parse().expect("an id");
    let mut task = TaskInfo::new(id, digest, resources);
    task.service = Some(Box::new(Service::at(port)));
    task.health = Some(Box::new(HealthCheck {
        delay: Duration::from_millis(100),
        interval: Duration::from_millis(100),
        failures: 3,
        ..HealthCheck::by(Probe::Call)
    }));
    handle.send(QueueInput::Submit(vec![task.into()]));

    let well = health(&mut events).await;
    assert_eq!(
        (well.state, well.healthy),
        (TaskState::Running, Some(true)),
        "{}",
        well.message
    );
    let asked = tokio::task::spawn_blocking(move || get(port, "/sick")).await;
    assert_eq!(asked.expect("answered").0, 503);
    let sick = health(&mut events).await;
    assert_eq!(
        (sick.state, sick.healthy),
        (TaskState::Running, Some(false))
    );
    assert!(
        sick.message.contains("it was asked to be sick"),
        "{}",
        sick.message
    );
    let end = loop {
        let status = health(&mut events).await;
        if status.state.is_terminal() {
            break status;
        }
    };
    assert_eq!(
        (end.state, end.reason),
        (TaskState::Killed, Some(TaskReason::Unhealthy))
    );
    assert_eq!(end.healthy, Some(false));
    handle.send(QueueInput::Teardown);
    let ended = driver.await.expect("no panic");
    assert!(ended.is_ok(), "{:?}", ended.err());
}
