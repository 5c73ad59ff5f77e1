//! The load: a scheduler in a process of its own, which submits tasks at a steady rate and tries each again, under
//! another name, until it has run to its end. It may be killed at any moment; what it must not forget is in its
//! journal before the master hears that it knows it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nesos_sdk::{
    Actions, Driver, ExecutorEnd, MasterClient, QueueConfig, QueueEvent, QueueInput, Scheduler,
    SessionConfig, TaskQueue,
};
use nesos_types::bundle::Digest;
use nesos_types::executor::Correspondent;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use nesos_types::message::Refusal;
use nesos_types::offer::Offer;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskInfo, TaskState, TaskStatus, VolumeMount};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::journal::{FINISHED, Journal, Remembered};

/// Every so many tasks one is killed as soon as it has been launched.
const KILLED_EVERY: u64 = 17;
/// How often it is asked what became of tasks of an earlier life.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long the framework may be away.
const FAILOVER: Duration = Duration::from_secs(600);

/// Submits tasks until there are enough, and ends when all have run to their end
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(long)]
    master: String,
    #[arg(long)]
    journal: PathBuf,
    /// What runs.
    #[arg(long)]
    bundle: String,
    #[arg(long)]
    role: String,
    #[arg(long, value_delimiter = ',')]
    volumes: Vec<String>,
    /// Tasks a second.
    #[arg(long)]
    rate: u32,
    /// Once this file is there, no more tasks are submitted.
    #[arg(long)]
    enough: PathBuf,
}

impl Load {
    pub(crate) async fn execute(self) -> Result<()> {
        let remembered = Remembered::read(&self.journal)?;
        let master = MasterClient::new(&self.master)?;
        let mut info = FrameworkInfo::new("load", [self.role.parse::<Role>()?]);
        info.failover_timeout = FAILOVER;
        let mut session = SessionConfig::new(info);
        session.framework = remembered.framework;
        session.reconnect_max = Duration::from_secs(1);
        session.subscribe_timeout = Duration::from_secs(3);
        let (recorder, left) = Recorder::new(&self, &remembered)?;
        let (driver, handle) = Driver::new(recorder, master, session);
        let mut driver = tokio::spawn(driver.run());
        let mut ticks = interval(Duration::from_secs(1) / self.rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ask_at = Instant::now() + ASK_EVERY;
        let mut enough = false;
        loop {
            tokio::select! {
                ended = &mut driver => {
                    ended?.context("the framework is over")?;
                    anyhow::bail!("the driver ended although nobody wanted it to");
                }
                _ = ticks.tick() => {}
            }
            enough = enough || self.enough.exists();
            if enough && *left.borrow() == 0 {
                break;
            }
            if !enough {
                handle.send(Input::Submit);
            }
            if ask_at <= Instant::now() {
                ask_at = Instant::now() + ASK_EVERY;
                handle.send(Input::Ask);
            }
        }
        handle.send(Input::Teardown);
        driver.await?.context("the framework cannot be torn down")?;
        Ok(())
    }
}

/// What the recorder is told.
enum Input {
    Submit,
    Ask,
    Teardown,
}

/// A queue of tasks whose every word is written down first.
struct Recorder {
    queue: TaskQueue,
    told: UnboundedReceiver<QueueEvent>,
    journal: Journal,
    bundle: Digest,
    volumes: Vec<String>,
    /// The number of the next task.
    next: u64,
    /// Attempts that have not ended.
    open: BTreeSet<String>,
    /// Those of them that an earlier life has launched, which the queue does not know.
    inherited: BTreeSet<String>,
    /// Those that are to be launched as soon as there is somebody to tell it to.
    first: Vec<SharedTask>,
    left: tokio::sync::watch::Sender<usize>,
}

impl Recorder {
    fn new(
        load: &Load,
        remembered: &Remembered,
    ) -> Result<(Self, tokio::sync::watch::Receiver<usize>)> {
        let (queue, told) = TaskQueue::new(QueueConfig {
            report_launches: true,
            ..QueueConfig::default()
        });
        let (sender, left) = tokio::sync::watch::channel(usize::MAX);
        let mut recorder = Self {
            queue,
            told,
            journal: Journal::open(&load.journal)?,
            bundle: load.bundle.parse()?,
            volumes: load.volumes.clone(),
            next: 1,
            open: BTreeSet::new(),
            inherited: BTreeSet::new(),
            first: Vec::new(),
            left: sender,
        };
        recorder.resume(remembered)?;
        Ok((recorder, left))
    }

    /// Goes on where an earlier life was ended.
    fn resume(&mut self, remembered: &Remembered) -> Result<()> {
        for (id, attempt) in &remembered.attempts {
            let (number, _) = parts(id)?;
            self.next = self.next.max(number + 1);
            if attempt.end.is_none() {
                self.open.insert(id.clone());
                if attempt.launched {
                    self.inherited.insert(id.clone());
                } else {
                    self.first.push(self.task(id, &attempt.volume)?);
                }
            } else if !attempt.finished() && !remembered.attempts.contains_key(&again(id)?) {
                let task = self.submitted(&again(id)?)?;
                self.first.push(task);
            }
        }
        Ok(())
    }

    /// Writes down that there is such an attempt.
    fn submitted(&mut self, id: &str) -> Result<SharedTask> {
        let (number, attempt) = parts(id)?;
        let volume = usize::try_from(number + attempt)? % self.volumes.len();
        let volume = self.volumes[volume].clone();
        self.journal.note(&["submit", id, &volume])?;
        self.open.insert(id.to_owned());
        self.task(id, &volume)
    }

    fn task(&self, id: &str, volume: &str) -> Result<SharedTask> {
        let resources = Resources::new(50, 32 << 20).with_disk(1 << 20);
        let mut task = TaskInfo::new(id.parse()?, self.bundle, resources);
        let (number, _) = parts(id)?;
        let milliseconds = (number % 5 * 40).to_string();
        let args = ["note_down", "/data/notes", id, &milliseconds];
        task.args = args.map(str::to_owned).into();
        task.volumes.push(VolumeMount {
            volume: volume.parse()?,
            guest: "/data".into(),
            read_only: false,
        });
        Ok(SharedTask::new(task))
    }

    /// Writes down what the queue has said, and does what follows. A journal that cannot be written ends the
    /// process: whoever cannot remember must not answer.
    fn after(&mut self, actions: &mut Actions) {
        if let Err(error) = self.take_in(actions) {
            eprintln!("nesos-chaos: the journal: {error:#}");
            std::process::exit(1);
        }
    }

    fn take_in(&mut self, actions: &mut Actions) -> Result<()> {
        while let Ok(event) = self.told.try_recv() {
            match event {
                QueueEvent::Subscribed(framework) => {
                    self.journal.note(&["framework", &framework.to_string()])?;
                    let first = std::mem::take(&mut self.first);
                    self.queue.input(actions, QueueInput::Submit(first));
                }
                QueueEvent::Launched(task, _) => self.launched(actions, &task)?,
                QueueEvent::Status(status) => self.told_of(actions, &status)?,
                QueueEvent::Refused(refusal) => eprintln!("nesos-chaos: refused: {refusal}"),
                QueueEvent::Message { .. }
                | QueueEvent::ExecutorEnded(..)
                | QueueEvent::Disconnected
                | QueueEvent::Reconnected => {}
            }
        }
        self.left.send_replace(self.open.len());
        Ok(())
    }

    fn launched(&mut self, actions: &mut Actions, task: &TaskId) -> Result<()> {
        self.journal.note(&["launch", task.as_str()])?;
        let (number, attempt) = parts(task.as_str())?;
        if attempt == 1 && number % KILLED_EVERY == 0 {
            self.queue
                .input(actions, QueueInput::Kill(task.clone(), None));
        }
        Ok(())
    }

    fn told_of(&mut self, actions: &mut Actions, status: &TaskStatus) -> Result<()> {
        let ended = status.state.is_terminal() || status.state == TaskState::Unknown;
        let id = status.task.as_str();
        if !ended || !self.open.remove(id) {
            return Ok(());
        }
        self.inherited.remove(id);
        let state = format!("{:?}", status.state);
        let reason = status.reason.map(|reason| format!("{reason:?}"));
        let why = format!("{} {}", reason.unwrap_or_default(), status.message);
        self.journal.note(&["end", id, &state, &why])?;
        if state != FINISHED {
            let task = self.submitted(&again(id)?)?;
            self.queue.input(actions, QueueInput::Submit(vec![task]));
        }
        Ok(())
    }

    fn submit_next(&mut self, actions: &mut Actions) -> Result<()> {
        let task = self.submitted(&format!("{}.1", self.next))?;
        self.next += 1;
        self.queue.input(actions, QueueInput::Submit(vec![task]));
        Ok(())
    }
}

/// Number and attempt.
fn parts(id: &str) -> Result<(u64, u64)> {
    let (number, attempt) = id.split_once('.').context("no attempt")?;
    Ok((number.parse()?, attempt.parse()?))
}

/// The next attempt at the same.
fn again(id: &str) -> Result<String> {
    let (number, attempt) = parts(id)?;
    Ok(format!("{number}.{}", attempt + 1))
}

impl Scheduler for Recorder {
    type Input = Input;

    fn subscribed(&mut self, actions: &mut Actions, framework: FrameworkId) {
        self.queue.subscribed(actions, framework);
        self.after(actions);
    }

    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
        self.queue.offers(actions, offers);
        self.after(actions);
    }

    fn rescind(&mut self, actions: &mut Actions, offer: OfferId) {
        self.queue.rescind(actions, offer);
        self.after(actions);
    }

    fn update(&mut self, actions: &mut Actions, status: TaskStatus) {
        self.queue.update(actions, status);
        self.after(actions);
    }

    fn message(&mut self, _: &mut Actions, _: AgentId, _: Correspondent, _: Vec<u8>) {}

    fn executor_ended(&mut self, _: &mut Actions, _: AgentId, _: ExecutorId, _: ExecutorEnd) {}

    fn refused(&mut self, actions: &mut Actions, refusal: Refusal) {
        self.queue.refused(actions, refusal);
        self.after(actions);
    }

    fn disconnected(&mut self, actions: &mut Actions) {
        self.queue.disconnected(actions);
        self.after(actions);
    }

    fn reconnected(&mut self, actions: &mut Actions) {
        self.queue.reconnected(actions);
        self.after(actions);
    }

    fn input(&mut self, actions: &mut Actions, input: Input) {
        match input {
            Input::Submit => {
                if let Err(error) = self.submit_next(actions) {
                    eprintln!("nesos-chaos: {error:#}");
                    std::process::exit(1);
                }
            }
            Input::Ask => {
                let tasks: Result<Vec<_>> = self
                    .inherited
                    .iter()
                    .map(|id| Ok((id.parse()?, None)))
                    .collect();
                let tasks = tasks.unwrap_or_default();
                if !tasks.is_empty() {
                    actions.reconcile(tasks);
                }
            }
            Input::Teardown => self.queue.input(actions, QueueInput::Teardown),
        }
        self.after(actions);
    }
}
