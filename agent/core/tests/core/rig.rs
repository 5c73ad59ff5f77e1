//! An agent under test, its events in short and its effects as lines of text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use nesos_agent_core::checkpoint::{Change, Record, RecordKey, Recovered};
use nesos_agent_core::{
    Agent, AgentConfig, BundleKey, CellId, Decisions, Effect, Event, Oversubscription,
};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::cell::{CellCommand, CellEvent, CpuSample, SandboxReport};
use nesos_types::ids::{AgentId, FrameworkId, TaskKey, UpdateId};
use nesos_types::limits::Metering;
use nesos_types::message::{AgentCommand, AgentEvent};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

pub(crate) const FRAMEWORK: FrameworkId = FrameworkId(0xf1);
pub(crate) const MIB: u64 = 1 << 20;

/// An agent that says it has 4 CPUs and 4 GiB.
pub(crate) fn config() -> AgentConfig {
    let mut config = AgentConfig::new(AgentInfo {
        fuel_per_cpu_second: 1_000_000,
        ..AgentInfo::new("host", Resources::new(4000, 4096 * MIB))
    });
    config.boot_id = "boot-1".into();
    config
}

/// The same, lending what is not used: usage every second, a margin of 10 %, patience of 10 s.
pub(crate) fn lending() -> AgentConfig {
    let mut config = config();
    config.oversubscription = Some(Oversubscription::default());
    config
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

pub(crate) fn bundle(number: u8) -> BundleKey {
    BundleKey {
        repository: None,
        digest: digest(number),
        signers: Arc::default(),
        metering: Metering::Clock,
    }
}

/// A task of 1 CPU and 128 MiB that runs bundle 1.
pub(crate) fn task(id: &str) -> TaskInfo {
    TaskInfo::new(
        id.parse().expect("well-formed"),
        digest(1),
        Resources::new(1000, 128 * MIB),
    )
}

pub(crate) fn key(id: &str) -> TaskKey {
    TaskKey {
        framework: FRAMEWORK,
        task: id.parse().expect("well-formed"),
    }
}

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) now: Time,
    pub(crate) config: AgentConfig,
    /// What was committed, as a disk would have it.
    pub(crate) disk: BTreeMap<RecordKey, Record>,
    connection: u64,
    /// The update id of the last status sent of each task.
    pub(crate) in_flight: BTreeMap<TaskKey, UpdateId>,
    sequences: BTreeMap<TaskKey, u64>,
}

impl Rig {
    pub(crate) fn new(config: AgentConfig) -> Self {
        Self::recover(config, Time::from_micros(1_000_000), BTreeMap::new())
    }

    /// An agent process that starts from what a former one left.
    pub(crate) fn recover(
        config: AgentConfig,
        now: Time,
        disk: BTreeMap<RecordKey, Record>,
    ) -> Self {
        let mut state = Recovered::default();
        for record in disk.values().cloned() {
            match record {
                Record::Agent(agent) => state.agent = Some(agent),
                Record::Cell(cell) => state.cells.push(cell),
                Record::Task(task) => state.tasks.push(*task),
            }
        }
        Self {
            agent: Agent::recover(config.clone(), 7, now, state),
            now,
            config,
            disk,
            connection: 0,
            in_flight: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// Registered, with cell 0 of the default role running and bundle 1 compiled.
    pub(crate) fn warm(config: AgentConfig) -> Self {
        let mut rig = Self::new(config);
        rig.register();
        rig.launch([task("warm")]);
        rig.cell_up(0);
        rig.ready(1);
        for state in [TaskState::Running, TaskState::Finished] {
            rig.ack("warm");
            rig.status(0, "warm", state);
        }
        rig.ack("warm");
        rig.commit();
        rig
    }

    pub(crate) fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Decisions::default();
        self.agent.handle(self.now, event, &mut out);
        self.agent.check_invariants();
        for effect in &out.effects {
            self.note(effect);
        }
        out.effects
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::ConnectMaster { connection } => self.connection = *connection,
            Effect::SendMaster(AgentEvent::Update {
                framework, status, ..
            }) => {
                let task = status.task.clone();
                let framework = *framework;
                if let Some(update) = status.update {
                    self.in_flight.insert(TaskKey { framework, task }, update);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn event(&mut self, event: Event) -> String {
        let effects = self.effects(event);
        render(&effects)
    }

    /// Lets time pass up to the next deadline.
    pub(crate) fn tick(&mut self) -> String {
        let before = self.now;
        self.now = self.agent.next_deadline().expect("a deadline").max(before);
        let waited = self.now.since(before);
        format!("after {waited:?}\n{}", self.event(Event::Tick))
    }

    pub(crate) fn pass(&mut self, time: Duration) -> String {
        self.now = self.now + time;
        self.event(Event::Tick)
    }

    pub(crate) fn command(&mut self, command: AgentCommand) -> String {
        let connection = self.connection;
        self.event(Event::MasterCommand {
            connection,
            command,
        })
    }

    pub(crate) fn connected(&mut self) -> String {
        let connection = self.connection;
        self.event(Event::MasterConnected { connection })
    }

    pub(crate) fn disconnected(&mut self) -> String {
        let connection = self.connection;
        let message = "cut".to_owned();
        self.event(Event::MasterDisconnected {
            connection,
            message,
        })
    }

    pub(crate) fn registered(&mut self) -> String {
        self.command(AgentCommand::Registered {
            agent: AgentId(0xa1),
            ping_interval: Duration::from_secs(15),
        })
    }

    pub(crate) fn register(&mut self) {
        self.tick();
        self.connected();
        self.registered();
        self.commit();
    }

    pub(crate) fn launch(&mut self, tasks: impl IntoIterator<Item = TaskInfo>) -> String {
        self.launch_in("*", tasks)
    }

    pub(crate) fn launch_in(
        &mut self,
        role: &str,
        tasks: impl IntoIterator<Item = TaskInfo>,
    ) -> String {
        let tasks: Vec<SharedTask> = tasks.into_iter().map(Arc::new).collect();
        self.command(AgentCommand::Launch {
            framework: FRAMEWORK,
            role: role.parse::<Role>().expect("well-formed"),
            signers: Arc::default(),
            tasks,
        })
    }

    pub(crate) fn kill(&mut self, id: &str, grace: Option<u64>) -> String {
        let (key, grace) = (key(id), grace.map(Duration::from_secs));
        self.command(AgentCommand::Kill {
            key,
            grace,
            reason: TaskReason::KillRequested,
        })
    }

    /// The scheduler acknowledges the last status that was sent of a task.
    pub(crate) fn ack(&mut self, id: &str) -> String {
        let update = self.in_flight[&key(id)];
        self.command(AgentCommand::Acknowledge {
            key: key(id),
            update,
        })
    }

    /// Commits whatever there is; what the agent does about it, and what was written.
    pub(crate) fn commit(&mut self) -> String {
        let mut lines = String::new();
        while let Some(checkpoint) = self.agent.take_checkpoint() {
            self.agent.check_invariants();
            for change in checkpoint.changes {
                writeln!(lines, "{}", self.apply(change)).expect("well-formed");
            }
            lines += &self.event(Event::Committed {
                sequence: checkpoint.sequence,
            });
        }
        lines
    }

    fn apply(&mut self, change: Change) -> String {
        match change {
            Change::Put(record) => {
                let line = format!("put {}", name(&record.key()));
                self.disk.insert(record.key(), record);
                line
            }
            Change::Delete(key) => {
                self.disk.remove(&key);
                format!("delete {}", name(&key))
            }
        }
    }

    pub(crate) fn hello(&mut self, cell: u32, sandboxes: &[(&str, TaskState)]) -> String {
        let sandboxes = sandboxes.iter().map(|(id, state)| (task(id), *state));
        self.hello_with(cell, sandboxes)
    }

    pub(crate) fn hello_with(
        &mut self,
        cell: u32,
        sandboxes: impl IntoIterator<Item = (TaskInfo, TaskState)>,
    ) -> String {
        let sandboxes = sandboxes.into_iter().map(|(info, state)| SandboxReport {
            key: key(info.id.as_str()),
            task: Arc::new(info),
            state,
        });
        let pid = 100 + cell;
        self.cell_says(
            cell,
            CellEvent::Hello {
                pid,
                sandboxes: sandboxes.collect(),
            },
        )
    }

    /// The cell starts, and the checkpoint that names it is committed.
    pub(crate) fn cell_up(&mut self, cell: u32) -> String {
        let pid = 100 + cell;
        let cell_id = CellId(cell);
        self.event(Event::CellStarted { cell: cell_id, pid });
        let hello = self.hello(cell, &[]);
        hello + &self.commit()
    }

    pub(crate) fn cell_says(&mut self, cell: u32, event: CellEvent) -> String {
        let cell = CellId(cell);
        self.event(Event::CellEvent { cell, event })
    }

    /// The next status of a task in a cell.
    pub(crate) fn status(&mut self, cell: u32, id: &str, state: TaskState) -> String {
        self.status_because(cell, id, state, None)
    }

    pub(crate) fn status_because(
        &mut self,
        cell: u32,
        id: &str,
        state: TaskState,
        reason: Option<TaskReason>,
    ) -> String {
        let next = self.sequences.entry(key(id)).or_default();
        *next += 1;
        let sequence = *next;
        self.repeat_status(cell, id, sequence, state, reason)
    }

    pub(crate) fn repeat_status(
        &mut self,
        cell: u32,
        id: &str,
        sequence: u64,
        state: TaskState,
        reason: Option<TaskReason>,
    ) -> String {
        let key = key(id);
        let mut status = TaskStatus::new(key.task.clone(), state, StatusSource::Cell, self.now);
        status.reason = reason;
        self.cell_says(
            cell,
            CellEvent::Update {
                key,
                sequence,
                status,
            },
        )
    }

    /// A cell says what CPU time its guests have used.
    pub(crate) fn usage(&mut self, cell: u32, used: &[(&str, u64)]) -> String {
        let samples = used.iter().map(|(id, cpu_ns)| CpuSample {
            key: key(id),
            cpu_ns: *cpu_ns,
        });
        let samples = samples.collect();
        let at = self.now;
        self.cell_says(cell, CellEvent::Usage { at, samples })
    }

    pub(crate) fn ready(&mut self, number: u8) -> String {
        self.event(Event::BundleReady {
            bundle: bundle(number),
            compiled: format!("/cache/{number}").into(),
            files: None,
        })
    }

    pub(crate) fn state(&self, id: &str) -> Option<TaskState> {
        self.agent.state_of(&key(id))
    }
}

fn name(key: &RecordKey) -> String {
    match key {
        RecordKey::Agent => "agent".into(),
        RecordKey::Cell(cell) => cell.to_string(),
        RecordKey::Task(key) => format!("task {}", key.task),
    }
}

pub(crate) fn render(effects: &[Effect]) -> String {
    effects.iter().map(|effect| line(effect) + "\n").collect()
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::ConnectMaster { connection } => format!("connect master #{connection}"),
        Effect::DisconnectMaster => "disconnect master".into(),
        Effect::SendMaster(event) => format!("master <- {}", master_line(event)),
        Effect::StartCell { cell, role } => format!("start {cell} for {role}"),
        Effect::ConnectCell { cell, .. } => format!("connect {cell}"),
        Effect::SendCell { cell, command } => format!("{cell} <- {}", cell_line(command)),
        Effect::DiscardCell { cell, .. } => format!("discard {cell}"),
        Effect::FetchBundle(bundle) => format!("fetch bundle {}", bundle.digest.0[0]),
        Effect::ReleaseBundle(bundle) => format!("release bundle {}", bundle.digest.0[0]),
        Effect::RemoveSandbox { directory } => format!("remove {}", directory.display()),
        Effect::KeepVolumes { keep } => {
            let keep: Vec<_> = keep.iter().map(|path| path.display().to_string()).collect();
            format!("keep volumes [{}]", keep.join(", "))
        }
        Effect::Stop(stopped) => format!("stop: {stopped:?}"),
    }
}

fn master_line(event: &AgentEvent) -> String {
    match event {
        AgentEvent::Register { agent, tasks, .. } => {
            let tasks = tasks.iter().map(|task| {
                let waiting = task.unacknowledged.as_ref();
                let waiting = waiting.map_or("-".into(), |status| status.state.to_string());
                format!("{} {} ({waiting})", task.task.id, task.latest)
            });
            let tasks: Vec<_> = tasks.collect();
            let known = if agent.is_some() { "known" } else { "new" };
            format!("register as {known} agent with [{}]", tasks.join(", "))
        }
        AgentEvent::Update { status, latest, .. } => {
            let reason = status
                .reason
                .map_or(String::new(), |reason| format!("/{reason:?}"));
            let ask = if status.update.is_some() {
                ""
            } else {
                " (unasked)"
            };
            let message = if status.message.is_empty() {
                String::new()
            } else {
                format!(" {:?}", status.message)
            };
            format!(
                "{} {}{reason}, latest {latest}{ask}{message}",
                status.task, status.state
            )
        }
        AgentEvent::Bundles { compiled, dropped } => {
            let names = |digests: &[Digest]| {
                let names = digests.iter().map(|digest| digest.0[0].to_string());
                names.collect::<Vec<_>>().join(", ")
            };
            format!(
                "compiled [{}], dropped [{}]",
                names(compiled),
                names(dropped)
            )
        }
        AgentEvent::Message { key, data } => {
            format!("{} says {}", key.task, String::from_utf8_lossy(data))
        }
        AgentEvent::Slack { cpu_milli } => format!("slack {cpu_milli}"),
        AgentEvent::Pong => "pong".into(),
        AgentEvent::Unregister => "unregister".into(),
    }
}

fn cell_line(command: &CellCommand) -> String {
    match command {
        CellCommand::Launch(launch) => {
            let volumes = launch.volumes.iter().map(|volume| {
                let (host, guest) = (volume.host.display(), &volume.guest);
                format!(" with {host} at {guest}, {} B", volume.max_bytes)
            });
            format!(
                "launch {} from {} in {}{}",
                launch.task.id,
                launch.compiled.display(),
                launch
                    .directory
                    .display()
                    .to_string()
                    .replace(&FRAMEWORK.to_string(), "fw"),
                volumes.collect::<String>()
            )
        }
        CellCommand::Assign { key, .. } => format!("assign {}", key.task),
        CellCommand::Message { key, data } => {
            format!("tell {} {}", key.task, String::from_utf8_lossy(data))
        }
        CellCommand::BundleReady { request, compiled } => {
            format!("bundle #{request} is {compiled:?}")
        }
        CellCommand::Kill { key, grace } => format!("kill {} within {grace:?}", key.task),
        CellCommand::Acknowledge { key, sequence } => {
            format!("acknowledge {} up to {sequence}", key.task)
        }
        CellCommand::Throttle { key, cpu_milli } => format!("throttle {} to {cpu_milli}", key.task),
        CellCommand::MeasureUsage { interval } => format!("measure every {interval:?}"),
        CellCommand::Retire => "retire".into(),
    }
}
