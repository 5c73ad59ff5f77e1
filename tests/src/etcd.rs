//! A real etcd for tests and benchmarks: on ports of loopback that the system chooses, with a directory of its own, ended
//! when it is dropped. It knows nothing of what is kept in it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long an etcd may take to serve on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An etcd of one member.
#[derive(Debug)]
pub struct Etcd {
    child: Option<Child>,
    port: u16,
    peer_port: u16,
    directory: tempfile::TempDir,
}

impl Etcd {
    /// Starts one; nothing, and a word about it, where etcd is not installed.
    ///
    /// # Panics
    /// If it does not begin to serve.
    #[must_use]
    pub fn start() -> Option<Self> {
        if let Err(error) = Command::new("etcd").arg("--version").output() {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            eprintln!("NOT CHECKED: etcd is not installed");
            return None;
        }
        // Between the choice of a port and its use somebody else may take it.
        (0..5)
            .find_map(|_| Self::try_start())
            .or_else(|| panic!("etcd does not serve"))
    }

    fn try_start() -> Option<Self> {
        let mut etcd = Self {
            child: None,
            port: free_port(),
            peer_port: free_port(),
            directory: tempfile::tempdir().expect("a directory"),
        };
        etcd.serve().then_some(etcd)
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn member(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it again, on the same state, after it was stopped.
    ///
    /// # Panics
    /// If it does not serve again.
    pub fn restart(&mut self) {
        assert!(self.serve(), "etcd does not serve again");
    }

    /// Ends it without a warning.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Answers whether it serves.
    fn serve(&mut self) -> bool {
        let client = format!("http://{}", self.member());
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let child = Command::new("etcd")
            .args(["--name", "test", "--log-level", "error", "--data-dir"])
            .arg(self.directory.path())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let child = self.child.insert(child);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return false;
            }
            if is_healthy(self.port) {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether it has a leader, and so can answer.
fn is_healthy(port: u16) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
