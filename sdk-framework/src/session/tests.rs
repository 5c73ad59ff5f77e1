//! Tables of inputs and what the session makes of them, with a clock that the tests hold.

use std::sync::Arc;

use expect_test::{Expect, expect};
use nesos_types::agent::AgentInfo;
use nesos_types::bundle::Digest;
use nesos_types::offer::{Demand, Filters};
use nesos_types::resources::Resources;
use nesos_types::task::TaskInfo;

use super::*;

const FRAMEWORK: FrameworkId = FrameworkId(0xF);
const AGENT: AgentId = AgentId(0xA);

/// A session, its clock, and everything that it decided since it was last looked at.
struct Bench {
    session: Session,
    now: Time,
    decided: Vec<String>,
}

impl Bench {
    fn new(adjust: impl FnOnce(&mut SessionConfig)) -> Self {
        let info = FrameworkInfo::new("test", [Role::default_role()]);
        let mut config = SessionConfig::new(info);
        adjust(&mut config);
        let now = Time::from_micros(1_000_000_000);
        Self {
            session: Session::new(config, 7, now),
            now,
            decided: Vec::new(),
        }
    }

    fn subscribed(adjust: impl FnOnce(&mut SessionConfig)) -> Self {
        let mut bench = Self::new(adjust);
        bench.input(Input::Tick);
        bench.hear_subscribed();
        bench.decided.clear();
        bench
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.session.handle(self.now, input, &mut out);
        self.decided.extend(out.iter().map(brief));
    }

    fn hear(&mut self, event: SchedulerEvent) {
        self.input(Input::Heard(event));
    }

    fn hear_subscribed(&mut self) {
        self.hear(SchedulerEvent::Subscribed {
            framework: FRAMEWORK,
            heartbeat: Duration::from_secs(15),
        });
    }

    fn act(&mut self, call: SchedulerCall) {
        self.input(Input::Act(call));
    }

    fn lose(&mut self) {
        self.input(Input::Lost("broken".to_owned()));
    }

    /// Moves the clock to the next deadline and says so.
    fn tick(&mut self) -> Duration {
        let waited = self.session.next_deadline().since(self.now);
        self.now = self.session.next_deadline();
        self.input(Input::Tick);
        waited
    }

    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&self.decided.join("\n"));
        self.decided.clear();
    }
}

fn brief(output: &Output) -> String {
    match output {
        Output::Connect(SchedulerCall::Subscribe {
            framework,
            suppressed,
            ..
        }) => format!(
            "connect as {:?} without {suppressed:?}",
            framework.map(|id| id.0)
        ),
        Output::Send(call) => match call {
            SchedulerCall::Acknowledge { task, update, .. } => {
                format!("send acknowledge {task} {}", update.0)
            }
            SchedulerCall::Reconcile { tasks } => format!(
                "send reconcile {:?}",
                tasks
                    .iter()
                    .map(|(task, agent)| (task.as_str(), agent.is_some()))
                    .collect::<Vec<_>>()
            ),
            SchedulerCall::Accept { .. } => "send accept".to_owned(),
            SchedulerCall::Kill { task, .. } => format!("send kill {task}"),
            other => format!("send {other:?}"),
        },
        Output::Deliver(Delivery::Update(status)) => format!(
            "deliver {} {}{}",
            status.task,
            status.state,
            status
                .reason
                .map(|reason| format!(" {reason:?}"))
                .unwrap_or_default()
        ),
        Output::Deliver(Delivery::Subscribed(_)) => "deliver subscribed".to_owned(),
        Output::Deliver(Delivery::Offers(offers)) => format!("deliver {} offer(s)", offers.len()),
        Output::Deliver(other) => format!("deliver {other:?}"),
        other => format!("{other:?}"),
    }
}

fn status(task: &str, state: TaskState, update: Option<u128>) -> TaskStatus {
    let task = task.parse().expect("an id");
    let mut status = TaskStatus::new(task, state, StatusSource::Agent, Time::ZERO).on(AGENT);
    status.update = update.map(UpdateId);
    status
}

fn update(task: &str, state: TaskState, update: u128) -> SchedulerEvent {
    SchedulerEvent::Update(status(task, state, Some(update)))
}

fn launch(task: &str) -> SchedulerCall {
    let info = TaskInfo::new(
        task.parse().expect("an id"),
        Digest([0; 32]),
        Resources::new(1, 1),
    );
    SchedulerCall::Accept {
        offers: vec![OfferId(1)],
        operations: vec![Operation::Launch(vec![Arc::new(info)])],
        filters: Filters::default(),
    }
}

fn offers() -> SchedulerEvent {
    SchedulerEvent::Offers(vec![Offer {
        id: OfferId(1),
        framework: FRAMEWORK,
        role: Role::default_role(),
        agent: AGENT,
        agent_info: AgentInfo::new("host", Resources::new(1, 1)).into(),
        resources: Resources::new(1, 1),
        free_sandboxes: u32::MAX,
        compiled_bundles: Vec::new(),
    }])
}

#[test]
fn what_is_waited_for_is_said_anew_less_what_was_launched() {
    let mut bench = Bench::subscribed(|_| {});
    let demand = Demand {
        role: Role::default_role(),
        resources: Resources::new(1, 1),
        count: 2,
    };
    let demands = vec![demand];
    bench.act(SchedulerCall::Request { demands });
    bench.act(launch("t"));
    bench.lose();
    bench.tick();
    bench.decided.clear();
    bench.hear_subscribed();
    let said = bench.decided.iter().find(|said| said.contains("Request"));
    let said = said.expect("the demand is said anew");
    assert!(said.contains("count: 1"), "{said}");
}

#[test]
fn a_demand_for_nothing_does_no_harm() {
    let mut bench = Bench::subscribed(|_| {});
    let demands = vec![Demand {
        role: Role::default_role(),
        resources: Resources::new(1, 1),
        count: 0,
    }];
    bench.act(SchedulerCall::Request { demands });
    bench.act(launch("t"));
    assert!(bench.decided.iter().any(|said| said == "send accept"));
}

#[test]
fn connects_subscribes_and_acknowledges_after_delivery() {
    let mut bench = Bench::new(|_| {});
    bench.input(Input::Tick);
    bench.hear_subscribed();
    bench.hear(offers());
    bench.act(launch("a"));
    bench.hear(update("a", TaskState::Running, 1));
    bench.hear(update("a", TaskState::Finished, 2));
    bench.check(expect![[r#"
        connect as None without {}
        deliver subscribed
        deliver 1 offer(s)
        send accept
        deliver a running
        send acknowledge a 1
        deliver a finished
        send acknowledge a 2"#]]);
    assert!(bench.session.live.is_empty());
}

#[test]
fn a_repetition_is_acknowledged_again_but_not_delivered() {
    let mut bench = Bench::subscribed(|_| {});
    bench.hear(update("a", TaskState::Running, 1));
    bench.hear(update("a", TaskState::Running, 1));
    bench.check(expect![[r#"
        deliver a running
        send acknowledge a 1
        send acknowledge a 1"#]]);
}

#[test]
fn explicit_acknowledgements_are_the_schedulers() {
    let mut bench = Bench::subscribed(|config| config.acknowledge = Acknowledge::Explicit);
    bench.hear(update("a", TaskState::Running, 1));
    bench.hear(update("a", TaskState::Running, 1));
    bench.check(expect!["deliver a running"]);
    let acknowledge = acknowledgement(&status("a", TaskState::Running, Some(1)));
    bench.act(acknowledge.expect("it has an update id"));
    bench.hear(update("a", TaskState::Running, 1));
    bench.check(expect![[r#"
        send acknowledge a 1
        send acknowledge a 1"#]]);
}

#[test]
fn comes_back_under_its_id_and_asks_what_became_of_its_tasks() {
    let mut bench = Bench::subscribed(|_| {});
    bench.hear(offers());
    bench.act(launch("b"));
    bench.hear(update("a", TaskState::Running, 1));
    bench.act(SchedulerCall::Suppress {
        roles: BTreeSet::new(),
    });
    bench.decided.clear();
    bench.lose();
    bench.tick();
    bench.hear_subscribed();
    bench.check(expect![[r#"
        deliver Disconnected
        connect as Some(15) without {"*"}
        send reconcile [("a", true), ("b", true)]
        deliver Reconnected"#]]);
    bench.hear(SchedulerEvent::Update(status(
        "a",
        TaskState::Running,
        None,
    )));
    assert_eq!(bench.tick(), Duration::from_secs(5));
    assert_eq!(bench.tick(), Duration::from_secs(10));
    bench.hear(SchedulerEvent::Update(status(
        "b",
        TaskState::Unknown,
        None,
    )));
    bench.check(expect![[r#"
        deliver a running
        send reconcile [("b", true)]
        send reconcile [("b", true)]
        deliver b unknown"#]]);
}

#[test]
fn reconciles_everything_every_quarter_of_an_hour() {
    let mut bench = Bench::subscribed(|_| {});
    bench.hear(update("a", TaskState::Running, 1));
    bench.decided.clear();
    let begin = bench.now;
    while !bench.decided.iter().any(|what| what.contains("reconcile")) {
        bench.tick();
        bench.hear(SchedulerEvent::Heartbeat);
    }
    assert_eq!(bench.now.since(begin), Duration::from_secs(15 * 60));
}

#[test]
fn says_something_every_heartbeat_and_drops_a_silent_master() {
    let mut bench = Bench::subscribed(|_| {});
    for _ in 0..5 {
        assert_eq!(bench.tick(), Duration::from_secs(15));
    }
    bench.check(expect![[r#"
        send Heartbeat
        send Heartbeat
        send Heartbeat
        send Heartbeat
        Close
        deliver Disconnected"#]]);
}

#[test]
fn what_cannot_be_sent_is_answered_or_kept() {
    let mut bench = Bench::subscribed(|_| {});
    bench.lose();
    bench.act(launch("a"));
    bench.act(SchedulerCall::Kill {
        task: "b".parse().expect("an id"),
        grace: None,
    });
    bench.tick();
    bench.hear_subscribed();
    bench.check(expect![[r#"
        deliver Disconnected
        deliver a dropped FrameworkDisconnected
        connect as Some(15) without {}
        send kill b
        deliver Reconnected"#]]);
}

#[test]
fn a_successor_asks_for_everything() {
    let mut bench = Bench::new(|config| config.framework = Some(FRAMEWORK));
    bench.input(Input::Tick);
    bench.hear_subscribed();
    bench.check(expect![[r#"
        connect as Some(15) without {}
        deliver subscribed
        send reconcile []"#]]);
}

#[test]
fn gives_up_when_patience_is_over_but_never_once_subscribed() {
    let mut bench = Bench::new(|config| config.patience = Some(Duration::from_secs(1)));
    bench.input(Input::Tick);
    bench.lose();
    let begin = bench.now;
    while bench.session.next_deadline() < Time::MAX {
        bench.tick();
        bench.lose();
    }
    assert_eq!(bench.now.since(begin), Duration::from_secs(1));
    assert_eq!(
        bench.decided.last().map(String::as_str),
        Some(r#"End(Unreachable("broken"))"#)
    );

    let mut bench = Bench::subscribed(|config| config.patience = Some(Duration::from_secs(1)));
    for _ in 0..20 {
        bench.lose();
        bench.tick();
    }
    assert!(!bench.decided.iter().any(|what| what.starts_with("End")));
}

#[test]
fn an_unanswered_subscription_is_given_up() {
    let mut bench = Bench::new(|_| {});
    bench.input(Input::Tick);
    assert_eq!(bench.tick(), Duration::from_secs(10));
    bench.check(expect![[r#"
        connect as None without {}
        Close"#]]);
    bench.tick();
    bench.check(expect!["connect as None without {}"]);
}

#[test]
fn permanent_refusals_end_it_and_others_are_told() {
    let mut bench = Bench::subscribed(|_| {});
    bench.hear(SchedulerEvent::Refused(Refusal::TooSlow));
    bench.hear(SchedulerEvent::Refused(Refusal::FailedOver));
    bench.hear(offers());
    bench.check(expect![[r#"
        deliver Refused(TooSlow)
        End(Refused(FailedOver))"#]]);
    assert_eq!(bench.session.next_deadline(), Time::MAX);
}

#[test]
fn teardown_waits_for_the_end_of_the_stream() {
    let mut bench = Bench::subscribed(|_| {});
    bench.act(SchedulerCall::Teardown);
    bench.hear(update("a", TaskState::Running, 1));
    bench.lose();
    bench.check(expect![[r#"
        send Teardown
        End(TornDown)"#]]);
}

#[test]
fn teardown_before_the_subscription_happens_after_it_unless_nothing_is_to_tear_down() {
    let mut bench = Bench::subscribed(|_| {});
    bench.lose();
    bench.act(SchedulerCall::Teardown);
    bench.tick();
    bench.hear_subscribed();
    bench.lose();
    bench.check(expect![[r#"
        deliver Disconnected
        connect as Some(15) without {}
        send Teardown
        End(TornDown)"#]]);

    let mut bench = Bench::new(|_| {});
    bench.act(SchedulerCall::Teardown);
    bench.check(expect!["End(TornDown)"]);

    let mut bench = Bench::new(|_| {});
    bench.input(Input::Tick);
    bench.act(SchedulerCall::Teardown);
    bench.hear_subscribed();
    bench.check(expect![[r#"
        connect as None without {}
        send Teardown"#]]);
}

fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

fn update_to(roles: &[&str], suppressed: &[&str]) -> SchedulerCall {
    SchedulerCall::UpdateFramework {
        info: FrameworkInfo::new("test", roles.iter().map(|name| role(name))),
        suppressed: suppressed.iter().map(|name| role(name)).collect(),
    }
}

fn refused(call: &str) -> SchedulerEvent {
    let (call, why) = (call.to_owned(), "so".to_owned());
    SchedulerEvent::Refused(Refusal::InvalidCall { call, why })
}

/// The roles that the next subscription names, and those in which it wants no offers.
fn subscribes_with(bench: &mut Bench) -> (String, String) {
    bench.lose();
    let mut out = Vec::new();
    bench.now = bench.session.next_deadline();
    bench.session.handle(bench.now, Input::Tick, &mut out);
    let [
        Output::Connect(SchedulerCall::Subscribe {
            info, suppressed, ..
        }),
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    let names = |roles: &BTreeSet<Role>| {
        let names: Vec<_> = roles.iter().map(Role::as_str).collect();
        names.join(" ")
    };
    (names(&info.roles), names(suppressed))
}

/// The calls of the profile that were sent since the last look, by name.
fn sent(bench: &mut Bench) -> Vec<&'static str> {
    let decided = std::mem::take(&mut bench.decided);
    let names = ["UpdateFramework", "Suppress", "Revive", "Request"];
    let name_of = |line: &String| {
        let mut names = names.into_iter();
        names.find(|name| line.starts_with(&format!("send {name}")))
    };
    decided.iter().filter_map(name_of).collect()
}

fn pair(roles: &str, suppressed: &str) -> (String, String) {
    (roles.to_owned(), suppressed.to_owned())
}

#[test]
fn an_update_that_was_refused_is_not_what_it_subscribes_with() {
    let mut bench = Bench::subscribed(|_| {});
    bench.act(update_to(&["x", "y"], &["y"]));
    bench.hear(SchedulerEvent::FrameworkUpdated);
    bench.act(update_to(&["z"], &["not-its-own"]));
    bench.hear(refused("UpdateFramework"));
    assert_eq!(subscribes_with(&mut bench), pair("x y", "y"));
    bench.decided.clear();
    bench.hear_subscribed();
    assert_eq!(sent(&mut bench), [""; 0], "it is not asked for again");
}

#[test]
fn an_update_without_an_answer_is_asked_for_again_behind_the_subscription() {
    let mut bench = Bench::subscribed(|_| {});
    bench.act(update_to(&["x"], &[]));
    assert_eq!(subscribes_with(&mut bench), pair("*", ""));
    bench.decided.clear();
    bench.hear_subscribed();
    assert_eq!(sent(&mut bench), ["UpdateFramework"]);
    bench.hear(SchedulerEvent::FrameworkUpdated);
    assert_eq!(subscribes_with(&mut bench), pair("x", ""));
}

#[test]
fn what_is_wanted_behind_an_update_waits_for_its_answer() {
    for (answer, subscription) in [
        (SchedulerEvent::FrameworkUpdated, pair("x y", "x y")),
        (refused("UpdateFramework"), pair("*", "*")),
    ] {
        let mut bench = Bench::subscribed(|_| {});
        bench.act(update_to(&["x", "y"], &["y"]));
        bench.act(SchedulerCall::Suppress { roles: [].into() });
        bench.act(update_to(&["w"], &[]));
        assert_eq!(sent(&mut bench), ["UpdateFramework"]);
        // Refusals of other calls are no answer.
        bench.hear(refused("Accept"));
        assert_eq!(sent(&mut bench), [""; 0]);
        bench.hear(answer);
        assert_eq!(sent(&mut bench), ["Suppress", "UpdateFramework"]);
        assert_eq!(subscribes_with(&mut bench), subscription);
    }
}

#[test]
fn what_is_said_while_away_goes_with_the_subscription_or_behind_it() {
    let mut bench = Bench::new(|config| config.info.roles = ["x", "y"].map(role).into());
    bench.act(SchedulerCall::Suppress {
        roles: [role("x")].into(),
    });
    bench.act(update_to(&["x", "z"], &[]));
    bench.input(Input::Tick);
    bench.act(SchedulerCall::Suppress {
        roles: [role("z")].into(),
    });
    bench.hear_subscribed();
    assert_eq!(sent(&mut bench), ["UpdateFramework"]);
    bench.hear(SchedulerEvent::FrameworkUpdated);
    assert_eq!(sent(&mut bench), ["Suppress"]);
    assert_eq!(subscribes_with(&mut bench), pair("x z", "z"));
}

#[test]
fn a_suppression_of_other_roles_is_the_masters_to_refuse_and_kept_nowhere() {
    let mut bench = Bench::subscribed(|_| {});
    bench.act(SchedulerCall::Suppress {
        roles: [role("other")].into(),
    });
    assert_eq!(sent(&mut bench), ["Suppress"]);
    assert_eq!(subscribes_with(&mut bench), pair("*", ""));
}
