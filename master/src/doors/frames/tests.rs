//! Frames keep the order, lose nothing, and respect the limits.

use std::sync::Arc;

use nesos_api::v1;
use nesos_types::bundle::Digest;
use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::message::AgentCommand;
use nesos_types::resources::Resources;
use nesos_types::task::TaskInfo;

use super::*;

fn launch(tasks: usize, data_bytes: usize) -> AgentCommand {
    let task = |n: usize| {
        let id = format!("t{n}").parse().unwrap();
        let mut task = TaskInfo::new(id, Digest([0; 32]), Resources::new(1, 1));
        task.data = vec![7; data_bytes];
        Arc::new(task)
    };
    AgentCommand::Launch {
        signers: Default::default(),
        framework: FrameworkId(1),
        role: "r".parse().unwrap(),
        tasks: (0..tasks).map(task).collect(),
    }
}

fn frames(commands: Vec<AgentCommand>) -> Vec<v1::AgentCommands> {
    let mut queue = VecDeque::from(commands);
    std::iter::from_fn(|| (!queue.is_empty()).then(|| next_frame(&mut queue))).collect()
}

fn commands(frames: Vec<v1::AgentCommands>) -> Vec<AgentCommand> {
    frames
        .into_iter()
        .flat_map(|frame| frame.commands)
        .map(|command| command.try_into().unwrap())
        .collect()
}

#[test]
fn what_waits_goes_into_one_frame() {
    let waiting = vec![AgentCommand::Ping, launch(2, 10), AgentCommand::Ping];
    let frames = frames(waiting.clone());
    assert_eq!(frames.len(), 1);
    assert_eq!(commands(frames), waiting);
}

#[test]
fn large_messages_get_frames_of_their_own() {
    let waiting = vec![
        launch(1, 200 << 10),
        launch(1, 200 << 10),
        AgentCommand::Ping,
    ];
    let frames = frames(waiting.clone());
    assert_eq!(frames.len(), 2);
    assert_eq!(commands(frames), waiting);
}

#[test]
fn a_launch_beyond_the_limit_is_split_and_keeps_its_order() {
    let frames = frames(vec![launch(40, 1 << 20)]);
    assert!(frames.len() > 2);
    assert!(
        frames
            .iter()
            .all(|frame| frame.encoded_len() <= MAX_FRAME_BYTES)
    );
    let ids: Vec<_> = commands(frames)
        .into_iter()
        .flat_map(|command| match command {
            AgentCommand::Launch { tasks, .. } => tasks,
            other => panic!("{other:?}"),
        })
        .map(|task| task.id.to_string())
        .collect();
    let expected: Vec<_> = (0..40).map(|n| format!("t{n}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_message_that_cannot_be_split_is_sent_as_it_is() {
    let key = TaskKey {
        framework: FrameworkId(1),
        task: "t".parse().unwrap(),
    };
    let waiting = vec![AgentCommand::Reconcile(vec![key])];
    assert_eq!(commands(frames(waiting.clone())), waiting);
}
