//! Offers: who may use them, and how often.

use std::sync::Arc;

use expect_test::expect;
use nesos_master_core::Blocked;
use nesos_types::ids::OfferId;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Filters, Operation};
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

#[test]
fn several_offers_of_one_agent_are_used_together() {
    let mut script = Script::ready();
    let first = script.last_offer();
    script.launch(
        1,
        &[first],
        &[task("t1", res(2, 2048)), task("t2", res(1, 1024))],
    );
    script.pass(seconds(5));
    let second = script.last_offer();
    script.update(2, "t1", TaskState::Finished, 1);
    script.update(2, "t2", TaskState::Finished, 2);
    script.skip();
    let third = script.last_offer();
    assert_eq!(script.offers.len(), 4);
    let offers = [second, script.offers[2], third];
    script.launch(1, &offers, &[task("t3", res(4, 4096))]);
    script.expect(&expect![[r#"
        2< Launch t3 of fw1 for *
    "#]]);
}

#[test]
fn one_bad_offer_spoils_the_call_and_the_good_ones_come_back() {
    let mut script = Script::ready();
    script.subscribe(3, "b");
    script.register(4, "second", res(2, 2048));
    script.skip();
    let good = script.offers[0];
    script.launch(1, &[good, OfferId(99)], &[task("t1", res(1, 1024))]);
    script.expect(&expect![[r#"
        1< Update t1 is dropped (InvalidOffers): an offer is unknown, already used or taken back
        1< Offers of3 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn nobody_touches_the_offers_of_another() {
    let mut script = Script::ready();
    script.subscribe(3, "b");
    script.skip();
    let offers = vec![script.last_offer()];
    script.launch(3, &offers, &[task("t1", res(1, 1024))]);
    let filters = Filters::none();
    script.call(3, SchedulerCall::Decline { offers, filters });
    script.expect(&expect![[r#"
        3< Update t1 is dropped (InvalidOffers): an offer is unknown, already used or taken back
    "#]]);
    assert_eq!(script.master.snapshot().offers.len(), 1, "it stands");
}

#[test]
fn offers_of_two_agents_do_not_mix() {
    let mut script = Script::ready();
    script.register(3, "second", res(2, 2048));
    script.skip();
    let offers = script.offers.clone();
    script.launch(1, &offers, &[task("t1", res(1, 1024))]);
    script.expect(&expect![[r#"
        1< Update t1 is dropped (InvalidOffers): the offers are not all of one agent and one role
        1< Offers of3 of ag1 for * <4 CPUs, 4 GiB>, of4 of ag2 for * <2 CPUs, 2 GiB>
    "#]]);
}

#[test]
fn the_same_offer_twice_is_no_offer() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer, offer], &[task("t1", res(1, 1024))]);
    script.launch(1, &[], &[task("t2", res(1, 1024))]);
    script.expect(&expect![[r#"
        1< Update t1 is dropped (InvalidOffers): an offer is named twice
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
        1< Update t2 is dropped (InvalidOffers): no offer is named
    "#]]);
}

#[test]
fn an_offer_of_an_agent_that_went_is_dropped_with_its_cause() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.hang_up_agent(2);
    script.launch(1, &[offer], &[task("t1", res(1, 1024))]);
    script.expect(&expect![[r#"
        1< Rescind of1
        1< Update t1 is dropped (AgentDisconnected) on ag1: the agent was lost before the offer was accepted
    "#]]);
}

#[test]
fn a_declined_offer_goes_to_another_framework() {
    let mut script = Script::ready();
    script.subscribe(3, "b");
    script.skip();
    // Ids that are nobody's are skipped, before and behind.
    let offers = vec![OfferId(1), script.last_offer(), OfferId(2)];
    let filters = Filters::default();
    script.call(1, SchedulerCall::Decline { offers, filters });
    script.expect(&expect![[r#"
        3< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn an_offer_times_out_and_is_made_again() {
    let mut script = Script::ready();
    script.pass_alive(seconds(60), &[1], &[2]);
    script.expect(&expect![[r#"
        1< Rescind of1
        1< Offers of2 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn an_endless_decline_does_not_spin() {
    let mut script = Script::ready();
    for offers in 2..5 {
        script.decline(1, script.last_offer(), Filters::none());
        assert!(!script.said("Offers"), "not before the interval is over");
        script.pass(seconds(1));
        let again = format!("1< Offers of{offers} of ag1 for * <4 CPUs, 4 GiB>\n");
        assert_eq!(script.take(), again);
    }
}

#[test]
fn refusals_of_different_sizes_coexist() {
    let mut script = Script::ready();
    let decline = |script: &mut Script, seconds_long| {
        let offers = vec![script.last_offer()];
        let filters = Filters::refuse_for(seconds(seconds_long));
        script.call(1, SchedulerCall::Decline { offers, filters });
    };
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t1", res(3, 3072))]);
    script.pass(seconds(5));
    decline(&mut script, 30);
    script.update(2, "t1", TaskState::Finished, 1);
    decline(&mut script, 10);
    script.skip();
    script.pass(seconds(9));
    script.expect(&expect![[""]]);
    script.pass(seconds(1));
    script.expect(&expect![[r#"
        2< Ping
        1< Heartbeat
        1< Offers of4 of ag1 for * <4 CPUs, 4 GiB>
    "#]]);
}

/// An agent of 4 CPUs that holds two sandboxes at the most.
fn two_sandboxes(script: &mut Script) {
    let mut info = info("host", res(4, 4096));
    info.max_sandboxes = Some(2);
    info.features = Arc::new(["simd".to_owned()].into());
    script.register_as(2, None, info, Vec::new());
}

#[test]
fn an_offer_says_what_the_engine_supports_and_how_many_sandboxes_are_left() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let offer = |script: &Script| {
        let offers = script.received.last().expect("an offer was made");
        let features = Arc::clone(&offers.agent_info.features);
        (offers.free_sandboxes, features)
    };
    two_sandboxes(&mut script);
    let simd = Arc::new(["simd".to_owned()].into());
    assert_eq!(offer(&script), (2, Arc::clone(&simd)));
    let last = script.last_offer();
    script.launch(1, &[last], &[task("t1", res(1, 1024))]);
    script.pass(seconds(6));
    assert_eq!(offer(&script), (1, simd));
    script.register(3, "other", res(4, 4096));
    assert_eq!(offer(&script), (u32::MAX, Arc::default()), "nobody counts");
}

#[test]
fn a_full_agent_is_offered_to_nobody_until_a_sandbox_ends() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    two_sandboxes(&mut script);
    let offer = script.last_offer();
    let tasks = ["t1", "t2"].map(|name| task(name, res(1, 1024)));
    script.launch(1, &[offer], &tasks);
    script.skip();
    script.pass(seconds(20));
    assert!(!script.said("Offers"));
    let waits = script.master.explain(script.frameworks[0]);
    assert_eq!(waits.roles[0].groups[0].blocked, Blocked::NoSandbox);
    script.update(2, "t1", TaskState::Finished, 1);
    assert!(script.said("1< Offers"));
}

#[test]
fn tasks_beyond_the_last_sandbox_are_dropped_and_a_group_as_a_whole() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    two_sandboxes(&mut script);
    script.skip();
    let offer = script.last_offer();
    let tasks = ["t1", "t2", "t3"].map(|name| task(name, res(1, 1024)));
    let operations = vec![
        Operation::LaunchGroup(tasks.to_vec()),
        Operation::Launch(tasks.to_vec()),
    ];
    let (offers, filters) = (vec![offer], Filters::default());
    script.call(
        1,
        SchedulerCall::Accept {
            offers,
            operations,
            filters,
        },
    );
    script.expect(&expect![[r#"
        1< Update t1 is dropped (ResourcesUnknown) on ag1: task t3 of the group: the agent holds 2 sandboxes, which is the most that it may
        1< Update t2 is dropped (ResourcesUnknown) on ag1: task t3 of the group: the agent holds 2 sandboxes, which is the most that it may
        1< Update t3 is dropped (ResourcesUnknown) on ag1: task t3 of the group: the agent holds 2 sandboxes, which is the most that it may
        1< Update t3 is dropped (ResourcesUnknown) on ag1: the agent holds 2 sandboxes, which is the most that it may
        2< Launch t1, t2 of fw1 for *
    "#]]);
}
