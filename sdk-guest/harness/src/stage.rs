//! A guest that runs, and what a script does to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nesos_guest::testing::{End, Said, Script, Step, Transcript};
use nesos_guest::{Resources, TaskInfo};
use nesos_runtime::{
    Exit, GuestEvent, Identity, Observer, PostError, Runtime, Sandbox, SandboxSpec, Stdin, Stdout,
};
use nesos_types::bundle::Digest;
use nesos_types::ids::FrameworkId;
use nesos_types::limits::Limits;
use nesos_types::task::{self, SharedTask, TaskReason, TaskState, Work};

use crate::Recorder;

/// How long a guest may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(1);

/// How a guest is started.
#[derive(Debug)]
pub struct Start {
    /// Its id, arguments, environment and data.
    pub task: TaskInfo,
    /// What it holds.
    pub resources: Resources,
    /// Its limits.
    pub limits: Limits,
    /// Where its input comes from.
    pub stdin: Stdin,
    /// Where its output goes.
    pub stdout: Stdout,
    /// What writes down what it says.
    pub recorder: Arc<Recorder>,
}

impl Start {
    /// As the script says.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        let registered = &script.registered;
        let task = TaskInfo::new(&*registered.me.id, &*registered.data);
        Self::task(task, script.total)
    }

    /// With this description and these resources.
    #[must_use]
    pub fn task(task: TaskInfo, resources: Resources) -> Self {
        Self {
            task,
            resources,
            limits: Limits::default(),
            stdin: Stdin::Empty,
            stdout: Stdout::Null,
            recorder: Arc::default(),
        }
    }
}

/// A guest that was started.
#[derive(Debug)]
pub struct Alive {
    sandbox: Sandbox,
    recorder: Arc<Recorder>,
    exits: Receiver<Exit>,
}

struct Teller(Sender<Exit>);

impl Observer for Teller {
    fn running(&mut self) {}

    fn exited(&mut self, exit: Exit) {
        // Nobody may be interested.
        let _ = self.0.send(exit);
    }
}

impl Alive {
    pub(crate) fn launch(
        runtime: &Runtime,
        start: Start,
        is_executor: bool,
        image: PathBuf,
        root: PathBuf,
    ) -> Self {
        let (sender, exits) = mpsc::channel();
        let recorder = start.recorder.clone();
        let mut task = described(&start.task, start.resources);
        if is_executor {
            task.work = Work::Executor {
                id: parsed(&start.task.id),
                registration_timeout: PATIENCE,
            };
        }
        task.limits = start.limits;
        let spec = SandboxSpec {
            framework: FrameworkId(1),
            task: task.into(),
            compiled: image,
            root,
            volumes: Vec::new(),
            stdin: start.stdin,
            stdout: start.stdout,
            stderr: Stdout::Null,
            fuel_per_cpu_second: 1_000_000_000,
            determinism: None,
            identity: Identity::default(),
            uplink: recorder.clone(),
        };
        let sandbox = runtime.launch(spec, Box::new(Teller(sender)));
        Self {
            sandbox,
            recorder,
            exits,
        }
    }

    /// The sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// What writes down what it says.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What the guest has said so far.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.recorder.said()
    }

    /// Does one step of a script, when the guest has done with the one before.
    pub fn step(&self, step: &Step) {
        // Of a guest that is over the script has nothing more to say.
        let posted = match step {
            Step::Launch(task) => self.launch_task(task),
            Step::Kill(task, grace) => match task.parse() {
                Ok(task) => self.sandbox.post(GuestEvent::Kill {
                    task,
                    grace: *grace,
                }),
                // No task of this name was ever launched.
                Err(_) => Ok(()),
            },
            Step::Message(data) => self.sandbox.post(GuestEvent::Message(data.clone().into())),
            Step::Pass(time) => {
                std::thread::sleep(*time);
                Ok(())
            }
            Step::Shutdown(grace) => {
                self.kill(*grace);
                Ok(())
            }
        };
        debug_assert!(
            matches!(posted, Ok(()) | Err(PostError::Over)),
            "{posted:?}"
        );
        self.until_rest();
    }

    /// Gives it a task.
    pub fn launch_task(&self, task: &TaskInfo) -> Result<(), PostError> {
        let task = described(task, task.resources);
        self.sandbox.post(GuestEvent::Launch(SharedTask::new(task)))
    }

    /// Asks it to end, and drops it after the grace.
    pub fn kill(&self, grace: Duration) {
        self.sandbox.kill(grace, TaskReason::KillRequested, "");
    }

    /// Waits until it waits for what comes next, or is over.
    pub fn until_rest(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.sandbox.is_at_rest() && Instant::now() < until {
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until it is over.
    ///
    /// # Panics
    /// If that takes more than a minute.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exits
            .recv_timeout(PATIENCE)
            .expect("the guest ends within a minute")
    }

    /// What became of it; it is dropped if it is alive.
    #[must_use]
    pub fn end(self) -> Transcript {
        self.until_rest();
        let wait = if self.sandbox.is_over() {
            PATIENCE
        } else {
            Duration::ZERO
        };
        let end = match self.exits.recv_timeout(wait) {
            Ok(exit) if exit.state == TaskState::Finished => End::Stopped,
            // It was asked to end, and did so by itself.
            Ok(exit) if exit.state == TaskState::Killed && exit.exit_code == Some(0) => {
                End::Stopped
            }
            Ok(exit) => End::Failed(exit.message),
            Err(_) => {
                self.kill(Duration::ZERO);
                let _ = self.exit();
                End::Alive
            }
        };
        Transcript {
            said: self.recorder.said(),
            end,
        }
    }
}

/// The id of a task or an executor.
fn parsed<T: FromStr<Err: fmt::Debug>>(id: &str) -> T {
    id.parse()
        .expect("a script's tasks have ids that tasks may have")
}

fn described(task: &TaskInfo, resources: Resources) -> task::TaskInfo {
    let id = parsed(&task.id);
    let amount = nesos_types::resources::Resources::new(resources.cpu_milli, resources.mem_bytes);
    let mut described =
        task::TaskInfo::new(id, Digest([0; 32]), amount.with_disk(resources.disk_bytes));
    described.name.clone_from(&task.name);
    described.args.clone_from(&task.args);
    described.env.clone_from(&task.env);
    described.labels = task.labels.iter().cloned().collect();
    described.data.clone_from(&task.data);
    described.limits.timeout = task.timeout;
    described
}
