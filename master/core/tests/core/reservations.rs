//! Reservations and persistent volumes: who may set apart what, who is offered it, and what is durable.

use std::collections::BTreeMap;

use nesos_master_core::{Blocked, OperatorReply, OperatorRequest};
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, FrameworkId, VolumeId};
use nesos_types::message::{AgentEvent, SchedulerCall};
use nesos_types::offer::{Demand, Filters, Operation};
use nesos_types::reservation::{Claim, Owner, ReservationChange, ReservationRefusal, Volume};
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleChange};
use nesos_types::task::{SharedTask, TaskInfo, TaskState, VolumeMount};

use crate::revocable::revocable;
use crate::script::{Script, id, info, res, seconds, task};

pub(crate) fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

pub(crate) fn volume(name: &str) -> VolumeId {
    name.parse().expect("a volume id")
}

pub(crate) fn text(text: &str) -> Resources {
    text.parse().expect("resources")
}

pub(crate) fn reserve(resources: Resources, for_role: &str) -> ReservationChange {
    ReservationChange::Reserve {
        resources,
        role: role(for_role),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn unreserve(resources: Resources) -> ReservationChange {
    ReservationChange::Unreserve { resources }
}

/// A framework in a role, in somebody's name.
pub(crate) fn framework(in_role: &str, principal: &str) -> FrameworkInfo {
    let mut info = FrameworkInfo::new(in_role, [role(in_role)]);
    principal.clone_into(&mut info.principal);
    info
}

impl Script {
    /// A framework accepts all that it is offered and does this.
    pub(crate) fn accept(&mut self, connection: u64, operations: Vec<Operation>, refuse_secs: u64) {
        let framework = self.frameworks[usize::try_from(connection).expect("small") - 1];
        let snapshot = self.master.snapshot();
        let held = snapshot
            .offers
            .iter()
            .filter(|offer| offer.framework == framework);
        let call = SchedulerCall::Accept {
            offers: held.map(|offer| offer.id).collect(),
            operations,
            filters: Filters::refuse_for(seconds(refuse_secs)),
        };
        self.call(connection, call);
    }

    pub(crate) fn decline_all(&mut self, connection: u64) {
        let framework = self.frameworks[usize::try_from(connection).expect("small") - 1];
        let snapshot = self.master.snapshot();
        let held = snapshot.offers.iter();
        let held = held.filter(|offer| offer.framework == framework);
        let call = SchedulerCall::Decline {
            offers: held.map(|offer| offer.id).collect(),
            filters: Filters::refuse_for(seconds(3600)),
        };
        self.call(connection, call);
    }

    pub(crate) fn change(&mut self, connection: u64, changes: Vec<ReservationChange>) {
        let operations = changes.into_iter().map(Operation::Reservation).collect();
        self.accept(connection, operations, 3600);
    }

    /// What a framework is offered, all together.
    pub(crate) fn offered(&self, connection: u64) -> Resources {
        let framework = self.frameworks[usize::try_from(connection).expect("small") - 1];
        let snapshot = self.master.snapshot();
        let held = snapshot
            .offers
            .iter()
            .filter(|offer| offer.framework == framework);
        held.fold(Resources::default(), |sum, offer| {
            sum.checked_add(&offer.resources).expect("of one agent")
        })
    }

    pub(crate) fn total(&self) -> Resources {
        self.master.snapshot().agents[0].total.clone()
    }

    /// The part of what a framework is offered that is reserved.
    pub(crate) fn offered_parts(&self, connection: u64) -> Resources {
        self.offered(connection).only_parts()
    }

    pub(crate) fn change_by_operator(&mut self, change: ReservationChange) -> OperatorReply {
        let agent = self.agents[0];
        self.ask(OperatorRequest::ChangeReservations { agent, change })
    }
}

#[test]
fn what_an_agent_reserves_is_offered_to_its_role_and_those_below() {
    let mut script = Script::new();
    for (connection, name) in [(1, "ads"), (2, "ads/batch"), (3, "web")] {
        script.subscribe_as(connection, None, framework(name, ""));
    }
    script.register(9, "host", text("cpus(ads):2;mem(ads):1024"));
    let held = [1, 2, 3].map(|connection| script.offered(connection));
    assert_eq!(
        held[0].checked_add(&held[1]),
        Some(text("cpus(ads):2;mem(ads):1024"))
    );
    assert_eq!(held[2], Resources::default());
    let explanation = script.master.explain(script.frameworks[2]);
    assert!(matches!(
        explanation.roles[0].groups[0].blocked,
        Blocked::OfferedTo { .. }
    ));
    script.hang_up_scheduler(1);
    script.hang_up_scheduler(2);
    let explanation = script.master.explain(script.frameworks[2]);
    let blocked = &explanation.roles[0].groups[0].blocked;
    assert_eq!(*blocked, Blocked::Reserved { role: role("ads") });
}

#[test]
fn what_is_reserved_goes_with_the_rest_of_the_agent() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.subscribe_as(2, None, framework("web", ""));
    script.register(9, "host", text("cpus:4;mem:4096;cpus(ads):1;cpus(web):1"));
    let held = [script.offered(1), script.offered(2)];
    let all = held[0].checked_add(&held[1]);
    assert_eq!(all, Some(text("cpus:4;mem:4096;cpus(ads):1;cpus(web):1")));
    assert!(held.iter().all(Resources::has_parts), "{held:?}");
}

#[test]
fn what_was_reserved_is_durable_and_is_offered_again_at_once() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.subscribe_as(2, None, framework("web", ""));
    script.hang_up_scheduler(2);
    script.register(9, "host", res(4, 4096));
    script.skip();
    script.change(1, vec![reserve(res(1, 1024), "ads")]);
    let trace = script.take();
    assert!(
        trace.contains("durable: set apart on ag1: <1 CPU, 1 GiB> reserved for ads"),
        "{trace}"
    );
    assert!(
        trace.contains("9< SetApart <1 CPU, 1 GiB> reserved for ads"),
        "{trace}"
    );
    // The hour's refusal is of the rest; with what is new the agent holds more than was turned down.
    assert_eq!(script.offered(1).flattened(), res(4, 4096));
    assert_eq!(script.offered_parts(1).flattened(), res(1, 1024));
    // What another role is offered is the rest.
    let total = script.total();
    let resubscribed = script.frameworks[1];
    script.subscribe_as(3, Some(resubscribed), framework("web", ""));
    script.hang_up_scheduler(1);
    assert_eq!(script.offered(2), res(3, 3072));
    // Another master knows it, and the agent is told when it comes back.
    script.restart();
    script.skip();
    script.register_as(
        19,
        Some(script.agents[0]),
        info("host", res(4, 4096)),
        vec![],
    );
    assert!(
        script
            .take()
            .contains("19< SetApart <1 CPU, 1 GiB> reserved for ads")
    );
    assert_eq!(script.total(), total);
}

#[test]
fn operations_build_on_one_another_within_one_acceptance() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096).with_disk(1000));
    let disk = Resources::default().with_disk(400);
    let framework_id = script.frameworks[0];
    let reserved = claimed_by(framework_id, "ads", disk.clone());
    let as_volume = volume_of(framework_id, "ads", "data", 400);
    let resources = res(1, 512).checked_add(&as_volume).expect("fits");
    let mut info = TaskInfo::new(id("t"), Digest([0; 32]), resources);
    info.volumes = vec![VolumeMount {
        volume: volume("data"),
        guest: "/data".to_owned(),
        read_only: false,
    }];
    script.skip();
    let operations = vec![
        Operation::Reservation(reserve(disk, "ads")),
        Operation::Reservation(ReservationChange::CreateVolume {
            volume: volume("data"),
            disk: reserved,
        }),
        Operation::Launch(vec![SharedTask::new(info)]),
    ];
    script.accept(1, operations, 0);
    let trace = script.take();
    assert!(!trace.contains("Refused"), "{trace}");
    let told = trace
        .find("SetApart <400 B disk> reserved for ads, volume data")
        .expect("it is told");
    assert!(
        told < trace.find("Launch t").expect("it is launched"),
        "{trace}"
    );
    // The volume is in use; when the task ends it is there again, for its role alone.
    let destroy = ReservationChange::DestroyVolume {
        volume: volume("data"),
    };
    let in_use = OperatorReply::ReservationRefused(ReservationRefusal::VolumeInUse(volume("data")));
    assert_eq!(script.change_by_operator(destroy.clone()), in_use);
    script.update(9, "t", TaskState::Finished, 1);
    assert_eq!(script.offered_parts(1), as_volume);
    script.change(1, vec![destroy]);
    assert!(script.total().volumes().next().is_none());
    assert_eq!(script.total().flattened().disk_bytes, 1000);
}

fn claimed_by(by: FrameworkId, for_role: &str, amounts: Resources) -> Resources {
    Resources::claimed(claim_of(by, for_role), amounts)
}

fn claim_of(by: FrameworkId, for_role: &str) -> Claim {
    let mut claim = Claim::reserved_by_agent(role(for_role));
    claim.reservations[0].owner = Owner::Framework {
        id: by,
        principal: String::new(),
    };
    claim
}

fn volume_of(by: FrameworkId, for_role: &str, name: &str, bytes: u64) -> Resources {
    let mut claim = claim_of(by, for_role);
    claim.volume = Some(Volume {
        id: volume(name),
        owner: claim.reservations[0].owner.clone(),
    });
    Resources::claimed(claim, Resources::default().with_disk(bytes))
}

#[test]
fn a_reservation_is_refined_down_the_tree_and_undone_level_by_level() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads/batch", ""));
    script.register(9, "host", text("cpus(ads):2;mem:1024"));
    let by_agent = text("cpus(ads):2");
    script.change(1, vec![reserve(by_agent.clone(), "ads/batch")]);
    let (claim, refined) = script
        .offered_parts(1)
        .parts()
        .next()
        .map(|(claim, part)| {
            (
                claim.clone(),
                Resources::claimed(claim.clone(), part.clone()),
            )
        })
        .expect("a part");
    let roles: Vec<_> = claim
        .reservations
        .iter()
        .map(|by| by.role.as_str())
        .collect();
    assert_eq!(roles, ["ads", "ads/batch"]);
    script.change(1, vec![unreserve(refined)]);
    assert_eq!(script.offered_parts(1), by_agent);
    // The level below is the agent's, which nobody but its configuration can undo.
    script.skip();
    script.change(1, vec![unreserve(by_agent.clone())]);
    assert!(
        script.said(
            "Refused: unreserve: resources: 2 CPUs are reserved by the agent's configuration"
        )
    );
    assert_eq!(
        script.change_by_operator(unreserve(by_agent)),
        OperatorReply::ReservationRefused(ReservationRefusal::Static(Box::new(Resources::new(
            2000, 0
        ))))
    );
}

#[test]
fn labels_keep_reservations_apart() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    let labelled = |label: &str| ReservationChange::Reserve {
        resources: res(1, 512),
        role: role("ads"),
        labels: BTreeMap::from([("team".to_owned(), label.to_owned())]),
    };
    script.change(1, vec![labelled("a"), labelled("b"), labelled("a")]);
    let parts: Vec<_> = script
        .total()
        .parts()
        .map(|(_, part)| part.clone())
        .collect();
    assert_eq!(parts, [res(2, 1024), res(1, 512)]);
}

#[test]
fn only_its_owner_its_principal_or_an_operator_undoes_a_reservation() {
    for (owner, principal, may) in [
        ("alice", "alice", true),
        ("alice", "bob", false),
        ("alice", "", false),
        ("", "", false),
    ] {
        let mut script = Script::new();
        script.subscribe_as(1, None, framework("ads", owner));
        script.register(9, "host", res(4, 4096));
        script.change(1, vec![reserve(res(1, 1024), "ads")]);
        script.hang_up_scheduler(1);
        script.subscribe_as(2, None, framework("ads", principal));
        let parts = script.offered_parts(2);
        assert!(!parts.is_empty(), "the role may use it, whoever made it");
        script.skip();
        script.change(2, vec![unreserve(parts.clone())]);
        assert_eq!(script.total().has_parts(), !may, "{principal}");
        assert_eq!(script.said("belongs to"), !may, "{principal}");
        if !may {
            assert_eq!(
                script.change_by_operator(unreserve(parts)),
                OperatorReply::Done
            );
            assert!(!script.total().has_parts());
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_the_name_of_its_field_and_changes_nothing() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(
        9,
        "host",
        text("cpus:4;mem:4096;disk:1;cpus(ads):1;disk(ads):1"),
    );
    let before = script.total();
    let disk = text("disk(ads):1");
    let create = |disk: Resources| ReservationChange::CreateVolume {
        volume: volume("v"),
        disk,
    };
    for (change, said) in [
        (
            reserve(Resources::default(), "ads"),
            "reserve: resources: there are none",
        ),
        (
            reserve(res(9, 0), "ads"),
            "reserve: resources: <9 CPUs, 0 B> are wanted",
        ),
        (
            reserve(res(1, 0), "web"),
            "reserve: role: the offer is for ads",
        ),
        (
            reserve(res(1, 0), "*"),
            "reserve: role: nothing can be reserved for \"*\"",
        ),
        (
            reserve(text("cpus(ads):1"), "ads"),
            "and ads is not below it",
        ),
        (
            reserve(revocable(1000), "ads"),
            "reserve: resources: what is revocable",
        ),
        (
            unreserve(res(1, 0)),
            "unreserve: resources: 1 CPU are not reserved",
        ),
        (
            unreserve(Resources::default()),
            "unreserve: resources: there are none",
        ),
        (
            create(text("disk:1")),
            "create_volume: resources: 1 MiB disk are not reserved",
        ),
        (
            create(text("cpus(ads):1")),
            "create_volume: disk: a volume is made of reserved disk",
        ),
        (
            create(text("disk(ads):1;disk:1")),
            "create_volume: disk: a volume is made of",
        ),
        (
            create(text("disk(ads):2")),
            "create_volume: resources: <2 MiB disk> reserved for ads are wanted",
        ),
        (
            ReservationChange::DestroyVolume {
                volume: volume("v"),
            },
            "destroy_volume: volume: the agent has no volume v",
        ),
    ] {
        script.skip();
        script.change(1, vec![change.clone()]);
        assert!(script.said(said), "{change:?}: {}", script.take());
        assert_eq!(script.total(), before, "{change:?}");
        script.call(1, SchedulerCall::Revive { roles: [].into() });
    }
    script.change(1, vec![create(disk.clone()), create(disk)]);
    assert!(script.said("create_volume: volume: the agent has a volume v already"));
    let volume_part = script
        .offered_parts(1)
        .with_parts_if(|claim| claim.volume.is_some());
    script.skip();
    script.call(1, SchedulerCall::Revive { roles: [].into() });
    script.change(1, vec![unreserve(volume_part.only_parts())]);
    assert!(script.said("unreserve: resources: volume v lies on them; destroy it first"));
}

#[test]
fn changes_on_offers_that_are_gone_are_refused() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    let gone = script.last_offer();
    script.accept(1, vec![], 0);
    script.skip();
    script.call(
        1,
        SchedulerCall::Accept {
            offers: vec![gone],
            operations: vec![Operation::Reservation(reserve(res(1, 0), "ads"))],
            filters: Filters::default(),
        },
    );
    assert!(script.said("Refused: reserve: an offer is unknown"));
    assert!(!script.total().has_parts());
}

#[test]
fn an_operator_takes_offers_back_but_not_what_tasks_use() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("web", ""));
    script.register(9, "host", res(4, 4096));
    script.skip();
    assert_eq!(
        script.change_by_operator(reserve(res(1, 1024), "ads")),
        OperatorReply::Done
    );
    assert!(script.said("Rescind of1"));
    assert_eq!(script.offered(1), res(3, 3072));
    script.accept(1, vec![Operation::Launch(vec![task("t", res(3, 1024))])], 0);
    assert_eq!(
        script.change_by_operator(reserve(res(1, 512), "ads")),
        OperatorReply::ReservationRefused(ReservationRefusal::NotThere {
            wanted: Box::new(res(1, 512)),
            available: Box::new(
                script
                    .total()
                    .only_parts()
                    .checked_add(&res(0, 2048))
                    .expect("fits")
            ),
        })
    );
    let nobody = AgentId(7);
    let change = reserve(res(1, 512), "ads");
    assert_eq!(
        script.ask(OperatorRequest::ChangeReservations {
            agent: nobody,
            change
        }),
        OperatorReply::ReservationRefused(ReservationRefusal::AgentUnknown(nobody))
    );
}

#[test]
fn what_is_reserved_counts_against_the_quota_used_or_not() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    let mut limited = RoleChange::of(role("ads"));
    limited.limit = Some("cpus:3".parse().expect("amounts"));
    let limit = OperatorRequest::ChangeRoles {
        changes: vec![limited.clone()],
        force: false,
    };
    assert_eq!(script.ask(limit), OperatorReply::Done);
    script.register(9, "host", text("cpus:8;mem:4096;cpus(ads):2;mem(ads):64"));
    // Two of the three are reserved; what is reserved is not chopped.
    assert_eq!(
        script.offered(1),
        text("cpus:1;mem:4096;cpus(ads):2;mem(ads):64")
    );
    assert_eq!(
        script.change_by_operator(reserve(Resources::new(1500, 0), "ads")),
        OperatorReply::ReservationRefused(ReservationRefusal::QuotaLimit(role("ads")))
    );
    script.accept(1, vec![Operation::Launch(vec![task("t", res(1, 512))])], 0);
    assert_eq!(script.offered(1), text("cpus(ads):2;mem(ads):64"));
    limited.limit = Some("cpus:2".parse().expect("amounts"));
    let lower = OperatorRequest::ChangeRoles {
        changes: vec![limited],
        force: false,
    };
    let refused = format!("{:?}", script.ask(lower));
    assert!(
        refused.contains("LimitBelowUse") && refused.contains("used: 3000"),
        "{refused}"
    );
    script.restart();
    script.register_as(
        19,
        Some(script.agents[0]),
        info("host", text("cpus:8;mem:4096;cpus(ads):2;mem(ads):64")),
        vec![],
    );
}

#[test]
fn what_is_reserved_for_others_is_not_headroom() {
    let mut script = Script::new();
    let mut guaranteed = RoleChange::of(role("ads"));
    guaranteed.guarantee = Some("cpus:2".parse().expect("amounts"));
    let change = OperatorRequest::ChangeRoles {
        changes: vec![guaranteed],
        force: true,
    };
    assert_eq!(script.ask(change), OperatorReply::Done);
    script.subscribe_as(1, None, framework("web", ""));
    script.register(9, "host", text("cpus:4;mem:4096;cpus(db):4"));
    // Two of the four that anybody may use are held back.
    assert_eq!(script.offered(1).cpu_milli, 2000);
    // A reservation for the role itself meets its guarantee.
    assert_eq!(
        script.change_by_operator(reserve(Resources::new(2000, 0), "ads")),
        OperatorReply::Done
    );
    script.pass(seconds(2));
    assert_eq!(script.offered(1).cpu_milli, 2000);
    let explanation = script.master.explain(script.frameworks[0]);
    assert_eq!(
        script.master.snapshot().agents[0].free.cpu_milli,
        0,
        "{explanation:?}"
    );
}

#[test]
fn an_agent_that_comes_back_with_less_than_is_set_apart_is_turned_away() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    script.change(1, vec![reserve(res(2, 1024), "ads")]);
    script.hang_up_agent(9);
    script.skip();
    let agent = script.agents[0];
    script.register_as(19, Some(agent), info("host", res(1, 4096)), vec![]);
    let trace = script.take();
    assert!(trace.contains("19< Refused: <2 CPUs, 1 GiB> reserved for ads are set apart on agent ag1, and it has only <1 CPU, 4 GiB>"), "{trace}");
    script.register_as(29, Some(agent), info("host", res(2, 1024)), vec![]);
    assert_eq!(script.total().unclaimed(), Resources::default());
    // The same on a connection that stands.
    script.skip();
    let shrunk = AgentEvent::Register {
        agent: Some(agent),
        info: info("host", res(1, 1)),
        tasks: vec![],
    };
    script.say(29, shrunk);
    assert!(script.said("29< Refused"));
}

#[test]
fn what_is_set_apart_outlives_an_agents_absence_and_ends_with_it() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", res(4, 4096));
    script.change(1, vec![reserve(res(2, 1024), "ads")]);
    let agent = script.agents[0];
    script.pass_alive(seconds(120), &[1], &[]);
    assert!(script.said("durable: ag1 unreachable"));
    script.register_as(19, Some(agent), info("host", res(4, 4096)), vec![]);
    assert_eq!(script.total().only_parts().flattened(), res(2, 1024));
    script.skip();
    script.say(19, AgentEvent::Unregister);
    assert!(script.said("durable: set-apart/ag1 forgotten"));
}

#[test]
fn a_task_must_hold_the_volumes_that_it_mounts() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    script.register(9, "host", text("cpus:4;mem:4096;disk(ads):10"));
    let create = ReservationChange::CreateVolume {
        volume: volume("v"),
        disk: text("disk(ads):10"),
    };
    script.change(1, vec![create]);
    let held = script.offered_parts(1);
    let launch = |script: &mut Script, resources: Resources, guest: &str, name: &str| {
        let mut info = TaskInfo::new(id(name), Digest([0; 32]), resources);
        info.volumes = vec![VolumeMount {
            volume: volume("v"),
            guest: guest.to_owned(),
            read_only: false,
        }];
        script.pass(seconds(2));
        script.skip();
        script.accept(1, vec![Operation::Launch(vec![SharedTask::new(info)])], 0);
        script.take()
    };
    let with_volume = res(1, 64).checked_add(&held).expect("fits");
    let without = launch(&mut script, res(1, 64), "/v", "a");
    assert!(
        without.contains("volumes: volume v is not among the task's resources"),
        "{without}"
    );
    for wrong in ["v", "/a/../b", ""] {
        let trace = launch(&mut script, with_volume.clone(), wrong, "b");
        assert!(
            trace.contains("is not an absolute path"),
            "{wrong}: {trace}"
        );
    }
    let trace = launch(&mut script, with_volume, "/v", "c");
    assert!(trace.contains("Launch c of"), "{trace}");
}

#[test]
fn a_reservation_for_the_role_of_a_demand_counts_towards_it() {
    let mut script = Script::new();
    script.subscribe_as(1, None, framework("ads", ""));
    let demand = Demand {
        role: role("ads"),
        resources: res(3, 64),
        count: 1,
    };
    script.call(
        1,
        SchedulerCall::Request {
            demands: vec![demand],
        },
    );
    script.register(9, "host", text("cpus:1;mem:4096;cpus(ads):2"));
    let offered = script.offered(1);
    assert_eq!(offered.flattened(), res(3, 4096));
    let chosen = offered.choose(&res(3, 64)).expect("it fits");
    script.accept(1, vec![Operation::Launch(vec![task("t", chosen)])], 0);
    assert_eq!(
        script.offered(1),
        Resources::default(),
        "it waits for nothing more"
    );
}
