//! What goes onto the wire comes back the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::agent::{AgentInfo, Attribute, FaultDomain};
use nesos_types::bundle::{Digest, Repository};
use nesos_types::cell::{
    CellCommand, CellEvent, CpuSample, SandboxLaunch, SandboxReport, SandboxVolume,
};
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate, Selector};
use nesos_types::executor::{Correspondent, ExecutorInfo};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::ids::{
    AgentId, ExecutorId, FrameworkId, GroupId, OfferId, RunId, TaskId, TaskKey, UpdateId, VolumeId,
};
use nesos_types::limits::{Limits, Metering, Usage};
use nesos_types::message::{
    AgentCommand, AgentEvent, AgentTask, Refusal, SchedulerCall, SchedulerEvent,
};
use nesos_types::offer::{Demand, Filters, Offer, Operation};
use nesos_types::reservation::{Claim, Owner, Reservation, ReservationChange, SetApart, Volume};
use nesos_types::resources::{RangeSet, Resources};
use nesos_types::role::Role;
use nesos_types::service::{HealthCheck, Probe, Service};
use nesos_types::task::{
    Mount, SharedTask, StatusSource, Stdio, TaskGroup, TaskInfo, TaskReason, TaskState, TaskStatus,
    VolumeMount, Work,
};
use nesos_types::time::Time;

use crate::{WireError, v1};

fn resources() -> Resources {
    let owners = [
        Owner::Agent,
        Owner::Operator,
        Owner::Framework {
            id: FrameworkId(8),
            principal: "p".into(),
        },
    ];
    let reservations = owners.map(|owner| Reservation {
        role: "a/b".parse().expect("a valid role"),
        owner,
        labels: BTreeMap::from([("k".into(), "v".into())]),
    });
    let volume = Claim {
        reservations: reservations.to_vec(),
        volume: Some(Volume {
            id: volume_id(),
            owner: Owner::Operator,
        }),
        revocable: false,
    };
    let parts = [
        Resources::claimed(volume, Resources::default().with_disk(5)),
        Resources::claimed(Claim::revocable(), Resources::new(500, 0)),
    ];
    let unclaimed = Resources::new(1500, 1 << 30)
        .with_disk(7)
        .with_custom("gpu", 2000)
        .with_ranges("ports", RangeSet::new([(31_000, 32_000)]))
        .with_set("zones", ["a".into(), "b".into()]);
    parts.iter().fold(unclaimed, |sum, part| {
        sum.checked_add(part).expect("small numbers")
    })
}

fn task() -> SharedTask {
    let mut task = TaskInfo::new(id("t-1"), Digest([7; 32]), resources());
    task.args = vec!["prog".into(), "--x".into()];
    task.env = vec![("A".into(), "b=c".into())];
    task.limits = Limits {
        fuel: Some(1),
        timeout: Some(Duration::from_millis(3)),
        output_bytes: Some(4),
        files: Some(5),
        burst: true,
        metering: Metering::Fuel,
    };
    task.stdio = Stdio::Attached;
    task.mounts = vec![Mount {
        host: "/h".into(),
        guest: "/g".into(),
        read_only: true,
    }];
    task.volumes = vec![VolumeMount {
        volume: volume_id(),
        guest: "/data".into(),
        read_only: true,
    }];
    task.kill_grace = Some(Duration::ZERO);
    task.labels = BTreeMap::from([("k".into(), "v".into())]);
    task.data = vec![0, 255];
    Arc::new(task)
}

fn repository() -> Repository {
    "oci://ghcr.io/ads/hello".parse().expect("a repository")
}

/// A task in an executor, of a group.
fn in_executor() -> SharedTask {
    let mut executor = ExecutorInfo::new(executor_id(), Digest([9; 32]), resources());
    executor.repository = Some(repository());
    executor.args = vec!["x".into()];
    executor.env = vec![("A".into(), "1".into())];
    executor.registration_timeout = Some(Duration::from_secs(1));
    executor.shutdown_grace = Some(Duration::from_secs(2));
    executor.data = vec![7];
    let mut task = TaskInfo::new(id("t-1"), Digest([7; 32]), resources());
    task.work = Work::InExecutor {
        executor: executor.into(),
        run: Some(RunId(5)),
    };
    task.group = Some(TaskGroup {
        id: GroupId(6),
        size: 2,
        disk_bytes: 3,
    });
    task.into()
}

/// A run of an executor, and a service: no task is both, but the wire does not care.
fn run() -> SharedTask {
    let mut task = TaskInfo::new(RunId(5).into(), Digest([7; 32]), resources());
    task.work = Work::Executor {
        id: executor_id(),
        registration_timeout: Duration::from_secs(60),
    };
    task.repository = Some("hello".parse().expect("a repository"));
    task.service = Some(Box::new(Service {
        port: 31_000,
        requests_per_instance: 2,
        concurrency: 3,
        request_cpu: Some(Duration::from_millis(4)),
        request_timeout: Some(Duration::from_millis(5)),
        instance_mem_bytes: Some(6),
    }));
    let path = "/health".to_owned();
    task.health = Some(Box::new(HealthCheck::by(Probe::Http {
        port: 31_000,
        path,
    })));
    task.into()
}

fn executor_id() -> ExecutorId {
    "x".parse().expect("an executor id")
}

fn status() -> TaskStatus {
    let mut status = TaskStatus::new(
        id("t-1"),
        TaskState::Failed,
        StatusSource::Cell,
        Time::from_micros(5),
    )
    .because(TaskReason::Trap, "unreachable")
    .on(AgentId(9));
    status.update = Some(UpdateId(3));
    status.exit_code = Some(134);
    status.backtrace = vec!["main".into()];
    status.usage = Some(Usage {
        cpu_ns: 1,
        wall_ns: 2,
        fuel: 3,
        peak_memory_bytes: 4,
        peak_disk_bytes: 5,
        output_bytes: 6,
    });
    status.data = vec![1];
    status.healthy = Some(false);
    status
}

fn id(text: &str) -> TaskId {
    text.parse().expect("a valid task id")
}

fn key() -> TaskKey {
    TaskKey {
        framework: FrameworkId(1),
        task: id("t-1"),
    }
}

fn volume_id() -> VolumeId {
    "data".parse().expect("a valid volume id")
}

fn roles() -> BTreeSet<Role> {
    BTreeSet::from(["a/b".parse().expect("a valid role"), Role::default_role()])
}

fn picky_framework() -> FrameworkInfo {
    let predicates = [
        Predicate::Exists,
        Predicate::NotExists,
        Predicate::TextEquals("a".into()),
        Predicate::TextNotEquals("b".into()),
        Predicate::TextMatches("c.*".into()),
        Predicate::TextNotMatches("d".into()),
    ];
    let constraints = predicates.map(|predicate| Constraint::attribute("rack", predicate));
    let selectors = [Selector::Hostname, Selector::Region, Selector::Zone];
    let others = selectors.map(|selector| Constraint {
        selector,
        predicate: Predicate::Exists,
    });
    let mut info = FrameworkInfo::new("picky", roles());
    let filters = OfferFilters {
        min_allocatable: Some(vec![resources()]),
        constraints: Some(OfferConstraints {
            groups: vec![constraints.to_vec(), others.to_vec()],
        }),
        revocable: true,
    };
    info.offer_filters.insert(Role::default_role(), filters);
    let none = OfferFilters {
        min_allocatable: Some(Vec::new()),
        constraints: None,
        revocable: false,
    };
    info.offer_filters
        .insert("a/b".parse().expect("a valid role"), none);
    info
}

fn agent_info() -> AgentInfo {
    AgentInfo {
        hostname: "h".into(),
        url: "http://h:1".into(),
        resources: resources(),
        attributes: BTreeMap::from([
            ("rack".into(), Attribute::Text("r1".into())),
            ("speed".into(), Attribute::ScalarMilli(-5)),
            ("slots".into(), Attribute::Ranges(vec![(1, 2)])),
        ]),
        domain: Some(FaultDomain {
            region: "r".into(),
            zone: "z".into(),
        }),
        fuel_per_cpu_second: 11,
        host_mounts: true,
        version: "1".into(),
        features: Arc::new(["gc", "wasip2"].map(str::to_owned).into()),
        max_sandboxes: Some(12),
    }
}

fn survives<T, W>(values: Vec<T>)
where
    T: TryFrom<W, Error = WireError> + PartialEq + std::fmt::Debug,
    W: for<'a> From<&'a T>,
{
    for value in values {
        let wire = W::from(&value);
        assert_eq!(T::try_from(wire).as_ref(), Ok(&value));
    }
}

#[test]
fn scheduler_calls_survive_the_wire() {
    let filters = Filters::refuse_for(Duration::from_secs(1));
    survives::<SchedulerCall, v1::SchedulerCall>(vec![
        SchedulerCall::Subscribe {
            framework: Some(FrameworkId(1)),
            info: FrameworkInfo::new("f", roles()),
            suppressed: roles(),
        },
        SchedulerCall::Teardown,
        SchedulerCall::Request {
            demands: vec![Demand {
                role: Role::default_role(),
                resources: resources(),
                count: 3,
            }],
        },
        SchedulerCall::UpdateFramework {
            info: picky_framework(),
            suppressed: roles(),
        },
        SchedulerCall::Accept {
            offers: vec![OfferId(1), OfferId(2)],
            operations: vec![
                Operation::Launch(vec![task()]),
                Operation::LaunchGroup(vec![task(), task()]),
                Operation::Reservation(ReservationChange::Reserve {
                    resources: resources(),
                    role: Role::default_role(),
                    labels: BTreeMap::from([("a".into(), "b".into())]),
                }),
                Operation::Reservation(ReservationChange::Unreserve {
                    resources: resources(),
                }),
                Operation::Reservation(ReservationChange::CreateVolume {
                    volume: volume_id(),
                    disk: resources(),
                }),
                Operation::Reservation(ReservationChange::DestroyVolume {
                    volume: volume_id(),
                }),
            ],
            filters,
        },
        SchedulerCall::Decline {
            offers: vec![OfferId(1)],
            filters: Filters::default(),
        },
        SchedulerCall::Revive { roles: roles() },
        SchedulerCall::Suppress {
            roles: BTreeSet::new(),
        },
        SchedulerCall::Kill {
            task: id("a"),
            grace: Some(Duration::ZERO),
        },
        SchedulerCall::Acknowledge {
            agent: AgentId(1),
            task: id("a"),
            update: UpdateId(1),
        },
        SchedulerCall::Reconcile {
            tasks: vec![(id("a"), None), (id("b"), Some(AgentId(1)))],
        },
        SchedulerCall::Message {
            agent: AgentId(1),
            to: Correspondent::Executor(executor_id()),
            data: vec![1, 2],
        },
        SchedulerCall::ShutdownExecutor {
            agent: AgentId(1),
            executor: executor_id(),
            grace: Some(Duration::from_secs(1)),
        },
        SchedulerCall::Heartbeat,
    ]);
}

fn refusals() -> Vec<Refusal> {
    let framework = FrameworkId(4);
    vec![
        Refusal::FailedOver,
        Refusal::FrameworkRemoved { framework },
        Refusal::FrameworkUnknown { framework },
        Refusal::PrincipalMismatch { framework },
        Refusal::NotSubscribed,
        Refusal::InvalidCall {
            call: "Accept".into(),
            why: "no".into(),
        },
        Refusal::UnknownMessage { what: "x".into() },
        Refusal::TooSlow,
        Refusal::AgentRemoved { agent: AgentId(1) },
        Refusal::AgentReplaced { agent: AgentId(1) },
        Refusal::AgentShrunk {
            agent: AgentId(1),
            reserved: "a".into(),
            offered: "b".into(),
        },
    ]
}

#[test]
fn scheduler_events_survive_the_wire() {
    let mut events = vec![
        SchedulerEvent::Subscribed {
            framework: FrameworkId(1),
            heartbeat: Duration::from_secs(15),
        },
        SchedulerEvent::Offers(vec![Offer {
            id: OfferId(1),
            framework: FrameworkId(2),
            role: Role::default_role(),
            agent: AgentId(3),
            agent_info: Arc::new(agent_info()),
            resources: resources(),
            free_sandboxes: 9,
            compiled_bundles: vec![Digest([4; 32])],
        }]),
        SchedulerEvent::Rescind(OfferId(1)),
        SchedulerEvent::Update(status()),
        SchedulerEvent::AgentLost(AgentId(1)),
        SchedulerEvent::Message {
            agent: AgentId(1),
            from: Correspondent::Task(id("t-1")),
            data: vec![3],
        },
        SchedulerEvent::ExecutorEnded {
            agent: AgentId(1),
            executor: executor_id(),
            state: TaskState::Failed,
            reason: Some(TaskReason::ExecutorUnresponsive),
            message: "m".into(),
        },
        SchedulerEvent::Heartbeat,
        SchedulerEvent::FrameworkUpdated,
    ];
    events.extend(refusals().into_iter().map(SchedulerEvent::Refused));
    survives::<SchedulerEvent, v1::SchedulerEvent>(events);
}

#[test]
fn agent_messages_survive_the_wire() {
    survives::<AgentEvent, v1::AgentEvent>(vec![
        AgentEvent::Register {
            agent: None,
            info: agent_info(),
            tasks: vec![AgentTask {
                framework: FrameworkId(1),
                role: Role::default_role(),
                task: task(),
                latest: TaskState::Finished,
                unacknowledged: Some(status()),
            }],
        },
        AgentEvent::Update {
            framework: FrameworkId(1),
            status: status(),
            latest: TaskState::Finished,
        },
        AgentEvent::Slack { cpu_milli: 500 },
        AgentEvent::Bundles {
            compiled: vec![Digest([1; 32])],
            dropped: vec![Digest([2; 32]), Digest([3; 32])],
        },
        AgentEvent::Message {
            key: key(),
            data: vec![1],
        },
        AgentEvent::Pong,
        AgentEvent::Unregister,
    ]);
    survives::<AgentCommand, v1::AgentCommand>(vec![
        AgentCommand::Registered {
            agent: AgentId(1),
            ping_interval: Duration::from_secs(15),
        },
        AgentCommand::Refused(Refusal::AgentRemoved { agent: AgentId(1) }),
        AgentCommand::Launch {
            framework: FrameworkId(1),
            role: Role::default_role(),
            signers: vec!["a key".to_owned()].into(),
            tasks: vec![task(), in_executor(), run()],
        },
        AgentCommand::Message {
            key: key(),
            data: vec![0, 255],
        },
        AgentCommand::Prewarm {
            bundle: Digest([1; 32]),
            repository: Some(repository()),
        },
        AgentCommand::Kill {
            key: key(),
            grace: None,
            reason: TaskReason::Preempted,
        },
        AgentCommand::SetApart(SetApart {
            resources: resources(),
            incarnations: BTreeMap::from([(volume_id(), 7)]),
        }),
        AgentCommand::Acknowledge {
            key: key(),
            update: UpdateId(1),
        },
        AgentCommand::ShutdownFramework(FrameworkId(1)),
        AgentCommand::Reconcile(vec![key()]),
        AgentCommand::Ping,
    ]);
}

#[test]
fn cell_messages_survive_the_wire() {
    survives::<CellCommand, v1::CellCommand>(vec![
        CellCommand::Launch(Box::new(SandboxLaunch {
            key: key(),
            task: task(),
            compiled: PathBuf::from("/c"),
            directory: PathBuf::from("/d"),
            fuel_per_cpu_second: 3,
            volumes: vec![SandboxVolume {
                host: PathBuf::from("/v"),
                guest: "/data".into(),
                read_only: true,
                max_bytes: 4,
            }],
            agent: Some(AgentId(3)),
            hostname: "h".into(),
        })),
        CellCommand::Assign {
            key: key(),
            task: in_executor(),
        },
        CellCommand::Message {
            key: key(),
            data: vec![2],
        },
        CellCommand::BundleReady {
            request: 4,
            compiled: Ok(PathBuf::from("/c")),
        },
        CellCommand::BundleReady {
            request: 5,
            compiled: Err("no".into()),
        },
        CellCommand::Kill {
            key: key(),
            grace: Duration::from_secs(3),
        },
        CellCommand::Acknowledge {
            key: key(),
            sequence: 2,
        },
        CellCommand::Throttle {
            key: key(),
            cpu_milli: 10,
        },
        CellCommand::MeasureUsage {
            interval: Duration::from_millis(1500),
        },
        CellCommand::Retire,
    ]);
    survives::<CellEvent, v1::CellEvent>(vec![
        CellEvent::Hello {
            pid: 1,
            sandboxes: vec![SandboxReport {
                key: key(),
                task: task(),
                state: TaskState::Running,
            }],
        },
        CellEvent::Update {
            key: key(),
            sequence: 1,
            status: status(),
        },
        CellEvent::Message {
            key: key(),
            data: vec![3],
        },
        CellEvent::BundleWanted {
            request: 6,
            key: key(),
            bundle: Digest([2; 32]),
            metering: Metering::Time,
        },
        CellEvent::Usage {
            at: Time::from_micros(7),
            samples: vec![CpuSample {
                key: key(),
                cpu_ns: 8,
            }],
        },
    ]);
}

#[test]
fn every_state_survives_the_wire() {
    for state in TaskState::ALL {
        let mut status = status();
        status.state = state;
        survives::<TaskStatus, v1::TaskStatus>(vec![status]);
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let empty = v1::SchedulerCall { call: None };
    let error = SchedulerCall::try_from(empty).expect_err("no call");
    assert_eq!(
        error.into_refusal("?"),
        Refusal::UnknownMessage {
            what: "SchedulerCall".into()
        }
    );
    let mut wire = v1::TaskInfo::from(task().as_ref());
    wire.id = "a/b".into();
    let error = TaskInfo::try_from(wire).expect_err("a slash").to_string();
    assert!(
        error.contains("task.id") && error.contains("slash"),
        "{error}"
    );
}

#[test]
fn who_says_more_of_itself_than_a_registry_takes_is_refused_by_field() {
    let info = |name: usize| v1::FrameworkInfo {
        name: "x".repeat(name),
        ..v1::FrameworkInfo::default()
    };
    assert!(FrameworkInfo::try_from(info(1_000)).is_ok());
    let error = FrameworkInfo::try_from(info(crate::MAX_INFO_BYTES)).expect_err("too large");
    assert!(error.to_string().contains("info: it has"), "{error}");
    let agent = v1::AgentInfo {
        hostname: "x".repeat(crate::MAX_INFO_BYTES),
        ..v1::AgentInfo::default()
    };
    let error = AgentInfo::try_from(agent).expect_err("too large");
    assert!(error.to_string().contains("info: it has"), "{error}");
}
