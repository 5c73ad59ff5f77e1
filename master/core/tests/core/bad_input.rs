//! Bad input: refused with what is wrong and where, and nothing is changed by it.

use nesos_master_core::{Blocked, OperatorReply, OperatorRequest, Snapshot, Stats};
use nesos_types::bundle::Digest;
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::message::SchedulerCall;
use nesos_types::offer::{Demand, Filters, Operation};
use nesos_types::reservation::{ReservationChange, ReservationRefusal};
use nesos_types::resources::{Resources, Scalar};
use nesos_types::role::{Role, RoleChange, RoleRefusal};
use nesos_types::task::{SharedTask, TaskInfo, VolumeMount};

use crate::script::{Script, id, res, seconds};

fn role(text: &str) -> Role {
    text.parse().expect("a role")
}

/// All that there is, but for what is merely counted.
fn state(script: &Script) -> Snapshot {
    Snapshot {
        stats: Stats::default(),
        ..script.master.snapshot()
    }
}

fn constrained(group: Vec<Constraint>) -> FrameworkInfo {
    let mut info = FrameworkInfo::new("a", [Role::default_role()]);
    let filters = OfferFilters {
        constraints: Some(OfferConstraints {
            groups: vec![group],
        }),
        ..OfferFilters::default()
    };
    info.offer_filters.insert(Role::default_role(), filters);
    info
}

fn rack(predicate: Predicate) -> Constraint {
    Constraint::attribute("rack", predicate)
}

#[test]
fn a_call_that_is_refused_changes_nothing() {
    let of_role = |name: &str| [role(name)].into();
    let demand = |resources: Resources, count| Demand {
        role: Role::default_role(),
        resources,
        count,
    };
    let update = |info: FrameworkInfo| SchedulerCall::UpdateFramework {
        info,
        suppressed: [].into(),
    };
    let pattern = "x".repeat(10 << 20);
    for (call, said) in [
        (
            SchedulerCall::Suppress {
                roles: of_role("x"),
            },
            "Suppress: x is not a role",
        ),
        (
            SchedulerCall::Revive {
                roles: of_role("x"),
            },
            "Revive: x is not a role",
        ),
        (
            SchedulerCall::Request {
                demands: vec![demand(res(1, 1), 0)],
            },
            "Request: a demand has a count of zero",
        ),
        (
            SchedulerCall::Request {
                demands: vec![demand(Resources::default(), 1)],
            },
            "Request: a demand is for nothing",
        ),
        (
            update(constrained(vec![rack(Predicate::TextMatches(
                "(".to_owned(),
            ))])),
            "UpdateFramework: role *: the pattern \"(\"",
        ),
        (
            update(constrained(vec![rack(Predicate::TextNotMatches(pattern))])),
            "UpdateFramework: role *: a pattern of an offer constraint has 10485760 bytes",
        ),
        (
            update(constrained(vec![rack(Predicate::Exists); 65])),
            "UpdateFramework: role *: there are more than 64 groups",
        ),
    ] {
        let mut script = Script::ready();
        let before = state(&script);
        script.call(1, call);
        let trace = script.take();
        assert!(
            trace.starts_with("1< Refused") && trace.contains(said),
            "{trace}"
        );
        assert!(!trace.contains("durable"), "{trace}");
        assert_eq!(state(&script), before, "{said}");
    }
}

#[test]
fn a_subscription_that_is_refused_leaves_no_framework() {
    let mut script = Script::ready();
    let before = state(&script);
    let pattern = Predicate::TextMatches("(a{500}){500}".to_owned());
    script.subscribe_as(3, None, constrained(vec![rack(pattern)]));
    assert!(script.said("3< Refused: Subscribe: role *: the pattern"));
    assert_eq!(state(&script), before);
    script.restart();
    assert_eq!(script.master.snapshot().frameworks.len(), 1);
}

#[test]
fn constraints_that_contradict_each_other_keep_everything_away_and_are_told() {
    let mut script = Script::new();
    let never = vec![rack(Predicate::Exists), rack(Predicate::NotExists)];
    script.subscribe_as(1, None, constrained(never));
    script.register(2, "host", res(4, 4096));
    assert!(script.offers.is_empty());
    let explanation = script.master.explain(script.frameworks[0]);
    assert_eq!(explanation.roles[0].groups[0].blocked, Blocked::Constraint);
}

#[test]
fn a_quota_above_the_cluster_is_refused_with_both_amounts() {
    let mut script = Script::ready();
    let before = state(&script);
    let mut weighed = RoleChange::of(role("a"));
    weighed.weight = Some("2".parse().expect("a weight"));
    let mut above = RoleChange::of(role("b"));
    above.guarantee = Some("mem:8GiB".parse().expect("amounts"));
    let refused = RoleRefusal::ExceedsCluster {
        kind: Scalar::Memory,
        guaranteed: 8 << 30,
        total: 4 << 30,
    };
    let (changes, force) = (vec![weighed, above], false);
    let reply = script.ask(OperatorRequest::ChangeRoles { changes, force });
    assert_eq!(reply, OperatorReply::RolesRefused(refused));
    assert_eq!(state(&script), before, "not even the weight");
}

#[test]
fn a_bundle_of_another_tenant_is_no_task_of_this_role() {
    for (in_role, name, runs) in [
        ("ads", "ads/hello", true),
        ("ads", "ads/web/hello", true),
        ("ads/web", "ads/hello", true),
        ("ads", "hello", true),
        ("ads", "oci://example.org/search/hello", true),
        ("Ads", "ads/hello", true),
        ("ads", "search/hello", false),
        ("ads", "adsense/hello", false),
        ("*", "ads/hello", false),
    ] {
        let mut script = Script::new();
        script.subscribe_as(1, None, FrameworkInfo::new("a", [role(in_role)]));
        script.register(2, "host", res(4, 4096));
        let mut info = TaskInfo::new(id("t"), Digest([0; 32]), res(1, 64));
        info.repository = Some(name.parse().expect("a repository"));
        script.launch(1, &[script.last_offer()], &[SharedTask::new(info)]);
        let refused = script.said("bundle search/hello is for role search")
            || script.said("bundle adsense/hello is for role adsense")
            || script.said("bundle ads/hello is for role ads");
        assert_eq!(refused, !runs, "{name} in {in_role}");
        assert_eq!(script.said("2< Launch"), runs, "{name} in {in_role}");
    }
}

/// A framework in role `ads` with a volume `v`, which a task of it uses.
fn volume_in_use() -> Script {
    let mut script = Script::new();
    script.subscribe_as(1, None, FrameworkInfo::new("a", [role("ads")]));
    let host = "cpus:4;mem:4096;disk(ads):10".parse();
    script.register(2, "host", host.expect("resources"));
    let volume = "v".parse().expect("a volume id");
    let disk = "disk(ads):10".parse().expect("resources");
    let create = ReservationChange::CreateVolume { volume, disk };
    change(&mut script, create);
    let offered = script.received.last().expect("an offer").resources.clone();
    let held = offered.only_parts().checked_add(&res(1, 64));
    let mut info = TaskInfo::new(id("t"), Digest([0; 32]), held.expect("fits"));
    info.volumes = vec![VolumeMount {
        volume: "v".parse().expect("a volume id"),
        guest: "/v".to_owned(),
        read_only: false,
    }];
    script.launch(1, &[script.last_offer()], &[SharedTask::new(info)]);
    script.pass(seconds(5));
    script
}

fn change(script: &mut Script, change: ReservationChange) {
    let call = SchedulerCall::Accept {
        offers: vec![script.last_offer()],
        operations: vec![Operation::Reservation(change)],
        filters: Filters::none(),
    };
    script.call(1, call);
}

#[test]
fn a_volume_in_use_is_destroyed_by_nobody() {
    let mut script = volume_in_use();
    let volume = || "v".parse().expect("a volume id");
    let destroy = || ReservationChange::DestroyVolume { volume: volume() };
    let total = script.master.snapshot().agents[0].total.clone();
    script.skip();
    change(&mut script, destroy());
    assert!(script.said("1< Refused: destroy_volume: volume: v is in use"));
    let (agent, change) = (script.agents[0], destroy());
    let reply = script.ask(OperatorRequest::ChangeReservations { agent, change });
    let in_use = ReservationRefusal::VolumeInUse(volume());
    assert_eq!(reply, OperatorReply::ReservationRefused(in_use));
    assert_eq!(script.master.snapshot().agents[0].total, total);
    assert!(!script.said("durable"));
}
