//! Reservations in the hands of those who mean harm, or are mistaken: frameworks and agents that say what
//! cannot be, and operators who act on an agent of which too little is known.

use nesos_master_core::{OperatorReply, OperatorRequest};
use nesos_types::message::{AgentEvent, AgentTask, SchedulerCall};
use nesos_types::offer::{Demand, Operation};
use nesos_types::reservation::{
    Claim, Owner, Reservation, ReservationChange, ReservationRefusal, Volume,
};
use nesos_types::resources::Resources;
use nesos_types::role::RoleChange;
use nesos_types::task::{SharedTask, TaskState};

use crate::reservations::{framework, reserve, role, text, unreserve, volume};
use crate::revocable::revocable;
use crate::script::{Script, info, res, seconds, task};

/// Reserved for `ads` at run time, with a label.
fn by(owner: Owner, label: &str) -> Claim {
    let mut claim = Claim::reserved_by_agent(role("ads"));
    claim.reservations[0].owner = owner;
    claim.reservations[0].labels = [(label.to_owned(), String::new())].into();
    claim
}

fn limit(script: &mut Script, of: &str, amounts: &str) {
    let mut change = RoleChange::of(role(of));
    change.limit = Some(amounts.parse().expect("amounts"));
    let change = OperatorRequest::ChangeRoles {
        changes: vec![change],
        force: true,
    };
    assert_eq!(script.ask(change), OperatorReply::Done);
}

fn brought(script: &Script, task: SharedTask) -> AgentTask {
    AgentTask {
        framework: script.frameworks[0],
        role: role("ads"),
        task,
        latest: TaskState::Running,
        unacknowledged: None,
    }
}

fn create() -> ReservationChange {
    ReservationChange::CreateVolume {
        volume: volume("v"),
        disk: text("disk(ads):10"),
    }
}

fn destroy() -> ReservationChange {
    ReservationChange::DestroyVolume {
        volume: volume("v"),
    }
}

#[test]
fn sums_that_cannot_be_are_refused() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    let owner = Owner::Framework {
        id: script.frameworks[0],
        principal: String::new(),
    };
    let part =
        |label: &str| Resources::claimed(by(owner.clone(), label), Resources::new(u64::MAX, 0));
    let both = part("a").checked_add(&part("b")).expect("two claims");
    script.skip();
    script.change(1, vec![unreserve(both)]);
    assert!(script.said("Refused: unreserve: resources: they are more than any agent has"));
}

#[test]
fn labels_and_parts_have_a_bound() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    let labelled = |label: String| ReservationChange::Reserve {
        resources: Resources::new(1, 0),
        role: role("ads"),
        labels: [(label, String::new())].into(),
    };
    script.change(
        1,
        vec![labelled("x".repeat(Reservation::MAX_LABEL_BYTES + 1))],
    );
    assert!(script.said("reserve: labels: there are 4097 bytes"));
    script.call(1, SchedulerCall::Revive { roles: [].into() });
    let many = (0..=Claim::MAX_PARTS).map(|at| labelled(at.to_string()));
    script.change(1, many.collect());
    assert!(script.said("reserve: the agent has 512 parts with claims of their own"));
    assert_eq!(script.total().parts().count(), Claim::MAX_PARTS);
}

#[test]
fn an_agent_can_only_reserve_for_a_role() {
    let volume = Claim {
        volume: Some(Volume {
            id: volume("v"),
            owner: Owner::Operator,
        }),
        ..Claim::reserved_by_agent(role("ads"))
    };
    let lent = Claim {
        revocable: true,
        ..Claim::reserved_by_agent(role("ads"))
    };
    let everybody = Claim::reserved_by_agent(role("*"));
    for claim in [
        by(Owner::Operator, ""),
        volume,
        lent,
        Claim::revocable(),
        everybody,
    ] {
        let mut script = Script::new();
        let part = Resources::claimed(claim, Resources::new(1000, 0));
        let has = res(4, 4096).checked_add(&part).expect("two claims");
        script.register(9, "host", has);
        assert!(
            script.said("Refused: Register: resources: 1 CPU"),
            "{}",
            script.take()
        );
        assert!(script.master.snapshot().agents.is_empty());
    }
    let mut script = Script::new();
    let ports = |text: &str| text.parse::<Resources>().expect("resources");
    let twice = ports("cpus:1;ports:[1-10]")
        .checked_add(&ports("ports(ads):[5-6]"))
        .expect("two claims");
    script.register(9, "host", twice);
    assert!(script.said("Refused: Register: resources: an item is there twice"));
    assert!(
        "ports:[1-10];ports(ads):[5-6]"
            .parse::<Resources>()
            .is_err()
    );
}

#[test]
fn an_agent_that_is_not_back_yet_is_left_alone() {
    let mut script = Script::new();
    limit(&mut script, "ads", "cpus:8");
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", text("cpus:4;mem:4096;disk(ads):10"));
    script.change(1, vec![create()]);
    let held = script.offered_parts(1);
    let task = task("t", res(1, 64).checked_add(&held).expect("fits"));
    script.call(1, SchedulerCall::Revive { roles: [].into() });
    script.accept(
        1,
        vec![Operation::Launch(vec![SharedTask::clone(&task)])],
        0,
    );
    script.update(9, "t", TaskState::Running, 1);
    script.restart();
    let agent = script.agents[0];
    let away = OperatorReply::ReservationRefused(ReservationRefusal::AgentAway(agent));
    for change in [destroy(), reserve(res(1, 0), "ads"), unreserve(res(1, 0))] {
        assert_eq!(script.change_by_operator(change), away);
    }
    let tasks = vec![brought(&script, task)];
    script.skip();
    script.register_as(
        19,
        Some(agent),
        info("host", text("cpus:4;mem:4096;disk(ads):10")),
        tasks,
    );
    assert!(
        script.said("volume v"),
        "the agent is told to keep it: {}",
        script.take()
    );
    let in_use = ReservationRefusal::VolumeInUse(volume("v"));
    assert_eq!(
        script.change_by_operator(destroy()),
        OperatorReply::ReservationRefused(in_use)
    );
}

#[test]
fn a_volume_made_anew_is_another_one() {
    let mut script = Script::new();
    script.register(9, "host", text("cpus:4;mem:4096;disk(ads):10"));
    assert_eq!(script.change_by_operator(create()), OperatorReply::Done);
    let first = script.incarnation("v");
    script.hang_up_agent(9);
    assert_eq!(script.change_by_operator(destroy()), OperatorReply::Done);
    assert_eq!(script.change_by_operator(create()), OperatorReply::Done);
    assert_ne!(script.incarnation("v"), first);
    let again = script.incarnation("v");
    script.restart();
    let agent = script.agents[0];
    script.register_as(
        19,
        Some(agent),
        info("host", text("cpus:4;mem:4096;disk(ads):10")),
        vec![],
    );
    assert_eq!(script.incarnation("v"), again, "it is told what is durable");
}

#[test]
fn tasks_on_what_is_revocable_come_back_and_the_rest_is_offered() {
    let mut script = Script::new();
    let mut greedy = framework("ads", "");
    greedy
        .offer_filters
        .entry(role("ads"))
        .or_default()
        .revocable = true;
    script.subscribe_as(1, None, greedy.clone());
    script.register(9, "host", res(4, 4096));
    script.say(9, AgentEvent::Slack { cpu_milli: 2000 });
    let task = task("r", revocable(1000).checked_add(&res(0, 64)).expect("fits"));
    script.accept(
        1,
        vec![Operation::Launch(vec![SharedTask::clone(&task)])],
        0,
    );
    script.update(9, "r", TaskState::Running, 1);
    script.restart();
    let id = script.frameworks[0];
    script.subscribe_as(11, Some(id), greedy);
    let (agent, tasks) = (script.agents[0], vec![brought(&script, task)]);
    script.register_as(19, Some(agent), info("host", res(4, 4096)), tasks);
    assert_eq!(script.offered(1), res(4, 4032));
    script.say(19, AgentEvent::Slack { cpu_milli: 2000 });
    assert_eq!(script.offered_parts(1), revocable(1000));
}

#[test]
fn an_agent_that_lies_about_its_tasks_breaks_no_books() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    script.hang_up_agent(9);
    let huge = revocable(u64::MAX)
        .checked_add(&res(0, 64))
        .expect("two claims");
    let tasks = ["x", "y"].map(|name| brought(&script, task(name, huge.clone())));
    let agent = script.agents[0];
    script.register_as(19, Some(agent), info("host", res(4, 4096)), tasks.to_vec());
    script.say(19, AgentEvent::Slack { cpu_milli: 1 });
    assert_eq!(script.offered(1), Resources::default());
    script.update(19, "x", TaskState::Finished, 1);
    script.update(19, "y", TaskState::Finished, 2);
    assert_eq!(script.offered(1), res(4, 4096));
}

#[test]
fn what_was_reserved_above_does_not_escape_a_limit_below() {
    let mut script = Script::new();
    limit(&mut script, "a/b", "cpus:1");
    script.subscribe_as(1, None, framework("a", "p"));
    script.register(9, "host", res(4, 4096));
    script.change(1, vec![reserve(res(4, 4096), "a")]);
    script.hang_up_scheduler(1);
    script.subscribe_as(2, None, framework("a/b", "p"));
    let held = script.offered_parts(2);
    assert_eq!(held.flattened(), res(4, 4096));
    script.skip();
    script.change(2, vec![unreserve(held)]);
    assert!(script.said("unreserve: role: a/b would exceed its limit"));
}

#[test]
fn a_role_beyond_its_limit_may_still_refine_what_it_has() {
    let mut script = Script::new();
    script.register(9, "host", res(4, 4096));
    let all = Resources::new(4000, 0);
    assert_eq!(
        script.change_by_operator(reserve(all, "a")),
        OperatorReply::Done
    );
    limit(&mut script, "a", "cpus:1");
    let held = script.total().only_parts();
    assert_eq!(
        script.change_by_operator(reserve(held, "a/b")),
        OperatorReply::Done
    );
    let more = OperatorReply::ReservationRefused(ReservationRefusal::QuotaLimit(role("a")));
    assert_eq!(
        script.change_by_operator(reserve(res(0, 64), "a")),
        OperatorReply::Done,
        "of what has no limit"
    );
    script.register(19, "other", res(4, 4096));
    let other = script.agents[1];
    let change = reserve(res(1, 0), "a");
    let request = OperatorRequest::ChangeReservations {
        agent: other,
        change,
    };
    assert_eq!(script.ask(request), more);
}

#[test]
fn a_demand_that_names_claims_is_one_of_amounts() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    let wanted = text("cpus(ads):1;mem(ads):64");
    let demand = Demand {
        role: role("ads"),
        resources: wanted.clone(),
        count: 1,
    };
    script.call(
        1,
        SchedulerCall::Request {
            demands: vec![demand],
        },
    );
    script.register(9, "host", text("cpus(ads):4;mem(ads):4096"));
    script.accept(1, vec![Operation::Launch(vec![task("t", wanted)])], 0);
    script.pass(seconds(2));
    assert_eq!(
        script.offered(1),
        Resources::default(),
        "it waits for nothing more"
    );
}
