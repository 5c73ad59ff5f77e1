//! How offers end: with an answer, or because something that they rest on has gone or changed.

use expect_test::expect;
use nesos_master_core::{MasterConfig, OperatorRequest};
use nesos_types::agent::{AgentInfo, Attribute, FaultDomain};
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::OfferId;
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::offer::Filters;
use nesos_types::role::{Role, RoleChange};
use nesos_types::task::{SharedTask, TaskInfo, TaskState};

use crate::script::{Script, id, info, res, seconds, task};

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

#[test]
fn an_offer_says_what_its_framework_has_to_know() {
    let mut script = Script::new();
    let host = AgentInfo {
        url: "http://host:5051".to_owned(),
        attributes: [("rack".to_owned(), Attribute::Text("r7".to_owned()))].into(),
        domain: Some(FaultDomain {
            region: "eu".to_owned(),
            zone: "z1".to_owned(),
        }),
        fuel_per_cpu_second: 42,
        ..info("host", res(4, 4096))
    };
    script.subscribe_as(1, None, FrameworkInfo::new("a", [role("x")]));
    script.register_as(2, None, host.clone(), vec![]);
    let offer = script.received.pop().expect("an offer");
    assert_eq!(offer.framework, script.frameworks[0]);
    assert_eq!(offer.role, role("x"));
    assert_eq!(offer.agent, script.agents[0]);
    assert_eq!(offer.resources, host.resources);
    assert_eq!(*offer.agent_info, host);
}

#[test]
fn an_offer_names_those_of_the_frameworks_bundles_that_its_agent_has_compiled() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    script.register(2, "host", res(4, 4096));
    let digest = |number| Digest([number; 32]);
    let launch = |script: &mut Script, name: &str, number: u8| {
        let info = TaskInfo::new(id(name), digest(number), res(1, 64));
        let offer = script.last_offer();
        script.launch(1, &[offer], &[SharedTask::new(info)]);
        script.pass(seconds(6));
    };
    let told = |compiled: Vec<Digest>, dropped| AgentEvent::Bundles { compiled, dropped };
    let named = |script: &Script| {
        script
            .received
            .last()
            .expect("an offer")
            .compiled_bundles
            .clone()
    };
    script.say(2, told(vec![digest(1), digest(2), digest(3)], vec![]));
    launch(&mut script, "t", 1);
    assert_eq!(named(&script), [digest(1)]);
    // The one that was launched last comes first.
    launch(&mut script, "u", 2);
    assert_eq!(named(&script), [digest(2), digest(1)]);
    script.say(2, told(vec![], vec![digest(1)]));
    launch(&mut script, "v", 2);
    assert_eq!(named(&script), [digest(2)]);
    // An agent that comes back says it anew.
    script.hang_up_agent(2);
    let agent = script.agents[0];
    script.register_as(12, Some(agent), info("host", res(4, 4096)), vec![]);
    assert_eq!(named(&script), []);
}

/// Something that ends the only offer: its name, what happens, and whether the framework is there to hear
/// of it and did not do it itself.
type Ending = (&'static str, fn(&mut Script), bool);

const ENDINGS: &[Ending] = &[
    (
        "decline",
        |script| script.decline(1, script.last_offer(), Filters::default()),
        false,
    ),
    (
        "accept",
        |script| script.launch(1, &[script.last_offer()], &[]),
        false,
    ),
    ("timeout", |script| script.pass(seconds(60)), true),
    ("disconnect", |script| script.hang_up_scheduler(1), false),
    (
        "silence",
        |script| script.pass_alive(seconds(76), &[], &[2]),
        true,
    ),
    (
        "teardown",
        |script| script.call(1, SchedulerCall::Teardown),
        false,
    ),
    (
        "removal",
        |script| {
            let framework = script.frameworks[0];
            script.operator(OperatorRequest::TeardownFramework(framework));
        },
        false,
    ),
    (
        "role left",
        |script| {
            let info = FrameworkInfo::new("a", [role("x")]);
            let suppressed = [role("x")].into();
            script.call(1, SchedulerCall::UpdateFramework { info, suppressed });
        },
        true,
    ),
    (
        "quota",
        |script| {
            let mut change = RoleChange::of(Role::default_role());
            change.limit = Some("cpus:1".parse().expect("amounts"));
            let (changes, force) = (vec![change], false);
            script.operator(OperatorRequest::ChangeRoles { changes, force });
        },
        true,
    ),
    ("agent away", |script| script.hang_up_agent(2), true),
    (
        "agent left",
        |script| script.say(2, AgentEvent::Unregister),
        true,
    ),
    (
        "agent changed",
        |script| {
            let agent = Some(script.agents[0]);
            script.register_as(3, agent, info("host", res(2, 2048)), vec![]);
        },
        true,
    ),
];

#[test]
fn an_offer_ends_with_whatever_it_rests_on() {
    for (name, ending, told) in ENDINGS {
        let mut script = Script::ready();
        let offer = script.last_offer();
        ending(&mut script);
        let standing = script.master.snapshot().offers;
        assert!(standing.iter().all(|it| it.id != offer), "{name}");
        assert_eq!(script.said("1< Rescind of1"), *told, "{name}");
        script.launch(1, &[offer], &[task("late", res(1, 64))]);
        assert!(!script.said("Launch late"), "{name}");
    }
}

#[test]
fn offers_do_not_outlive_the_master() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.restart();
    assert!(script.master.snapshot().offers.is_empty());
    let info_a = FrameworkInfo::new("a", [Role::default_role()]);
    script.subscribe_as(3, Some(script.frameworks[0]), info_a);
    let agent = Some(script.agents[0]);
    script.register_as(4, agent, info("host", res(4, 4096)), vec![]);
    script.skip();
    script.launch(3, &[offer], &[task("t", res(1, 64))]);
    script.expect(&expect![[r#"
        3< Update t is dropped (InvalidOffers): an offer is unknown, already used or taken back
    "#]]);
}

#[test]
fn the_rest_of_an_id_counts_too() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    // The low bits say where an offer lies; whoever guesses them has nothing.
    let guessed = OfferId(offer.0 ^ (1 << 64));
    script.launch(1, &[guessed], &[task("guessed", res(1, 64))]);
    script.launch(1, &[offer], &[task("known", res(4, 4096))]);
    script.expect(&expect![[r#"
        1< Update guessed is dropped (InvalidOffers): an offer is unknown, already used or taken back
        2< Launch known of fw1 for *
    "#]]);
    let mut other = Script::ready();
    other.restart();
    other.subscribe(3, "b");
    other.register(4, "host", res(4, 4096));
    assert_ne!(other.last_offer(), offer, "another master draws others");
}

#[test]
fn an_agent_that_grows_is_offered_anew_at_once() {
    let mut script = Script::ready();
    let agent = Some(script.agents[0]);
    script.register_as(3, agent, info("host", res(8, 4096)), vec![]);
    script.expect(&expect![[r#"
        durable: ag1 admitted <8 CPUs, 4 GiB>
        1< Rescind of1
        2< Refused: another process has connected as agent ag1; this connection is over
        2< (closed)
        3< Registered ag1
        1< Offers of2 of ag1 for * <8 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn a_suppression_takes_nothing_back() {
    let mut script = Script::ready();
    script.call(1, SchedulerCall::Suppress { roles: [].into() });
    script.expect(&expect![[""]]);
    script.launch(1, &[script.last_offer()], &[task("t", res(1, 64))]);
    script.expect(&expect![[r#"
        2< Launch t of fw1 for *
    "#]]);
}

#[test]
fn a_stream_that_breaks_gives_its_offers_to_others_at_once() {
    let mut script = Script::ready();
    script.subscribe(3, "b");
    script.skip();
    script.hang_up_scheduler(1);
    script.expect(&expect![[r#"
        3< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn whoever_goes_before_the_run_has_no_part_in_it() {
    let waiting = || {
        let mut script = Script::with(MasterConfig {
            allocation_window: seconds(1),
            ..MasterConfig::default()
        });
        script.subscribe(1, "a");
        script.register(2, "host", res(4, 4096));
        script
    };
    let mut framework_goes = waiting();
    framework_goes.hang_up_scheduler(1);
    let mut agent_goes = waiting();
    agent_goes.hang_up_agent(2);
    for mut script in [framework_goes, agent_goes] {
        script.pass(seconds(2));
        assert!(script.offers.is_empty());
    }
    let mut nobody_goes = waiting();
    nobody_goes.pass(seconds(2));
    assert_eq!(nobody_goes.offers.len(), 1);
}

#[test]
fn an_offer_of_an_agent_that_left_is_dropped_with_that_cause() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.say(2, AgentEvent::Unregister);
    script.skip();
    script.launch(1, &[offer], &[task("t", res(1, 64))]);
    script.expect(&expect![[r#"
        1< Update t is dropped (AgentRemoved) on ag1: the agent was lost before the offer was accepted
    "#]]);
}

#[test]
fn offers_of_two_roles_do_not_mix() {
    let mut script = Script::new();
    script.subscribe_as(1, None, FrameworkInfo::new("a", [role("x"), role("y")]));
    script.register(2, "host", res(2, 1536));
    let first = script.last_offer();
    // The rest is refused in x for a while and goes to y; what comes back is more and goes to x.
    script.launch(1, &[first], &[task("t", res(1, 1024))]);
    script.update(2, "t", TaskState::Finished, 1);
    script.skip();
    let offers = script.master.snapshot().offers;
    let ids: Vec<_> = offers.iter().map(|offer| offer.id).collect();
    let roles: Vec<_> = offers.iter().map(|offer| offer.role.as_str()).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&"x") && roles.contains(&"y"));
    script.launch(1, &ids, &[task("u", res(1, 64))]);
    assert!(
        script
            .said("u is dropped (InvalidOffers): the offers are not all of one agent and one role")
    );
}
