//! Refusals: from whom what was turned down is kept, how long, and what ends that early.

use std::time::Duration;

use nesos_master_core::Blocked;
use nesos_types::agent::Attribute;
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::offer::{Filters, Operation};
use nesos_types::role::Role;
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

const HOUR: Filters = Filters::refuse_for(Duration::from_secs(3600));
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

fn in_roles(roles: &[&str]) -> FrameworkInfo {
    FrameworkInfo::new("many", roles.iter().map(|name| role(name)))
}

/// How much longer the only framework is refused the only agent; `None` if it is not.
fn refused_for(script: &Script) -> Option<Duration> {
    let explanation = script.master.explain(script.frameworks[0]);
    match explanation.roles[0].groups[0].blocked {
        Blocked::Filtered { until } => Some(until.since(script.now())),
        _ => None,
    }
}

/// The roles of the offers that stand, by name.
fn offered_roles(script: &Script) -> Vec<String> {
    let offers = script.master.snapshot().offers;
    let mut roles: Vec<_> = offers.iter().map(|offer| offer.role.to_string()).collect();
    roles.sort();
    roles
}

#[test]
fn a_refusal_lasts_five_seconds_unless_it_says_otherwise() {
    for (filters, lasts) in [
        (Filters::default(), seconds(5)),
        (Filters::refuse_for(seconds(30)), seconds(30)),
        (Filters::refuse_for(2 * YEAR), YEAR),
        // An allocation interval at the least, or offer and answer would chase each other.
        (Filters::none(), seconds(1)),
    ] {
        let mut script = Script::ready();
        script.decline(1, script.last_offer(), filters);
        assert_eq!(refused_for(&script), Some(lasts), "{filters:?}");
        script.skip();
        script.pass(lasts.min(seconds(30)).saturating_sub(seconds(1)));
        assert!(!script.said("Offers"), "{filters:?}");
    }
}

#[test]
fn what_an_acceptance_leaves_is_refused_as_if_it_were_declined() {
    for (filters, tasks, lasts) in [
        (Filters::default(), 1, Some(seconds(5))),
        (Filters::refuse_for(2 * YEAR), 1, Some(YEAR)),
        // Whoever launches something makes headway, and may have the rest at once.
        (Filters::none(), 1, None),
        (Filters::none(), 0, Some(seconds(1))),
    ] {
        let mut script = Script::ready();
        let tasks: Vec<_> = (0..tasks).map(|_| task("t", res(1, 1024))).collect();
        let call = SchedulerCall::Accept {
            offers: vec![script.last_offer()],
            operations: vec![Operation::Launch(tasks)],
            filters,
        };
        script.call(1, call);
        assert_eq!(refused_for(&script), lasts, "{filters:?}");
        assert_eq!(script.said("1< Offers"), lasts.is_none(), "{filters:?}");
    }
}

#[test]
fn a_refusal_is_of_one_agent_in_one_role() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&["x", "y"]));
    script.register(2, "one", res(1, 1024));
    assert_eq!(offered_roles(&script), ["x"]);
    script.decline(1, script.last_offer(), HOUR);
    assert_eq!(offered_roles(&script), ["y"], "the other role may have it");
    script.decline(1, script.last_offer(), HOUR);
    assert!(offered_roles(&script).is_empty());
    script.register(3, "two", res(1, 1024));
    script.decline(1, script.last_offer(), HOUR);
    assert_eq!(offered_roles(&script).len(), 1, "of the other agent");
    script.subscribe_as(4, None, in_roles(&["x"]));
    let held = script.master.snapshot().offers;
    let by_other = held
        .iter()
        .filter(|offer| offer.framework == script.frameworks[1]);
    assert_eq!(by_other.count(), 1, "the other framework has refused none");
}

#[test]
fn what_fits_inside_a_refusal_is_refused_too() {
    let mut script = Script::ready();
    script.decline(1, script.last_offer(), HOUR);
    script.subscribe(3, "b");
    let part = vec![task("t", res(1, 1024))];
    script.call(
        3,
        SchedulerCall::Accept {
            offers: vec![script.last_offer()],
            operations: vec![Operation::Launch(part)],
            filters: HOUR,
        },
    );
    script.skip();
    script.pass_alive(seconds(60), &[1, 3], &[2]);
    assert!(!script.said("Offers"), "three quarters of what was refused");
}

#[test]
fn refusals_of_one_agent_do_not_add_up() {
    let mut script = Script::ready();
    let (wide, tall) = (res(3, 1024), res(1, 3072));
    let tasks = [task("wide", wide.clone()), task("tall", tall)];
    script.launch(1, &[script.last_offer()], &tasks);
    script.update(2, "wide", TaskState::Finished, 1);
    script.decline(1, script.last_offer(), HOUR);
    script.update(2, "tall", TaskState::Finished, 2);
    // The rest of this acceptance is what was tall.
    let call = SchedulerCall::Accept {
        offers: vec![script.last_offer()],
        operations: vec![Operation::Launch(vec![task("again", wide)])],
        filters: HOUR,
    };
    script.call(1, call);
    script.skip();
    script.update(2, "again", TaskState::Finished, 3);
    assert!(script.said("Offers of4 of ag1 for * <4 CPUs, 4 GiB>"));
}

#[test]
fn a_revival_of_one_role_leaves_the_refusals_of_the_other() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&["x", "y"]));
    script.register(2, "one", res(1, 1024));
    for _ in 0..2 {
        script.decline(1, script.last_offer(), HOUR);
    }
    let roles = [role("y")].into();
    script.call(1, SchedulerCall::Revive { roles });
    assert_eq!(offered_roles(&script), ["y"]);
    script.decline(1, script.last_offer(), HOUR);
    assert!(offered_roles(&script).is_empty(), "x refuses still");
}

#[test]
fn whoever_subscribes_anew_has_refused_nothing() {
    let mut script = Script::ready();
    let framework = Some(script.frameworks[0]);
    script.decline(1, script.last_offer(), HOUR);
    script.skip();
    let (info, suppressed) = (in_roles(&["*"]), [].into());
    let subscribe = SchedulerCall::Subscribe {
        framework,
        info,
        suppressed,
    };
    script.call(1, subscribe);
    assert!(script.said("1< Offers"), "on the same stream");
    script.decline(1, script.last_offer(), HOUR);
    script.hang_up_scheduler(1);
    script.subscribe_as(3, framework, in_roles(&["*"]));
    assert!(script.said("3< Offers"), "on another one");
}

#[test]
fn a_role_that_is_left_takes_its_refusals_along() {
    let mut script = Script::new();
    script.subscribe_as(1, None, in_roles(&["x"]));
    script.register(2, "one", res(1, 1024));
    script.decline(1, script.last_offer(), HOUR);
    for roles in [&["y"][..], &["x"]] {
        let (info, suppressed) = (in_roles(roles), [].into());
        script.call(1, SchedulerCall::UpdateFramework { info, suppressed });
        assert_eq!(offered_roles(&script), roles);
    }
}

#[test]
fn an_agent_with_other_attributes_has_not_been_refused() {
    let mut script = Script::ready();
    script.decline(1, script.last_offer(), HOUR);
    let (agent, mut host) = (Some(script.agents[0]), info("host", res(4, 4096)));
    script.skip();
    script.register_as(3, agent, host.clone(), vec![]);
    assert!(!script.said("Offers"), "it is the same as before");
    let rack = Attribute::Text("r7".to_owned());
    host.attributes.insert("rack".to_owned(), rack);
    script.register_as(4, agent, host, vec![]);
    assert!(script.said("1< Offers"));
}

#[test]
fn new_slack_alone_defeats_a_refusal() {
    let mut script = Script::new();
    let mut greedy = in_roles(&["*"]);
    let takes_slack = OfferFilters {
        revocable: true,
        ..OfferFilters::default()
    };
    greedy.offer_filters.insert(role("*"), takes_slack);
    script.subscribe_as(1, None, greedy);
    script.register(2, "host", res(4, 4096));
    script.decline(1, script.last_offer(), HOUR);
    script.skip();
    script.say(2, AgentEvent::Slack { cpu_milli: 500 });
    assert!(script.said("1< Offers"));
    let offer = script.received.last().expect("an offer");
    assert_eq!(offer.resources.flattened().cpu_milli, 4500);
}
