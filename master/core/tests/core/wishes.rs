//! What frameworks want to see: constraints, minima, demands, and how they change their minds.

use std::collections::BTreeMap;

use expect_test::expect;
use nesos_types::agent::{AgentInfo, Attribute, FaultDomain};
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate, Selector};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Demand, Filters};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

use crate::script::{Script, info, res, seconds, task};

fn framework(filters: OfferFilters) -> FrameworkInfo {
    let role = Role::default_role();
    let mut info = FrameworkInfo::new("picky", [role.clone()]);
    info.offer_filters = BTreeMap::from([(role, filters)]);
    info
}

fn constrained(groups: Vec<Vec<Constraint>>) -> FrameworkInfo {
    framework(OfferFilters {
        constraints: Some(OfferConstraints { groups }),
        ..OfferFilters::default()
    })
}

/// Three agents: `a` in rack r1 of zone z1, `b` in rack r2 of zone z1 with speed 2.5, `c` nowhere.
fn three_agents(script: &mut Script) {
    let at = |hostname: &str, rack: &str| AgentInfo {
        attributes: BTreeMap::from([("rack".to_owned(), Attribute::Text(rack.to_owned()))]),
        domain: Some(FaultDomain {
            region: "eu".to_owned(),
            zone: "z1".to_owned(),
        }),
        ..info(hostname, res(1, 1024))
    };
    let mut b = at("b", "r2");
    b.attributes
        .insert("speed".to_owned(), Attribute::ScalarMilli(2500));
    script.register_as(11, None, at("a", "r1"), Vec::new());
    script.register_as(12, None, b, Vec::new());
    script.register_as(13, None, info("c", res(1, 1024)), Vec::new());
}

/// The hosts that a framework with these constraints is offered.
fn offered(groups: Vec<Vec<Constraint>>) -> String {
    let mut script = Script::new();
    three_agents(&mut script);
    script.subscribe_as(1, None, constrained(groups));
    let snapshot = script.master.snapshot();
    let hosts = snapshot.offers.iter().map(|offer| {
        let agent = snapshot.agents.iter().find(|agent| agent.id == offer.agent);
        agent.expect("it is there").hostname.clone()
    });
    let mut hosts: Vec<_> = hosts.collect();
    hosts.sort();
    hosts.concat()
}

#[test]
fn constraints_are_alternatives_of_conjunctions() {
    use Predicate::{Exists, NotExists, TextEquals, TextMatches, TextNotEquals, TextNotMatches};
    let rack = |predicate| Constraint::attribute("rack", predicate);
    let of = |selector, predicate| Constraint {
        selector,
        predicate,
    };
    let text = str::to_owned;
    for (one, hosts) in [
        (rack(Exists), "ab"),
        (rack(NotExists), "c"),
        (rack(TextEquals(text("r1"))), "a"),
        (rack(TextNotEquals(text("r1"))), "bc"),
        (rack(TextMatches(text("r[0-9]"))), "ab"),
        (rack(TextMatches(text("r"))), ""),
        (rack(TextMatches(text("r1|r3"))), "a"),
        (rack(TextNotMatches(text("r2.*"))), "ac"),
        (Constraint::attribute("speed", TextEquals(text("2.5"))), "b"),
        (of(Selector::Hostname, TextMatches(text("[bc]"))), "bc"),
        (of(Selector::Region, TextEquals(text("eu"))), "ab"),
        (of(Selector::Zone, NotExists), "c"),
    ] {
        assert_eq!(offered(vec![vec![one.clone()]]), hosts, "{one:?}");
    }
    let both = vec![rack(Exists), Constraint::attribute("speed", Exists)];
    assert_eq!(offered(vec![both.clone()]), "b");
    assert_eq!(offered(vec![both, vec![rack(NotExists)]]), "bc");
    assert_eq!(offered(vec![]), "", "no alternative holds for no agent");
    assert_eq!(
        offered(vec![vec![]]),
        "abc",
        "nothing to hold holds for all"
    );
}

#[test]
fn absurd_wishes_are_refused_with_what_is_wrong() {
    let pattern = |pattern: &str| {
        let matches = Predicate::TextMatches(pattern.to_owned());
        constrained(vec![vec![Constraint::attribute("rack", matches)]])
    };
    let mut elsewhere = pattern("a");
    elsewhere.roles = ["other".parse().expect("a role")].into();
    let many = vec![Vec::new(); OfferConstraints::MAX_GROUPS + 1];
    let mut script = Script::new();
    for (connection, wrong) in [
        (1, pattern("(")),
        (2, pattern(&"x".repeat(10 << 20))),
        (3, pattern("(a{500}){500}")),
        (4, constrained(many)),
        (5, elsewhere),
    ] {
        script.subscribe_as(connection, None, wrong);
    }
    assert!(script.frameworks.is_empty());
    let trace = script.take();
    for said in [
        "unclosed group",
        "has 10485760 bytes; the most are 4096",
        "too large when compiled",
        "more than 64 groups",
        "role * has offer filters but is not among",
    ] {
        assert!(trace.contains(said), "{said} is not in\n{trace}");
    }
}

#[test]
fn a_minimum_of_its_own_takes_the_place_of_the_masters() {
    let minimum = |one_of: Vec<Resources>| {
        framework(OfferFilters {
            min_allocatable: Some(one_of),
            ..OfferFilters::default()
        })
    };
    let crumbs = Resources::new(5, 1 << 20);
    let mut script = Script::new();
    script.register(10, "crumbs", crumbs.clone());
    script.register(11, "large", res(4, 4096));
    script.subscribe(1, "usual");
    script.subscribe_as(2, None, minimum(vec![res(8, 1)]));
    script.skip();
    script.subscribe_as(3, None, minimum(vec![]));
    script.expect(&expect![[r#"
        durable: fw3 subscribed as "picky"
        3< Subscribed fw3
        3< Offers of2 of ag1 for * <0.005 CPUs, 1 MiB>
    "#]]);
}

fn demand(resources: Resources, count: u32) -> Demand {
    Demand {
        role: Role::default_role(),
        resources,
        count,
    }
}

#[test]
fn a_framework_with_demands_sees_only_what_fits_until_all_is_launched() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let demands = vec![demand(res(2, 2048), 1)];
    script.call(1, SchedulerCall::Request { demands });
    script.register(10, "small", res(1, 1024));
    script.register(11, "large", res(4, 4096));
    script.skip();
    assert_eq!(script.offers.len(), 1, "of the large agent");
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t", res(2, 2048))]);
    script.pass(seconds(60));
    assert_eq!(script.offers.len(), 1, "nothing is waited for any more");
    script.skip();
    let demands = vec![demand(res(1, 1024), 5)];
    script.call(1, SchedulerCall::Request { demands });
    assert_eq!(script.offers.len(), 3, "both agents have room for it");
}

#[test]
fn an_empty_demand_is_no_interest_and_a_new_subscription_forgets_it() {
    let mut script = Script::new();
    script.subscribe(1, "a");
    let demands = Vec::new();
    script.call(1, SchedulerCall::Request { demands });
    script.register(10, "one", res(1, 1024));
    assert!(script.offers.is_empty());
    let framework = script.frameworks[0];
    let info = FrameworkInfo::new("a", [Role::default_role()]);
    script.subscribe_as(2, Some(framework), info);
    assert_eq!(script.offers.len(), 1);
}

#[test]
fn absurd_demands_are_refused_and_change_nothing() {
    let mut script = Script::ready();
    let other = Demand {
        role: "other".parse().expect("a role"),
        ..demand(res(1, 1), 1)
    };
    for demands in [
        vec![demand(res(1, 1), 0)],
        vec![demand(Resources::default(), 1)],
        vec![other],
    ] {
        script.call(1, SchedulerCall::Request { demands });
    }
    script.expect(&expect![[r#"
        1< Refused: Request: a demand has a count of zero; leave it out
        1< Refused: Request: a demand is for nothing at all
        1< Refused: Request: other is not a role of this framework
    "#]]);
}

#[test]
fn an_update_is_taken_whole_or_not_at_all() {
    let mut script = Script::ready();
    let update = |info: FrameworkInfo, suppressed: &[&str]| SchedulerCall::UpdateFramework {
        info,
        suppressed: suppressed
            .iter()
            .map(|role| role.parse().expect("a role"))
            .collect(),
    };
    let roles: [Role; 2] = ["x", "y"].map(|role| role.parse().expect("a role"));
    let mut stranger = FrameworkInfo::new("a", roles.clone());
    stranger.principal = "mallory".to_owned();
    script.call(1, update(stranger, &[]));
    script.call(1, update(FrameworkInfo::new("a", roles.clone()), &["z"]));
    script.call(1, update(FrameworkInfo::new("a", roles), &["y"]));
    script.expect(&expect![[r#"
        1< Refused: UpdateFramework: the principal of a framework cannot change
        1< Refused: UpdateFramework: role z is suppressed but not among the framework's roles
        durable: fw1 subscribed as "a"
        1< Rescind of1
        1< FrameworkUpdated
        1< Offers of2 of ag1 for x <4 CPUs, 4 GiB>
    "#]]);
}

#[test]
fn tasks_stay_when_their_role_is_left() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t", res(4, 4096))]);
    let info = FrameworkInfo::new("a", ["x".parse().expect("a role")]);
    let suppressed = [].into();
    script.call(1, SchedulerCall::UpdateFramework { info, suppressed });
    script.update(2, "t", TaskState::Running, 1);
    script.acknowledge(1, "t", 1);
    script.update(2, "t", TaskState::Finished, 2);
    script.skip();
    let snapshot = script.master.snapshot();
    assert_eq!(snapshot.offers.len(), 1);
    assert_eq!(snapshot.offers[0].role.as_str(), "x");
}

#[test]
fn an_update_that_lifts_a_suppression_lifts_its_filters_too() {
    let mut script = Script::ready();
    let offers = vec![script.last_offer()];
    let filters = Filters::refuse_for(seconds(3600));
    script.call(1, SchedulerCall::Decline { offers, filters });
    let update = |suppressed: &[Role]| SchedulerCall::UpdateFramework {
        info: FrameworkInfo::new("a", [Role::default_role()]),
        suppressed: suppressed.iter().cloned().collect(),
    };
    script.call(1, update(&[]));
    assert_eq!(script.offers.len(), 1, "the filter stands");
    script.call(1, update(&[Role::default_role()]));
    script.call(1, update(&[]));
    assert_eq!(script.offers.len(), 2);
}

#[test]
fn each_update_has_its_answer_in_the_order_of_the_calls() {
    let mut script = Script::ready();
    let update = |suppressed: &str| SchedulerCall::UpdateFramework {
        info: FrameworkInfo::new("a", [Role::default_role()]),
        suppressed: [suppressed.parse().expect("a role")].into(),
    };
    for suppressed in ["*", "z", "*"] {
        script.call(1, update(suppressed));
    }
    script.expect(&expect![[r#"
        1< FrameworkUpdated
        1< Refused: UpdateFramework: role z is suppressed but not among the framework's roles
        1< FrameworkUpdated
    "#]]);
}
