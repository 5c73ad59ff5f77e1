//! The classic resource-offer example with its exact numbers, step by step, and its variants: the core
//! of the master on a virtual clock.

use std::time::Duration;

use nesos_master_core::{Blocked, MasterConfig, OperatorReply, OperatorRequest};
use nesos_tests::stage::{AgentName, SchedulerName, Stage, task};
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Filters, Operation};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskReason, TaskState};

const SECOND: Duration = Duration::from_secs(1);

/// CPUs and MiB.
fn res(cpus: u64, mib: u64) -> Resources {
    Resources::new(cpus * 1000, mib << 20)
}

fn t1() -> SharedTask {
    task("T1", res(2, 1024))
}

fn t2() -> SharedTask {
    task("T2", res(1, 2048))
}

fn states(pairs: &[(&str, TaskState)]) -> Vec<(String, TaskState)> {
    let pairs = pairs.iter();
    pairs
        .map(|(task, state)| ((*task).to_owned(), *state))
        .collect()
}

/// One framework that waits, and an agent of 4 CPUs and 4 GiB that comes.
fn one_framework() -> (Stage, SchedulerName, AgentName) {
    let mut stage = Stage::new(MasterConfig::default());
    let fw1 = stage.scheduler("FW1", &Role::default_role());
    let s1 = stage.agent("S1", res(4, 4096));
    assert_eq!(stage.offered(fw1), [res(4, 4096)]);
    (stage, fw1, s1)
}

#[test]
fn the_classic_example() {
    // 1: the agent registers and all of it is offered to the framework that waits.
    let (mut stage, fw1, s1) = one_framework();
    assert_eq!(stage.offers(fw1).len(), 1);

    // 2: a second framework gets nothing, and can be told why.
    let fw2 = stage.scheduler("FW2", &Role::default_role());
    let since = stage.now();
    stage.advance(2 * SECOND);
    assert!(stage.offers(fw2).is_empty());
    let explanation = stage.explain(fw2);
    assert_eq!(explanation.overall, None);
    assert_eq!(explanation.roles.len(), 1);
    assert_eq!(explanation.roles[0].groups.len(), 1);
    let group = &explanation.roles[0].groups[0];
    let framework = stage.framework_id(fw1);
    assert_eq!(group.blocked, Blocked::OfferedTo { framework, since });
    assert_eq!(group.agents, [stage.agent_id(s1)]);

    // 3: two tasks are launched and run; their updates ask for acknowledgement.
    stage.launch(fw1, vec![t1(), t2()], Filters::default());
    assert!(
        stage
            .scheduler_mut(fw1)
            .updates
            .iter()
            .all(|status| status.update.is_some())
    );
    stage.acknowledge(fw1);
    assert_eq!(
        stage.scheduler_mut(fw1).take_states(),
        states(&[("T1", TaskState::Running), ("T2", TaskState::Running)])
    );

    // 4: what is left goes to the second framework.
    stage.advance(SECOND);
    assert_eq!(stage.offered(fw2), [res(1, 1024)]);
    assert!(stage.offers(fw1).is_empty());

    // 5: the books of the operator.
    let snapshot = stage.snapshot();
    let agent = &snapshot.agents[0];
    assert_eq!(agent.allocated, res(3, 3072));
    assert_eq!(agent.offered, res(1, 1024));
    assert!(agent.free.is_empty());
    let view = |name: SchedulerName| {
        let id = stage.framework_id(name);
        let views = snapshot.frameworks.iter();
        views.clone().find(|view| view.id == id).expect("is there")
    };
    assert_eq!(view(fw1).allocated, res(3, 3072));
    assert_eq!(view(fw2).offered, res(1, 1024));
    assert!((view(fw1).dominant_share - 0.75).abs() < 1e-9);
    assert!((view(fw2).dominant_share - 0.25).abs() < 1e-9);

    // 6: the second framework uses it; nothing is left for anybody.
    stage.launch(fw2, vec![task("T3", res(1, 1024))], Filters::default());
    stage.acknowledge(fw2);
    assert_eq!(
        stage.scheduler_mut(fw2).take_states(),
        states(&[("T3", TaskState::Running)])
    );
    stage.advance(3 * SECOND);
    assert!(stage.offers(fw1).is_empty() && stage.offers(fw2).is_empty());

    // 7: a task ends; its resources are offered to the one with the smaller share although nobody
    // has acknowledged the end, which is repeated until somebody does.
    stage.end(s1, fw1, "T1", TaskState::Finished);
    stage.advance(SECOND);
    assert_eq!(stage.offered(fw2), [res(2, 1024)]);
    assert!(stage.offers(fw1).is_empty());
    let finished = states(&[("T1", TaskState::Finished)]);
    assert_eq!(stage.scheduler_mut(fw1).take_states(), finished);
    stage.advance(8 * SECOND);
    assert!(stage.scheduler_mut(fw1).updates.is_empty());
    stage.advance(2 * SECOND);
    stage.acknowledge(fw1);
    assert_eq!(stage.scheduler_mut(fw1).take_states(), finished);
    stage.advance(60 * SECOND - 12 * SECOND);
    assert!(stage.scheduler_mut(fw1).updates.is_empty());

    // 8: turned down for a minute by the second, it goes to the first.
    stage.decline(fw2, Filters::refuse_for(60 * SECOND));
    stage.advance(SECOND);
    assert_eq!(stage.offered(fw1), [res(2, 1024)]);
    assert!(stage.offers(fw2).is_empty());
}

#[test]
fn a_filter_alone_keeps_the_rest_back() {
    let (mut stage, fw1, _) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::refuse_for(5 * SECOND));
    stage.advance(5 * SECOND - Duration::from_micros(1));
    assert!(stage.offers(fw1).is_empty());
    let explanation = stage.explain(fw1);
    let until = stage.now() + Duration::from_micros(1);
    assert_eq!(
        explanation.roles[0].groups[0].blocked,
        Blocked::Filtered { until }
    );
    stage.advance(Duration::from_micros(1));
    assert_eq!(stage.offered(fw1), [res(1, 1024)]);

    let (mut stage, fw1, _) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::none());
    stage.advance(SECOND);
    assert_eq!(stage.offered(fw1), [res(1, 1024)]);
}

#[test]
fn a_filter_is_defeated_by_more_resources() {
    let (mut stage, fw1, s1) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::refuse_for(60 * SECOND));
    stage.acknowledge(fw1);
    stage.advance(10 * SECOND);
    assert!(stage.offers(fw1).is_empty());
    stage.end(s1, fw1, "T1", TaskState::Finished);
    assert_eq!(stage.offered(fw1), [res(3, 2048)]);
}

#[test]
fn revive_clears_a_filter() {
    let (mut stage, fw1, _) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::refuse_for(3600 * SECOND));
    stage.advance(10 * SECOND);
    assert!(stage.offers(fw1).is_empty());
    let roles = [].into();
    stage.call(fw1, SchedulerCall::Revive { roles });
    assert_eq!(stage.offered(fw1), [res(1, 1024)]);
}

/// T2 wants more than T1 has left.
fn too_large() -> Vec<SharedTask> {
    vec![t1(), task("T2", res(3, 2048))]
}

#[test]
fn a_task_that_does_not_fit_is_an_error() {
    let (mut stage, fw1, _) = one_framework();
    let fw2 = stage.scheduler("FW2", &Role::default_role());
    stage.launch(fw1, too_large(), Filters::default());
    let updates = stage.scheduler_mut(fw1).updates.clone();
    let reason = updates.iter().find(|status| status.task.as_str() == "T2");
    assert_eq!(
        reason.and_then(|status| status.reason),
        Some(TaskReason::TaskInvalid)
    );
    assert_eq!(
        stage.scheduler_mut(fw1).take_states(),
        states(&[("T2", TaskState::Error), ("T1", TaskState::Running)])
    );
    assert_eq!(stage.offered(fw2), [res(2, 3072)]);
}

#[test]
fn a_group_starts_whole_or_not_at_all() {
    let (mut stage, fw1, s1) = one_framework();
    let fw2 = stage.scheduler("FW2", &Role::default_role());
    stage.operate(
        fw1,
        vec![Operation::LaunchGroup(too_large())],
        Filters::default(),
    );
    assert_eq!(
        stage.scheduler_mut(fw1).take_states(),
        states(&[("T1", TaskState::Error), ("T2", TaskState::Error)])
    );
    assert!(stage.agent_mut(s1).tasks().is_empty());
    assert_eq!(stage.offered(fw2), [res(4, 4096)]);
}

#[test]
fn a_fragment_is_never_offered() {
    let (mut stage, fw1, _) = one_framework();
    let most = task("T1", res(4, 4096 - 16));
    stage.launch(fw1, vec![most], Filters::none());
    stage.advance(600 * SECOND);
    assert!(stage.offers(fw1).is_empty());
    let groups = stage.explain(fw1).roles.remove(0).groups;
    assert_eq!(groups[0].blocked, Blocked::BelowMinimum);
}

#[test]
fn an_offer_can_be_used_once() {
    let (mut stage, fw1, s1) = one_framework();
    let used = stage.offers(fw1)[0].clone();
    stage.launch(fw1, vec![t1(), t2()], Filters::default());
    stage.acknowledge(fw1);
    stage.scheduler_mut(fw1).updates.clear();

    stage.scheduler_mut(fw1).offers = vec![used];
    stage.launch(fw1, vec![task("T9", res(1, 1024))], Filters::default());
    let updates = std::mem::take(&mut stage.scheduler_mut(fw1).updates);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].state, TaskState::Dropped);
    assert_eq!(updates[0].reason, Some(TaskReason::InvalidOffers));
    assert_eq!(updates[0].update, None, "nobody repeats it");
    assert_eq!(stage.agent_mut(s1).tasks(), ["T1", "T2"]);
}

#[test]
fn an_unanswered_offer_goes_to_the_next() {
    let mut stage = Stage::new(MasterConfig {
        offer_timeout: Some(2 * SECOND),
        ..MasterConfig::default()
    });
    let fw1 = stage.scheduler("FW1", &Role::default_role());
    stage.agent("S1", res(4, 4096));
    let fw2 = stage.scheduler("FW2", &Role::default_role());
    assert_eq!(stage.offered(fw1), [res(4, 4096)]);
    stage.advance(2 * SECOND);
    assert_eq!(stage.scheduler_mut(fw1).rescinded, 1);
    assert!(stage.offers(fw1).is_empty());
    assert_eq!(stage.offered(fw2), [res(4, 4096)]);
}

#[test]
fn a_failover_mid_way_allocates_nothing_twice() {
    let (mut stage, fw1, s1) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::default());
    stage.acknowledge(fw1);
    let fw2 = stage.scheduler("FW2", &Role::default_role());

    stage.restart_master();
    stage.connect_scheduler(fw2);
    stage.advance(SECOND);
    assert!(stage.offers(fw2).is_empty(), "no agent is back yet");
    stage.connect_agent(s1);
    assert_eq!(stage.offered(fw2), [res(1, 1024)]);
    stage.connect_scheduler(fw1);
    stage.advance(10 * SECOND);
    assert!(stage.offers(fw1).is_empty());
    assert_eq!(stage.offered(fw2), [res(1, 1024)]);
    assert_eq!(stage.agent_mut(s1).tasks(), ["T1", "T2"]);
    assert_eq!(stage.snapshot().agents[0].allocated, res(3, 3072));
}

#[test]
fn a_torn_down_framework_gives_everything_back() {
    let (mut stage, fw1, s1) = one_framework();
    stage.launch(fw1, vec![t1(), t2()], Filters::default());
    let fw2 = stage.scheduler("FW2", &Role::default_role());
    let torn = OperatorRequest::TeardownFramework(stage.framework_id(fw1));
    assert_eq!(stage.operator(torn), OperatorReply::Done);
    assert!(stage.agent_mut(s1).tasks().is_empty());
    let whole: Vec<_> = stage.offered(fw2);
    assert_eq!(whole, [res(1, 1024), res(3, 3072)]);
}
