//! A runtime on a free port, and clients that speak HTTP/1.1 by hand.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nesos_runtime::{
    Exit, Identity, NoUplink, Observer, RetainedOutput, Runtime, RuntimeConfig, Sandbox,
    SandboxSpec, Stdin, Stdout, compile,
};
use nesos_types::bundle::Digest;
use nesos_types::ids::FrameworkId;
use nesos_types::resources::Resources;
use nesos_types::service::Service;
use nesos_types::task::{TaskInfo, TaskReason};

/// A runtime, and a directory for what it runs.
pub(crate) struct Bench {
    runtime: Runtime,
    directory: tempfile::TempDir,
    compiled: Mutex<HashMap<String, PathBuf>>,
    io: tokio::runtime::Runtime,
}

/// A service that runs.
pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) sandbox: Sandbox,
    log: PathBuf,
    events: mpsc::Receiver<Option<Exit>>,
}

struct Channel(mpsc::Sender<Option<Exit>>);

impl Observer for Channel {
    fn running(&mut self) {
        drop(self.0.send(None));
    }

    fn exited(&mut self, exit: Exit) {
        drop(self.0.send(Some(exit)));
    }
}

/// A service on this port that waits for nobody long.
pub(crate) fn service(port: u16) -> Service {
    Service {
        request_timeout: Some(Duration::from_secs(15)),
        ..Service::at(port)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = RuntimeConfig {
            guest_threads: 2,
            max_sandboxes: Some(256),
            ..RuntimeConfig::default()
        };
        Self {
            runtime: Runtime::new(config, io.handle().clone()).expect("a runtime"),
            directory: tempfile::tempdir().expect("a directory"),
            compiled: Mutex::default(),
            io,
        }
    }

    /// Launches a service with 64 MiB and one CPU, and waits until it runs.
    pub(crate) fn serve(&self, wasm: &str, change: impl FnOnce(&mut TaskInfo)) -> Served {
        let served = self.launch(wasm, change);
        assert_eq!(served.events.recv(), Ok(None), "it runs");
        served
    }

    /// Launches what is not to run: its exit.
    pub(crate) fn exit(&self, wasm: &str, change: impl FnOnce(&mut TaskInfo)) -> Exit {
        let served = self.launch(wasm, change);
        served
            .events
            .recv()
            .expect("told")
            .expect("it ends before it runs")
    }

    fn launch(&self, wasm: &str, change: impl FnOnce(&mut TaskInfo)) -> Served {
        let resources = Resources::new(1000, 64 << 20).with_disk(1 << 20);
        let id = "service".parse().expect("an id");
        let mut task = TaskInfo::new(id, Digest([0; 32]), resources);
        task.service = Some(Box::new(service(free_port())));
        change(&mut task);
        let port = task.service.as_ref().map_or(0, |service| service.port);
        let own = tempfile::tempdir_in(&self.directory)
            .expect("a directory")
            .keep();
        let log = own.join("stderr");
        let spec = SandboxSpec {
            framework: FrameworkId(1),
            compiled: self.compiled(wasm, &task),
            task: task.into(),
            root: own.join("root"),
            volumes: Vec::new(),
            stdin: Stdin::Empty,
            stdout: Stdout::Null,
            stderr: Stdout::Retained(RetainedOutput::create(&log, 1 << 20)),
            fuel_per_cpu_second: 1_000_000_000,
            determinism: None,
            identity: Identity::default(),
            uplink: Arc::new(NoUplink),
        };
        let (sender, events) = mpsc::channel();
        let sandbox = self.runtime.launch(spec, Box::new(Channel(sender)));
        Served {
            port,
            sandbox,
            log,
            events,
        }
    }

    fn compiled(&self, wasm: &str, task: &TaskInfo) -> PathBuf {
        let mut compiled = self.compiled.lock().expect("no panic");
        let path = self.directory.path().join(compiled.len().to_string());
        compiled
            .entry(wasm.to_owned())
            .or_insert_with(|| {
                compile(Path::new(wasm), task.limits.metering, &path).expect("it compiles");
                path
            })
            .clone()
    }

    /// Asks a guest how it is.
    pub(crate) fn healthy(&self, served: &Served) -> Result<(), String> {
        self.io.block_on(served.sandbox.healthy())
    }

    /// A request by HTTP/2 without an upgrade: the status.
    pub(crate) fn get_by_http2(&self, port: u16, path: &str) -> u16 {
        use hyper_util::rt::{TokioExecutor, TokioIo};
        self.io.block_on(async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            let io = TokioIo::new(stream.expect("connected"));
            let (mut client, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .expect("it speaks HTTP/2");
            tokio::spawn(connection);
            let uri = format!("http://127.0.0.1:{port}{path}");
            let request =
                hyper::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new());
            let response = client.send_request(request.expect("a request")).await;
            response.expect("an answer").status().as_u16()
        })
    }
}

impl Served {
    /// Asks for this path over a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.port, path)
    }

    /// As [`Self::get`], on a thread of its own.
    pub(crate) fn start(&self, path: &str) -> JoinHandle<Answer> {
        let (port, path) = (self.port, path.to_owned());
        std::thread::spawn(move || get(port, &path))
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Sends these bytes.
    pub(crate) fn send(&self, bytes: &str) -> Client {
        let mut client = self.connect();
        // What is refused early is not read to its end.
        drop(client.stream.write_all(bytes.as_bytes()));
        client
    }

    /// Whether nobody listens.
    pub(crate) fn refuses(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_err()
    }

    pub(crate) fn kill(&self, grace: Duration) {
        self.sandbox.kill(grace, TaskReason::KillRequested, "");
    }

    /// The end of the service.
    pub(crate) fn exit(&self) -> Exit {
        self.events
            .iter()
            .flatten()
            .next()
            .expect("the exit is told")
    }

    /// Ends it.
    pub(crate) fn end(&self) -> Exit {
        self.kill(Duration::ZERO);
        self.exit()
    }

    /// What was written to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < Duration::from_secs(10), "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the answer came to the end that its headers promised.
    pub(crate) is_whole: bool,
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

fn get(port: u16, path: &str) -> Answer {
    let mut client = Client::connect(port);
    client.get(path)
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("a limit");
        let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        Self { stream, reader }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("sent");
        self.read_one()
    }

    pub(crate) fn answer(mut self) -> Answer {
        self.read_one()
    }

    pub(crate) fn read_one(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && self.reader.read_line(&mut head).is_ok_and(|it| it > 0)
        {
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let (body, is_whole) = match length.map(|length| length.parse().expect("a number")) {
            Some(length) => self.read_exactly(length),
            None => self.read_chunks(),
        };
        Answer {
            status: status.unwrap_or(0),
            body: String::from_utf8_lossy(&body).into_owned(),
            head,
            is_whole,
        }
    }

    fn read_exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        let mut body = vec![0; length];
        let read = self.reader.read_exact(&mut body);
        (body, read.is_ok())
    }

    fn read_chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return (body, false);
            }
            let Ok(length) = usize::from_str_radix(line.trim_end(), 16) else {
                return (body, false);
            };
            let (mut piece, whole) = self.read_exactly(length + 2);
            if length == 0 || !whole {
                return (body, whole);
            }
            piece.truncate(length);
            body.extend(piece);
        }
    }

    /// Whether the other side closes the connection, with or without an answer.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).expect("a limit");
        self.reader.read_to_end(&mut Vec::new()).is_ok()
    }
}
