//! Revocable CPU: what agents tell of it is offered to those who want it, and taken back.

use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::offer::Operation;
use nesos_types::reservation::Claim;
use nesos_types::resources::Resources;
use nesos_types::task::TaskState;

use crate::reservations::{framework, reserve, role};
use crate::script::{Script, info, res, task};

#[test]
fn slack_is_offered_as_revocable_to_those_who_want_it() {
    let mut script = Script::new();
    let mut greedy = framework("greedy", "");
    let filters = greedy.offer_filters.entry(role("greedy")).or_default();
    filters.revocable = true;
    script.subscribe_as(1, None, greedy);
    script.subscribe_as(2, None, framework("proud", ""));
    script.register(9, "host", res(4, 4096));
    script.subscribe_as(3, None, framework("owner", ""));
    for connection in [1, 2] {
        script.decline_all(connection);
    }
    let owned = task("t", res(4, 1024));
    script.accept(3, vec![Operation::Launch(vec![owned])], 3600);
    script.skip();
    script.say(9, AgentEvent::Slack { cpu_milli: 2500 });
    assert_eq!(script.offered_parts(1), revocable(2500));
    assert_eq!(script.offered(2), Resources::default());
    // Nothing revocable can be reserved.
    script.change(1, vec![reserve(revocable(500), "greedy")]);
    assert!(script.said("Refused: reserve: resources: what is revocable cannot be reserved"));
    script.call(1, SchedulerCall::Revive { roles: [].into() });
    // A task on it stays when the owner needs it; an offer does not.
    let resources = revocable(1000).checked_add(&res(0, 64)).expect("fits");
    script.accept(1, vec![Operation::Launch(vec![task("r", resources)])], 0);
    assert_eq!(script.offered_parts(1), revocable(1500));
    script.skip();
    script.say(9, AgentEvent::Slack { cpu_milli: 500 });
    assert!(script.said("Rescind"));
    assert_eq!(script.offered_parts(1), Resources::default());
    assert_eq!(script.total().only_parts(), revocable(1000));
    script.update(9, "r", TaskState::Killed, 2);
    assert_eq!(script.total().only_parts(), revocable(500));
    assert_eq!(script.offered_parts(1), revocable(500));
    // An agent that comes back has to measure again.
    script.hang_up_agent(9);
    let agent = script.agents[0];
    script.register_as(19, Some(agent), info("host", res(4, 4096)), vec![]);
    assert_eq!(script.total(), res(4, 4096));
}

pub(crate) fn revocable(cpu_milli: u64) -> Resources {
    Resources::claimed(Claim::revocable(), Resources::new(cpu_milli, 0))
}

#[test]
fn an_agent_cannot_have_more_slack_than_cpu() {
    let mut script = Script::new();
    script.register(9, "host", res(4, 4096));
    script.say(
        9,
        AgentEvent::Slack {
            cpu_milli: u64::MAX,
        },
    );
    assert_eq!(script.total().flattened().cpu_milli, 8000);
}
