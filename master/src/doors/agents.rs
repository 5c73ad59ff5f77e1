//! The agents' door.

use nesos_api::v1::agent_service_server::AgentService;
use nesos_api::{WireError, v1};
use nesos_master_core::ConnectionId;
use nesos_types::message::{AgentCommand, AgentEvent, Refusal};
use nesos_types::task::SharedTask;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::conversation::{Inward, Speaker, converse};
use super::frames::{Outward, split_half};
use crate::driver::input::{DriverHandle, Input};
use crate::driver::outbox::Outbox;

/// Serves `AgentService`.
#[derive(Debug)]
pub(crate) struct AgentDoor {
    pub(crate) driver: DriverHandle,
    /// How many commands may wait for an agent that does not read.
    pub(crate) most_queued: usize,
}

#[tonic::async_trait]
impl AgentService for AgentDoor {
    type ConverseStream = Speaker<AgentCommand>;

    async fn converse(
        &self,
        request: Request<Streaming<v1::AgentEvents>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let speaker =
            converse::<AgentEvent>(request.into_inner(), self.driver.clone(), self.most_queued);
        Ok(Response::new(speaker))
    }
}

/// How much an agent may bring with it that registers.
const MAX_BROUGHT_BYTES: usize = 256 << 20;

/// Tasks of a registration that is yet to come.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    tasks: Vec<v1::AgentTask>,
    bytes: usize,
}

impl Brought {
    fn add(&mut self, part: &mut v1::BroughtTasks) -> Result<(), WireError> {
        self.bytes += part.encoded_len();
        if self.bytes > MAX_BROUGHT_BYTES {
            return Err(WireError::Invalid {
                field: "tasks",
                why: format!("they are more than {} MiB", MAX_BROUGHT_BYTES >> 20),
            });
        }
        self.tasks.append(&mut part.tasks);
        Ok(())
    }
}

impl Inward for AgentEvent {
    type Reply = AgentCommand;
    type Wire = v1::AgentEvent;
    type Frame = v1::AgentEvents;
    type Parts = Brought;

    fn messages(frame: v1::AgentEvents) -> Vec<v1::AgentEvent> {
        frame.events
    }

    fn assemble(
        brought: &mut Brought,
        mut wire: v1::AgentEvent,
    ) -> Result<Option<v1::AgentEvent>, WireError> {
        use v1::agent_event::Event;
        match &mut wire.event {
            Some(Event::Brought(part)) => brought.add(part).map(|()| None),
            Some(Event::Register(register)) => {
                let last = std::mem::take(&mut register.tasks);
                register.tasks = std::mem::take(brought).tasks;
                register.tasks.extend(last);
                Ok(Some(wire))
            }
            _ => Ok(Some(wire)),
        }
    }

    fn name(wire: &v1::AgentEvent) -> &'static str {
        use v1::agent_event::Event;
        match wire.event {
            None => "an unknown event",
            Some(Event::Register(_)) => "Register",
            Some(Event::Update(_)) => "Update",
            Some(Event::Bundles(_)) => "Bundles",
            Some(Event::Slack(_)) => "Slack",
            Some(Event::Message(_)) => "Message",
            Some(Event::Brought(_)) => "BroughtTasks",
            Some(Event::Pong(_)) => "Pong",
            Some(Event::Unregister(_)) => "Unregister",
        }
    }

    fn opens(wire: &v1::AgentEvent) -> bool {
        matches!(wire.event, Some(v1::agent_event::Event::Register(_)))
    }

    fn connected(connection: ConnectionId, outbox: Outbox<AgentCommand>) -> Input {
        Input::AgentConnected(connection, outbox)
    }

    fn said(connection: ConnectionId, messages: Vec<Self>) -> Input {
        Input::AgentSaid(connection, messages)
    }

    fn disconnected(connection: ConnectionId) -> Input {
        Input::AgentDisconnected(connection)
    }
}

impl Outward for AgentCommand {
    type Wire = v1::AgentCommand;
    type Frame = v1::AgentCommands;

    fn refusal(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    fn wire(&self) -> v1::AgentCommand {
        self.into()
    }

    fn frame(commands: Vec<v1::AgentCommand>) -> v1::AgentCommands {
        v1::AgentCommands { commands }
    }

    fn split(&mut self) -> Option<Self> {
        match self {
            Self::Launch {
                framework,
                role,
                signers,
                tasks,
            } => split_between_groups(tasks).map(|tasks| Self::Launch {
                framework: *framework,
                role: role.clone(),
                signers: signers.clone(),
                tasks,
            }),
            Self::Reconcile(keys) => split_half(keys).map(Self::Reconcile),
            _ => None,
        }
    }
}

/// Splits off the second half of a list of launches, or about that: the tasks of a group stay together.
fn split_between_groups(tasks: &mut Vec<SharedTask>) -> Option<Vec<SharedTask>> {
    let group = |at: usize| tasks[at].group.as_ref().map(|group| group.id);
    let may_split = |at: &usize| group(*at).is_none() || group(*at) != group(at - 1);
    let half = tasks.len() / 2;
    let behind = (half.max(1)..tasks.len()).find(may_split);
    let at = behind.or_else(|| (1..half).rev().find(may_split))?;
    Some(tasks.split_off(at))
}

#[cfg(test)]
mod tests {
    use nesos_types::bundle::Digest;
    use nesos_types::ids::GroupId;
    use nesos_types::resources::Resources;
    use nesos_types::task::{TaskGroup, TaskInfo};

    use super::*;

    fn tasks(groups: &[u128]) -> Vec<SharedTask> {
        let tasks = groups.iter().enumerate().map(|(i, group)| {
            let id = format!("t-{i}").parse().expect("a task id");
            let mut task = TaskInfo::new(id, Digest([1; 32]), Resources::new(1000, 1 << 20));
            task.group = (*group > 0).then_some(TaskGroup {
                id: GroupId(*group),
                size: 2,
                disk_bytes: 0,
            });
            SharedTask::new(task)
        });
        tasks.collect()
    }

    #[test]
    fn what_an_agent_brings_is_put_together() {
        use v1::agent_event::Event;
        let task = |role: &str| v1::AgentTask {
            role: role.to_owned(),
            ..Default::default()
        };
        let mut brought = Brought::default();
        let mut assemble = |event| {
            let wire = v1::AgentEvent { event: Some(event) };
            AgentEvent::assemble(&mut brought, wire).expect("small")
        };
        for role in ["a", "b"] {
            let tasks = vec![task(role)];
            assert_eq!(assemble(Event::Brought(v1::BroughtTasks { tasks })), None);
        }
        let register = |tasks| {
            Event::Register(v1::Register {
                tasks,
                ..Default::default()
            })
        };
        let whole = assemble(register(vec![task("c")])).and_then(|wire| wire.event);
        let all = vec![task("a"), task("b"), task("c")];
        assert_eq!(whole, Some(register(all)));
        let next = assemble(register(Vec::new())).and_then(|wire| wire.event);
        assert_eq!(next, Some(register(Vec::new())), "nothing is left of it");
    }

    #[test]
    fn an_agent_cannot_bring_more_than_the_master_holds() {
        let mut brought = Brought {
            bytes: MAX_BROUGHT_BYTES,
            ..Brought::default()
        };
        let tasks = vec![v1::AgentTask {
            role: "a".to_owned(),
            ..Default::default()
        }];
        let error = brought.add(&mut v1::BroughtTasks { tasks }).unwrap_err();
        assert!(error.to_string().contains("256 MiB"), "{error}");
    }

    #[test]
    fn launches_are_split_between_groups() {
        for (groups, left) in [
            (&[0, 0, 0, 0][..], Some(2)),
            (&[0, 0], Some(1)),
            (&[0, 7, 7, 0], Some(3)),
            (&[0, 7, 7, 7], Some(1)),
            (&[7, 7, 8, 8], Some(2)),
            (&[7, 7, 7], None),
            (&[0], None),
        ] {
            let mut list = tasks(groups);
            let split = split_between_groups(&mut list);
            assert_eq!(split.as_ref().map(|_| list.len()), left, "{groups:?}");
            let rest = split.map_or(0, |rest| rest.len());
            assert_eq!(list.len() + rest, groups.len(), "nothing is lost");
        }
    }
}
