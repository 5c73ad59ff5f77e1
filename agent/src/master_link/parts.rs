//! A registration for which a frame has no room leaves in parts: tasks first, and the registration with what is
//! left of them.

use nesos_api::v1;
use nesos_api::v1::agent_event::Event;
use prost::Message;

/// A part takes no further task once it holds this many bytes. A frame takes four times as many.
const FULL_BYTES: usize = 4 << 20;

/// The event, behind the parts that it needs.
pub(super) fn in_parts(mut event: v1::AgentEvent) -> Vec<v1::AgentEvent> {
    let mut parts = Vec::new();
    if let Some(Event::Register(register)) = &mut event.event {
        let mut part = v1::BroughtTasks::default();
        let mut bytes = 0;
        for task in std::mem::take(&mut register.tasks) {
            if bytes >= FULL_BYTES {
                parts.push(brought(std::mem::take(&mut part)));
                bytes = 0;
            }
            bytes += task.encoded_len();
            part.tasks.push(task);
        }
        register.tasks = part.tasks;
    }
    parts.push(event);
    parts
}

fn brought(part: v1::BroughtTasks) -> v1::AgentEvent {
    v1::AgentEvent {
        event: Some(Event::Brought(part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(task_bytes: &[usize]) -> v1::AgentEvent {
        let tasks = task_bytes.iter().map(|bytes| v1::AgentTask {
            unacknowledged: Some(v1::TaskStatus {
                data: vec![0; *bytes],
                ..Default::default()
            }),
            ..Default::default()
        });
        v1::AgentEvent {
            event: Some(Event::Register(v1::Register {
                tasks: tasks.collect(),
                ..Default::default()
            })),
        }
    }

    fn counts(parts: &[v1::AgentEvent]) -> Vec<(bool, usize)> {
        let count = |part: &v1::AgentEvent| match &part.event {
            Some(Event::Brought(part)) => (false, part.tasks.len()),
            Some(Event::Register(register)) => (true, register.tasks.len()),
            other => panic!("{other:?}"),
        };
        parts.iter().map(count).collect()
    }

    #[test]
    fn what_fits_is_one() {
        assert_eq!(counts(&in_parts(register(&[]))), [(true, 0)]);
        assert_eq!(counts(&in_parts(register(&[1000; 3]))), [(true, 3)]);
    }

    #[test]
    fn what_does_not_fit_goes_before() {
        let parts = in_parts(register(&[FULL_BYTES, 0, FULL_BYTES, 0, 0]));
        assert_eq!(counts(&parts), [(false, 1), (false, 2), (true, 2)]);
        let frames_hold_them = parts
            .iter()
            .all(|part| part.encoded_len() < nesos_api::MAX_FRAME_BYTES);
        assert!(frames_hold_them);
    }
}
