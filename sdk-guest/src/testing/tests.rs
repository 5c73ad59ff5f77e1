//! An executor and a task of a few lines, through all that a script can do.

use super::*;
use crate::{ChildId, Host, MessageError, SpawnError, Stdio, Task, Timer, UpdateError};

/// Runs each task as a child with the task's data as input, and ticks.
struct Runner {
    tasks: Vec<(ChildId, String)>,
}

impl Executor for Runner {
    fn registered(host: &Host, registered: Registered) -> Self {
        host.send(&registered.data).unwrap();
        Self { tasks: Vec::new() }
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let resources = Resources::new(100, 1 << 20);
        let spawn = Spawn::this_bundle(resources)
            .stdin(Stdio::Pipe)
            .arg(&task.name);
        let child = host.spawn(spawn).unwrap();
        child.stdin().unwrap().write_all(&task.data).unwrap();
        self.tasks.push((child.id(), task.id.clone()));
        host.report(&task.id, State::Running, "", &[]);
        host.set_timer(Duration::from_secs(1)).unwrap();
    }

    fn timer(&mut self, host: &Host, _: Timer) {
        host.send(b"tick").unwrap();
    }

    fn child_exited(&mut self, host: &Host, child: ChildId, exit: Exit) {
        let (_, task) = self.tasks.iter().find(|(id, _)| *id == child).unwrap();
        let state = if exit.is_success() {
            State::Finished
        } else {
            State::Failed
        };
        host.report(task, state, "", &[exit.code.unwrap()]);
    }
}

use std::io::Write as _;

#[test]
fn children_and_timers_follow_the_script() {
    let script = Script::new()
        .data("hello")
        .launch(TaskInfo::new("good", "well"))
        .launch(TaskInfo::new("bad", "ill"))
        .pass(Duration::from_secs(1))
        .shutdown(Duration::ZERO);
    let transcript = script.run_with::<Runner>(|start| match start.stdin {
        b"well" => ScriptedChild::finished(""),
        _ => ScriptedChild::failed(7),
    });
    let update = |task, state, data: &[u8]| Said::update(task, state, "", data);
    let expected = [
        Said::Message(b"hello".to_vec()),
        update("good", State::Running, &[]),
        update("good", State::Finished, &[0]),
        update("bad", State::Running, &[]),
        update("bad", State::Failed, &[7]),
        Said::Message(b"tick".to_vec()),
        Said::Message(b"tick".to_vec()),
    ];
    assert_eq!(transcript.said, expected);
    assert_eq!(transcript.end, End::Stopped);
}

/// Says what it must not.
struct Liar;

impl Executor for Liar {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let say = |state| host.update(&task.id, state, "", &[]);
        assert_eq!(say(State::Running), Ok(()));
        assert_eq!(say(State::Starting), Err(UpdateError::NotAllowed));
        assert_eq!(say(State::Failed), Ok(()));
        assert_eq!(say(State::Finished), Err(UpdateError::AlreadyEnded));
        let other = host.update("other", State::Running, "", &[]);
        assert_eq!(other, Err(UpdateError::UnknownTask));
        let large = host.send(&vec![0; (64 << 10) + 1]);
        assert_eq!(large, Err(MessageError::TooLarge(64 << 10)));
        let child = Spawn::this_bundle(Resources::new(1, 1 << 20));
        let no_cpu = Spawn::this_bundle(Resources::new(0, 1 << 20));
        let no_memory = Spawn::this_bundle(Resources::new(1, 1));
        let wordy = child.clone().arg("x".repeat(64 << 10));
        for spawn in [no_cpu, no_memory, wordy] {
            let refused = host.spawn(spawn);
            assert!(
                matches!(refused, Err(SpawnError::Invalid(_))),
                "{refused:?}"
            );
        }
        let left = host.left();
        let greedy = Spawn::this_bundle(Resources {
            cpu_milli: left.cpu_milli + 1,
            ..left
        });
        assert_eq!(
            host.spawn(greedy).err(),
            Some(SpawnError::NoResources(left))
        );
        assert!(host.spawn(child).is_ok());
    }
}

#[test]
fn the_script_refuses_what_the_real_host_would() {
    let transcript = Script::new().launch(TaskInfo::new("one", "")).run::<Liar>();
    assert_eq!(transcript.said.len(), 2);
    assert_eq!(transcript.end, End::Alive);
}

#[test]
fn a_task_is_told_messages_and_then_to_stop() {
    fn shout(task: Task) -> Result<String, crate::MessageError> {
        let mut count = 0;
        while let Some(message) = task.wait_for_message() {
            task.send(&message.to_ascii_uppercase())?;
            count += 1;
        }
        Ok(format!("{count} messages"))
    }
    let script = TaskScript {
        messages: vec![b"one".to_vec(), b"two".to_vec()],
        stop: Some(Duration::from_secs(3)),
        ..TaskScript::default()
    };
    let transcript = script.run(shout);
    let said = [b"ONE", b"TWO"].map(|text| Said::Message(text.to_vec()));
    assert_eq!(transcript.said, said);
    assert_eq!(transcript.result, b"2 messages");
    assert!(transcript.succeeded);
}
