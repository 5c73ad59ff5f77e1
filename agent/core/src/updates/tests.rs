//! Nothing is lost, everything is in order, and every status is sent at least once.

use nesos_types::ids::UpdateId;
use nesos_types::task::{StatusSource, TaskState, TaskStatus};
use nesos_types::time::Time;
use proptest::prelude::*;

use super::*;

fn status(number: u128, state: TaskState) -> TaskStatus {
    let id = "t".parse().unwrap();
    let mut status = TaskStatus::new(id, state, StatusSource::Cell, Time::ZERO);
    status.update = Some(UpdateId(number));
    status
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Deliver,
    Acknowledge,
    AcknowledgeOld,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        Just(Step::Deliver),
        Just(Step::Acknowledge),
        Just(Step::AcknowledgeOld),
    ]
}

proptest! {
    /// The receiver, deaf and repeating itself at random, has heard a prefix of what was pushed, and
    /// hears all of it in the end.
    #[test]
    fn everything_arrives_in_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut stream = UpdateStream::default();
        let mut pushed = 0;
        let mut heard: Vec<u128> = Vec::new();
        let hear = |stream: &UpdateStream, heard: &mut Vec<u128>| {
            if let Some(UpdateId(number)) = stream.head().and_then(|head| head.update)
                && heard.last() != Some(&number) {
                heard.push(number);
            }
        };
        for step in steps {
            match step {
                Step::Push => {
                    pushed += 1;
                    // Never the same twice in a row: that would be one.
                    let state = [TaskState::Starting, TaskState::Running][usize::from(pushed % 2 == 0)];
                    stream.push(status(pushed, state));
                }
                Step::Deliver => hear(&stream, &mut heard),
                Step::Acknowledge => if let Some(last) = heard.last() {
                    stream.acknowledge(UpdateId(*last));
                },
                Step::AcknowledgeOld => if let Some(first) = heard.first().filter(|_| heard.len() > 1) {
                    prop_assert_eq!(stream.acknowledge(UpdateId(*first)), Acknowledged::Ignored);
                },
            }
            prop_assert!(heard.iter().copied().eq(1..=heard.len() as u128));
        }
        while let Some(update) = stream.head().and_then(|head| head.update) {
            hear(&stream, &mut heard);
            prop_assert_eq!(stream.acknowledge(update), Acknowledged::Advanced);
        }
        prop_assert!(heard.iter().copied().eq(1..=pushed));
    }
}

#[test]
fn a_state_that_is_said_again_takes_the_place_of_what_was_not_sent_yet() {
    let mut stream = UpdateStream::default();
    for number in 1..=4 {
        stream.push(status(number, TaskState::Running));
    }
    stream.push(status(5, TaskState::Finished));
    let left = stream.iter().filter_map(|status| Some(status.update?.0));
    assert_eq!(
        left.collect::<Vec<_>>(),
        [1, 4, 5],
        "the first is in flight"
    );
}

#[test]
fn a_terminal_acknowledgement_closes_whatever_is_queued() {
    let mut stream = UpdateStream::default();
    assert!(stream.push(status(1, TaskState::Failed)));
    assert!(!stream.push(status(2, TaskState::Gone)));
    assert_eq!(stream.acknowledge(UpdateId(2)), Acknowledged::Ignored);
    assert_eq!(stream.acknowledge(UpdateId(1)), Acknowledged::Closed);
    assert!(stream.head().is_none());
}

#[test]
fn pauses_double_up_to_the_longest_and_restart() {
    let (min, max) = (Duration::from_secs(10), Duration::from_secs(600));
    let mut stream = UpdateStream::default();
    let pauses: Vec<_> = (0..8)
        .map(|_| stream.next_pause(min, max).as_secs())
        .collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    stream.restart_backoff();
    assert_eq!(stream.next_pause(min, max), min);
}
