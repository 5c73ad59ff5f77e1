//! Runs the `nesos` binary and looks at what came out.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The binary under test, without a cluster from the environment, with a cache of compiled code that
/// all tests share.
pub(crate) fn nesos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nesos"));
    command
        .env_remove("NESOS_MASTER")
        .env(
            "XDG_CACHE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-cache"),
        )
        .stdin(Stdio::null());
    command
}

/// The same with the signals that end a program as they are at a terminal: whoever is started in the background
/// may have inherited that SIGINT is ignored, until it listens itself.
pub(crate) fn interruptible() -> Command {
    let nesos = nesos();
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT,TERM")
        .arg(nesos.get_program())
        .env_remove("NESOS_MASTER")
        .envs(
            nesos
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .stdin(Stdio::null());
    command
}

/// A `nesos run` in the making: flags, then the guest, then its arguments.
pub(crate) struct Run {
    command: Command,
    input: Vec<u8>,
}

/// Runs this guest on a cluster of its own.
pub(crate) fn run(guest: &str) -> Run {
    run_with(&[], guest)
}

/// Runs this guest with flags of `nesos run`.
pub(crate) fn run_with(flags: &[&str], guest: &str) -> Run {
    let mut command = nesos();
    command.arg("run").args(flags).arg(guest);
    Run {
        command,
        input: Vec::new(),
    }
}

impl Run {
    /// Arguments of the guest.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// What the guest reads.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets something else on the command.
    pub(crate) fn with(mut self, set: impl FnOnce(&mut Command)) -> Self {
        set(&mut self.command);
        self
    }

    /// Runs it to the end.
    pub(crate) fn go(mut self) -> Outcome {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nesos starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = std::mem::take(&mut self.input);
        // A guest that does not read to the end closes the pipe: that is its right.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("nesos ends");
        writer.join().expect("the writer ends");
        Outcome {
            shown: format!("{:?}", self.command),
            status: exit_status(output.status),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process' exit status as a shell shows it.
pub(crate) fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// What came out of a run.
pub(crate) struct Outcome {
    shown: String,
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It ended with this exit status.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// It printed exactly this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert_eq!(self.text(), text, "{self}");
        self
    }

    /// Its output holds this.
    #[track_caller]
    pub(crate) fn output_holds(self, text: &str) -> Self {
        assert!(
            self.text().contains(text),
            "no {text:?} in stdout of {self}"
        );
        self
    }

    /// It said this on stderr.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in stderr of {self}"
        );
        self
    }

    /// It said nothing on stderr.
    #[track_caller]
    pub(crate) fn says_nothing(self) -> Self {
        assert!(self.stderr.is_empty(), "{self}");
        self
    }

    /// Its output, which is text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is UTF-8")
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(2000)];
        write!(
            f,
            "{}\nexit status: {}\nstdout: {}\nstderr: {}",
            self.shown,
            self.status,
            String::from_utf8_lossy(shown),
            self.stderr
        )
    }
}

/// A child that is ended when the test is over, however it ends.
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id(), "TERM");
        }
        // Whether it could be waited for is of no interest any more.
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "kill can be run");
}

/// A lasting cluster: `nesos dev` on a port of its own, with a state directory of its own.
pub(crate) struct Dev {
    /// Ended by `Drop`.
    pub(crate) process: Guarded,
    /// The master's address.
    pub(crate) url: String,
    /// Where its state is.
    pub(crate) state: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

impl Dev {
    /// Starts a cluster and waits until it says where it is.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let (process, url) = Self::spawn(&state, flags);
        Self {
            process,
            url,
            state,
            _directory: Some(directory),
        }
    }

    /// Starts a cluster in an environment that the caller sets.
    pub(crate) fn start_with(set: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let (process, url) = Self::spawn_with(&state, &[], set);
        Self {
            process,
            url,
            state,
            _directory: Some(directory),
        }
    }

    /// Starts a cluster on a state directory of the caller's.
    pub(crate) fn start_in(state: &Path) -> Self {
        let (process, url) = Self::spawn(state, &[]);
        Self {
            process,
            url,
            state: state.to_owned(),
            _directory: None,
        }
    }

    fn spawn(state: &Path, flags: &[&str]) -> (Guarded, String) {
        Self::spawn_with(state, flags, |_| {})
    }

    fn spawn_with(
        state: &Path,
        flags: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> (Guarded, String) {
        let mut command = nesos();
        set(&mut command);
        let mut child = command
            .args(["dev", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(state)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nesos dev starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let url = loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("readable");
            assert!(read > 0, "nesos dev ended before it said where it is");
            if let Some(at) = line.find("http://") {
                let url = line[at..].split_whitespace().next().unwrap_or_default();
                break url.to_owned();
            }
        };
        // Keeps reading, so that the cluster is never held up by a full pipe.
        thread::spawn(move || drop(std::io::copy(&mut lines, &mut std::io::sink())));
        (Guarded(child), url)
    }

    /// The binary, as a client of this cluster.
    pub(crate) fn nesos(&self) -> Command {
        let mut command = nesos();
        command.env("NESOS_MASTER", &self.url);
        command
    }

    /// A guest, run on this cluster.
    pub(crate) fn run(&self, guest: &str) -> Run {
        let url = self.url.clone();
        run(guest).with(move |command| {
            command.env("NESOS_MASTER", url);
        })
    }

    /// A guest with flags, run on this cluster.
    pub(crate) fn run_with(&self, flags: &[&str], guest: &str) -> Run {
        let url = self.url.clone();
        run_with(flags, guest).with(move |command| {
            command.env("NESOS_MASTER", url);
        })
    }

    /// A client command of this cluster, whatever comes of it.
    pub(crate) fn tell(&self, args: &[&str]) -> Outcome {
        let mut command = self.nesos();
        command.args(args);
        let input = Vec::new();
        Run { command, input }.go()
    }

    /// What a client command of this cluster prints.
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let output = self.nesos().args(args).output().expect("nesos starts");
        assert!(
            output.status.success(),
            "nesos {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Reads from a child's output until it holds `text`; answers what was read.
pub(crate) fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let read = from.read(&mut byte).expect("readable");
        assert!(
            read > 0,
            "ended before {text:?}: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}
