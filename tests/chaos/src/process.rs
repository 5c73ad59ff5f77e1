//! A process that is started, killed, paused and started again.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// One place in the cluster, whichever process fills it at the moment.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    /// Its output, of all its lives.
    log: PathBuf,
    child: Option<Child>,
    /// What it is started with beside its arguments.
    env: Vec<(String, String)>,
}

impl Process {
    pub(crate) fn new(name: &str, program: PathBuf, args: Vec<String>, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args,
            log,
            child: None,
            env: Vec::new(),
        }
    }

    /// The environment of its next life.
    pub(crate) fn set_env(&mut self, env: Vec<(String, String)>) {
        self.env = env;
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        let open = || File::options().create(true).append(true).open(&self.log);
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_remove("NESOS_MASTER")
            .env("NESOS_LOG", "info")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn pause(&self) {
        self.pid()
            .into_iter()
            .for_each(|pid| signal(pid, Signal::STOP));
    }

    pub(crate) fn resume(&self) {
        self.pid()
            .into_iter()
            .for_each(|pid| signal(pid, Signal::CONT));
    }

    /// Whether it ended although nobody ended it.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().map(Child::try_wait);
        matches!(ended, Some(Ok(Some(_))))
    }

    /// How it ended, once it has: by itself and well.
    pub(crate) fn ended_well(&mut self) -> Result<Option<bool>> {
        let child = self.child.as_mut().context("it does not run")?;
        Ok(child.try_wait()?.map(|status| status.success()))
    }

    /// The last of what it has written.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A paused process hears nothing but this.
        let _ = self.kill();
    }
}

/// Whoever is gone already needs no signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
