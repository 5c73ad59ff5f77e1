//! The queue without a driver: callbacks in, calls out.

use std::sync::Arc;

use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::executor::ExecutorInfo;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::Operation;
use nesos_types::reservation::{Claim, Owner, Volume};
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, VolumeMount, Work};

use super::*;

fn task(id: &str, cpu_milli: u64) -> SharedTask {
    let resources = Resources::new(cpu_milli, 1 << 20);
    Arc::new(TaskInfo::new(
        id.parse().expect("an id"),
        Digest([0; 32]),
        resources,
    ))
}

fn offer(id: u128, cpu_milli: u64) -> Offer {
    Offer {
        id: OfferId(id),
        framework: FrameworkId(1),
        role: Role::default_role(),
        agent: AgentId(1),
        agent_info: AgentInfo::new("host", Resources::default()).into(),
        resources: Resources::new(cpu_milli, 1 << 40),
        free_sandboxes: u32::MAX,
        compiled_bundles: Vec::new(),
    }
}

fn dropped(id: &str, reason: TaskReason) -> TaskStatus {
    let task = id.parse().expect("an id");
    TaskStatus::new(task, TaskState::Dropped, StatusSource::Master, Time::ZERO)
        .because(reason, "gone")
}

/// A queue and what it wants, as short texts.
struct Bench {
    queue: TaskQueue,
    events: mpsc::UnboundedReceiver<QueueEvent>,
}

impl Bench {
    fn new(hold_offers: bool) -> Self {
        let config = QueueConfig {
            hold_offers,
            report_launches: false,
            ..QueueConfig::default()
        };
        let (queue, events) = TaskQueue::new(config);
        let mut bench = Self { queue, events };
        bench.act(|queue, actions| queue.subscribed(actions, FrameworkId(1)));
        assert_eq!(bench.event(), Some(QueueEvent::Subscribed(FrameworkId(1))));
        bench
    }

    fn act(&mut self, act: impl FnOnce(&mut TaskQueue, &mut Actions)) -> Vec<String> {
        let mut actions = Actions::default();
        act(&mut self.queue, &mut actions);
        actions.drain().map(|call| brief(&call)).collect()
    }

    fn submit(&mut self, tasks: Vec<SharedTask>) -> Vec<String> {
        self.act(|queue, actions| queue.input(actions, QueueInput::Submit(tasks)))
    }

    fn offer(&mut self, offer: Offer) -> Vec<String> {
        self.act(|queue, actions| queue.offers(actions, vec![offer]))
    }

    fn event(&mut self) -> Option<QueueEvent> {
        self.events.try_recv().ok()
    }
}

fn brief(call: &SchedulerCall) -> String {
    match call {
        SchedulerCall::Accept {
            offers,
            operations,
            filters,
        } => {
            let tasks: Vec<_> = operations
                .iter()
                .flat_map(|operation| match operation {
                    Operation::Launch(tasks) | Operation::LaunchGroup(tasks) => tasks,
                    Operation::Reservation(_) => panic!("a queue reserves nothing"),
                })
                .map(|task| task.id.as_str())
                .collect();
            let refuse = filters.duration().as_secs();
            format!("accept {} {} {refuse}s", offers[0].0, tasks.join(","))
        }
        SchedulerCall::Decline { offers, filters } => {
            format!("decline {} {}s", offers[0].0, filters.duration().as_secs())
        }
        SchedulerCall::Revive { .. } => "revive".to_owned(),
        SchedulerCall::Suppress { .. } => "suppress".to_owned(),
        SchedulerCall::Kill { task, .. } => format!("kill {task}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn launches_what_fits_in_order_and_wants_nothing_when_idle() {
    let mut bench = Bench::new(false);
    let tasks = vec![task("a", 1000), task("b", 4000), task("c", 500)];
    assert_eq!(bench.submit(tasks), ["revive"]);
    assert_eq!(bench.offer(offer(1, 2000)), ["accept 1 a,c 3600s"]);
    assert_eq!(
        bench.offer(offer(2, 4000)),
        ["accept 2 b 3600s", "suppress"]
    );
    assert_eq!(bench.offer(offer(3, 4000)), ["decline 3 3600s"]);
    assert_eq!(bench.queue.launched(), 3);
}

#[test]
fn a_new_kind_of_task_clears_filters_that_another_of_the_same_kind_does_not() {
    let mut bench = Bench::new(false);
    bench.submit(vec![task("large", 4000)]);
    assert_eq!(bench.offer(offer(1, 1000)), ["decline 1 3600s"]);
    assert_eq!(bench.submit(vec![task("large 2", 4000)]), [""; 0]);
    assert_eq!(bench.submit(vec![task("small", 1000)]), ["revive"]);
    assert_eq!(bench.offer(offer(2, 1000)), ["accept 2 small 3600s"]);
}

#[test]
fn a_task_that_can_be_pushed_aside_takes_revocable_cpu_and_no_other() {
    let mut bench = Bench::new(false);
    let mut modest = TaskInfo::clone(&task("modest", 1000));
    modest.resources = modest.resources.with_revocable_cpu();
    bench.submit(vec![Arc::new(modest), task("proud", 3000)]);
    assert_eq!(bench.offer(offer(1, 2000)), ["decline 1 3600s"]);
    let mut lent = offer(2, 2000);
    lent.resources = Resources::new(4000, 1 << 40).with_revocable_cpu();
    assert_eq!(bench.offer(lent), ["accept 2 modest 3600s"]);
    assert_eq!(
        bench.offer(offer(3, 3000)),
        ["accept 3 proud 3600s", "suppress"]
    );
}

#[test]
fn a_held_offer_is_used_at_once_and_forgotten_when_rescinded() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.offer(offer(1, 2000)), [""; 0]);
    assert_eq!(bench.submit(vec![task("a", 1000)]), ["accept 1 a 0s"]);
    bench.offer(offer(2, 2000));
    bench.act(|queue, actions| queue.rescind(actions, OfferId(2)));
    assert_eq!(bench.submit(vec![task("b", 1000)]), [""; 0]);
}

#[test]
fn a_drop_without_fault_is_tried_again_and_not_told() {
    let mut bench = Bench::new(false);
    bench.submit(vec![task("a", 1000)]);
    for attempt in 1..=u128::from(MAX_ATTEMPTS) {
        assert_eq!(bench.event(), None);
        let accepted = bench.offer(offer(attempt, 1000));
        assert_eq!(accepted[0], format!("accept {attempt} a 3600s"));
        let status = dropped("a", TaskReason::InvalidOffers);
        bench.act(|queue, actions| queue.update(actions, status));
    }
    let told = bench.event();
    assert!(
        matches!(&told, Some(QueueEvent::Status(status)) if status.state == TaskState::Dropped),
        "after so many attempts it is told: {told:?}"
    );
    assert_eq!((bench.queue.waiting(), bench.queue.launched()), (0, 0));
}

#[test]
fn other_drops_are_told_at_once() {
    let mut bench = Bench::new(false);
    bench.submit(vec![task("a", 1000)]);
    bench.offer(offer(1, 1000));
    let status = dropped("a", TaskReason::LaunchFailed);
    bench.act(|queue, actions| queue.update(actions, status.clone()));
    assert_eq!(bench.event(), Some(QueueEvent::Status(status)));
}

#[test]
fn killing_a_task_that_waits_needs_no_master() {
    let mut bench = Bench::new(false);
    bench.submit(vec![task("a", 1000), task("b", 1000)]);
    let kill = |id: &str| QueueInput::Kill(id.parse().expect("an id"), None);
    let calls = bench.act(|queue, actions| queue.input(actions, kill("a")));
    assert_eq!(calls, [""; 0]);
    let told = bench.event();
    assert!(
        matches!(&told, Some(QueueEvent::Status(status)) if status.state == TaskState::Killed),
        "{told:?}"
    );
    assert_eq!(
        bench.offer(offer(1, 2000)),
        ["accept 1 b 3600s", "suppress"]
    );
    let calls = bench.act(|queue, actions| queue.input(actions, kill("b")));
    assert_eq!(calls, ["kill b"]);
}

#[test]
fn an_offer_takes_no_more_than_a_frame_holds() {
    let mut bench = Bench::new(false);
    let tasks = (0..MAX_LAUNCH + 1)
        .map(|n| task(&n.to_string(), 1))
        .collect();
    bench.submit(tasks);
    let calls = bench.offer(offer(1, 1_000_000));
    assert!(calls[0].ends_with(" 0s"), "the rest is wanted at once");
    assert_eq!(bench.queue.waiting(), 1);
}

#[test]
fn a_broken_connection_voids_offers_and_the_next_one_is_asked_for_more() {
    let mut bench = Bench::new(true);
    bench.offer(offer(1, 2000));
    bench.act(|queue, actions| queue.disconnected(actions));
    assert_eq!(bench.submit(vec![task("a", 1000)]), [""; 0]);
    bench.act(|queue, actions| queue.reconnected(actions));
    assert_eq!(bench.offer(offer(2, 1000)), ["accept 2 a 0s"]);
}

#[test]
fn holding_can_be_ended_and_begun_again() {
    let mut bench = Bench::new(true);
    bench.offer(offer(1, 2000));
    let hold = |hold| {
        move |queue: &mut TaskQueue, actions: &mut Actions| {
            queue.input(actions, QueueInput::HoldOffers(hold));
        }
    };
    assert_eq!(bench.act(hold(false)), ["decline 1 3600s", "suppress"]);
    assert_eq!(bench.act(hold(true)), ["revive"]);
}

#[test]
fn tasks_with_preferences_wait_for_their_place_and_others_do_not() {
    let mut bench = Bench::new(false);
    let near = |task: SharedTask, agent: u128| (task, Preference::agents([AgentId(agent)]));
    let delay = Duration::from_secs(5);
    bench.queue.delay = DelayPolicy::new(delay);
    let now = Time::ZERO + Duration::from_secs(100);
    let mut at = |seconds: u64, act: &mut dyn FnMut(&mut TaskQueue, &mut Actions)| {
        let mut actions = Actions::default();
        actions.set_now(now + Duration::from_secs(seconds));
        act(&mut bench.queue, &mut actions);
        actions.drain().map(|call| brief(&call)).collect::<Vec<_>>()
    };
    at(0, &mut |queue, actions| {
        let tasks = vec![near(task("x", 1000), 7), near(task("y", 1000), 8)];
        queue.input(actions, QueueInput::SubmitNear(tasks));
        queue.input(actions, QueueInput::Submit(vec![task("z", 1000)]));
    });
    let mut offered = |seconds: u64, agent: u128, cpus: u64| {
        at(seconds, &mut |queue, actions| {
            let mut offer = offer(agent, cpus * 1000);
            offer.agent = AgentId(agent);
            queue.offers(actions, vec![offer]);
        })
    };
    assert_eq!(offered(0, 9, 4), ["accept 9 z 5s"]);
    assert_eq!(offered(1, 9, 4), ["decline 9 4s"]);
    assert_eq!(offered(2, 7, 1), ["accept 7 x 5s"]);
    assert_eq!(offered(6, 9, 4), ["decline 9 5s"]);
    assert_eq!(offered(11, 9, 4)[0], "accept 9 y 3600s");
}

/// An offer of plain resources with something set apart beside them.
fn offer_with(id: u128, cpu_milli: u64, parts: &[Resources]) -> Offer {
    let mut offer = offer(id, cpu_milli);
    offer.resources = parts.iter().fold(offer.resources, |sum, part| {
        sum.checked_add(part).expect("small numbers")
    });
    offer
}

/// What the only launch among these calls gives its only task.
fn launched_on(calls: &[SchedulerCall]) -> Resources {
    let accepted = calls.iter().find_map(|call| match call {
        SchedulerCall::Accept { operations, .. } => operations.first(),
        _ => None,
    });
    match accepted {
        Some(Operation::Launch(tasks)) if tasks.len() == 1 => tasks[0].resources.clone(),
        other => panic!("not one launch: {other:?}"),
    }
}

#[test]
fn what_is_reserved_is_used_before_the_rest() {
    let mut bench = Bench::new(false);
    bench.submit(vec![task("a", 3000)]);
    let claim = Claim::reserved_by_agent("ads".parse().expect("a role"));
    let reserved = Resources::claimed(claim, Resources::new(2000, 0));
    let mut actions = Actions::default();
    let offers = vec![offer_with(1, 4000, std::slice::from_ref(&reserved))];
    bench.queue.offers(&mut actions, offers);
    let calls: Vec<_> = actions.drain().collect();
    let rest = Resources::new(1000, 1 << 20);
    assert_eq!(
        launched_on(&calls),
        rest.checked_add(&reserved).expect("fits")
    );
}

#[test]
fn a_task_goes_where_its_volume_is() {
    let mut bench = Bench::new(false);
    let mut info = TaskInfo::clone(&task("a", 1000));
    info.volumes = vec![VolumeMount {
        volume: "data".parse().expect("an id"),
        guest: "/data".to_owned(),
        read_only: false,
    }];
    let mut claim = Claim::reserved_by_agent("ads".parse().expect("a role"));
    claim.volume = Some(Volume {
        id: "data".parse().expect("an id"),
        owner: Owner::Operator,
    });
    let volume = Resources::claimed(claim, Resources::default().with_disk(7));
    let preference = Preference::default();
    bench.act(|queue, actions| {
        let near = vec![(Arc::new(info), preference)];
        queue.input(actions, QueueInput::SubmitNear(near));
    });
    assert_eq!(bench.offer(offer(1, 4000)), ["decline 1 3600s"]);
    let mut actions = Actions::default();
    let offers = vec![offer_with(2, 4000, std::slice::from_ref(&volume))];
    bench.queue.offers(&mut actions, offers);
    let calls: Vec<_> = actions.drain().collect();
    assert_eq!(launched_on(&calls).only_parts(), volume);
}

fn inside(id: &str, cpu_milli: u64) -> SharedTask {
    let executor = ExecutorInfo::new(
        "x".parse().expect("an id"),
        Digest([1; 32]),
        Resources::new(500, 1 << 20),
    );
    let mut info = TaskInfo::clone(&task(id, cpu_milli));
    info.work = Work::InExecutor {
        executor: executor.into(),
        run: None,
    };
    info.into()
}

#[test]
fn the_first_task_of_an_executor_needs_room_for_both() {
    let mut bench = Bench::new(false);
    bench.submit(vec![inside("a", 1000), inside("b", 1000)]);
    assert_eq!(bench.offer(offer(1, 1400)), ["decline 1 3600s"]);
    assert_eq!(bench.offer(offer(2, 1500)), ["accept 2 a 3600s"]);
    let launched = bench.offer(offer(3, 1000));
    assert_eq!(launched[0], "accept 3 b 3600s", "the executor is there");
}

#[test]
fn an_executor_that_has_ended_is_paid_for_again() {
    let mut bench = Bench::new(false);
    bench.submit(vec![inside("a", 1000)]);
    bench.offer(offer(1, 1500));
    let end = ExecutorEnd {
        state: TaskState::Failed,
        reason: None,
        message: String::new(),
    };
    let x: ExecutorId = "x".parse().expect("an id");
    bench.act(|queue, actions| queue.executor_ended(actions, AgentId(1), x, end));
    bench.submit(vec![inside("b", 1000)]);
    assert_eq!(bench.offer(offer(2, 1400)), ["decline 2 3600s"]);
    bench.offer(offer(3, 1500));
    let mut status = dropped("b", TaskReason::ExecutorTerminated);
    status.agent = Some(AgentId(1));
    bench.act(|queue, actions| queue.update(actions, status));
    assert_eq!(bench.queue.waiting(), 1, "it is tried again");
    assert_eq!(bench.offer(offer(4, 1400)), ["decline 4 3600s"]);
}
