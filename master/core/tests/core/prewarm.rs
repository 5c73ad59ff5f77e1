//! Bundles that are compiled before the first task of them comes.

use nesos_master_core::OperatorReply;
use nesos_master_core::OperatorRequest;
use nesos_types::bundle::Digest;
use nesos_types::ids::AgentId;

use crate::script::{Script, res};

fn prewarm(agents: Vec<AgentId>) -> OperatorRequest {
    OperatorRequest::PrewarmBundle {
        repository: Some("ads/hello".parse().expect("a repository")),
        bundle: Digest([7; 32]),
        agents,
    }
}

#[test]
fn all_agents_that_are_connected_are_told() {
    let mut script = Script::new();
    script.register(1, "one", res(1, 64));
    script.register(2, "two", res(1, 64));
    script.hang_up_agent(2);
    assert_eq!(
        script.ask(prewarm(Vec::new())),
        OperatorReply::Prewarming(1)
    );
}

#[test]
fn an_agent_that_is_not_there_is_said_and_nobody_is_told() {
    let mut script = Script::new();
    script.register(1, "one", res(1, 64));
    let nobody = AgentId(99);
    assert_eq!(
        script.ask(prewarm(vec![nobody])),
        OperatorReply::AgentUnknown(nobody)
    );
}
