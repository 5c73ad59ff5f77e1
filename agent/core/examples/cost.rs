//! What a task costs in the core: launch, RUNNING, FINISHED and both acknowledgements.
//!
//! `cargo run --release -p nesos-agent-core --example cost`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and says what it saw"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use nesos_agent_core::checkpoint::Recovered;
use nesos_agent_core::{Agent, AgentConfig, BundleKey, CellId, Decisions, Effect, Event};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::cell::{CellCommand, CellEvent};
use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::limits::Metering;
use nesos_types::message::{AgentCommand, AgentEvent};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskInfo, TaskState, TaskStatus};
use nesos_types::time::Time;

const TASKS: u64 = 200_000;
/// Tasks at once: a batch of launches comes in one message.
const BATCH: u64 = 64;

/// The rest of the world: answers every effect at once.
struct World {
    agent: Agent,
    now: Time,
    inbox: Vec<Event>,
}

impl World {
    fn step(&mut self) {
        let mut out = Decisions::default();
        for event in std::mem::take(&mut self.inbox) {
            self.now = self.now + Duration::from_micros(1);
            self.agent.handle(self.now, event, &mut out);
        }
        for effect in out.effects {
            self.answer(effect);
        }
    }

    fn answer(&mut self, effect: Effect) {
        let connection = 1;
        match effect {
            Effect::ConnectMaster { connection } => {
                self.inbox.push(Event::MasterConnected { connection });
            }
            Effect::SendMaster(AgentEvent::Register { .. }) => self.inbox.push(master(
                connection,
                AgentCommand::Registered {
                    agent: AgentId(1),
                    ping_interval: Duration::from_secs(15),
                },
            )),
            Effect::SendMaster(AgentEvent::Update {
                framework, status, ..
            }) => {
                let key = nesos_types::ids::TaskKey {
                    framework,
                    task: status.task,
                };
                let update = status.update.expect("an id");
                let command = AgentCommand::Acknowledge { key, update };
                self.inbox.push(master(connection, command));
            }
            Effect::StartCell { cell, .. } => self.inbox.push(Event::CellEvent {
                cell,
                event: CellEvent::Hello {
                    pid: 1,
                    sandboxes: Vec::new(),
                },
            }),
            Effect::FetchBundle(bundle) => self.inbox.push(Event::BundleReady {
                bundle,
                compiled: "/state/cache/compiled/image".into(),
                files: None,
            }),
            Effect::SendCell {
                cell,
                command: CellCommand::Launch(launch),
            } => {
                for (sequence, state) in [(1, TaskState::Running), (2, TaskState::Finished)] {
                    let id = launch.task.id.clone();
                    let status = TaskStatus::new(id, state, StatusSource::Cell, self.now);
                    let key = launch.key.clone();
                    self.inbox.push(Event::CellEvent {
                        cell,
                        event: CellEvent::Update {
                            key,
                            sequence,
                            status,
                        },
                    });
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self) {
        while !self.inbox.is_empty() {
            self.step();
        }
        while let Some(checkpoint) = self.agent.take_checkpoint() {
            let sequence = checkpoint.sequence;
            self.inbox.push(Event::Committed { sequence });
            while !self.inbox.is_empty() {
                self.step();
            }
        }
    }
}

fn master(connection: u64, command: AgentCommand) -> Event {
    Event::MasterCommand {
        connection,
        command,
    }
}

fn launches(from: u64, bundle: Digest) -> AgentCommand {
    let tasks = (from..from + BATCH).map(|number| {
        let id = format!("task-{number:08}").parse().expect("a task id");
        Arc::new(TaskInfo::new(id, bundle, Resources::new(10, 1 << 20)))
    });
    AgentCommand::Launch {
        signers: Default::default(),
        framework: FrameworkId(1),
        role: Role::default_role(),
        tasks: tasks.collect(),
    }
}

fn main() {
    let config = AgentConfig::new(AgentInfo::new("host", Resources::new(4000, 4 << 30)));
    let bundle = BundleKey {
        repository: None,
        signers: Default::default(),
        digest: Digest([1; 32]),
        metering: Metering::Clock,
    };
    let now = Time::from_micros(1);
    let mut world = World {
        agent: Agent::recover(config, 1, now, Recovered::default()),
        now,
        inbox: vec![Event::Tick],
    };
    world.settle();
    world.inbox.push(master(1, launches(0, bundle.digest)));
    world.settle();
    assert!(world.agent.snapshot().cells[0].cell == CellId(0));
    let inputs: Vec<_> = (1..=TASKS / BATCH)
        .map(|batch| master(1, launches(batch * BATCH, bundle.digest)))
        .collect();
    let start = Instant::now();
    for input in inputs {
        world.inbox.push(input);
        while !world.inbox.is_empty() {
            world.step();
        }
    }
    let took = start.elapsed();
    let tasks = world.agent.stats().tasks_finished - BATCH;
    let each = took.as_nanos() / u128::from(tasks);
    println!("{tasks} tasks, {each} ns each, this stand-in for the world included");
}
