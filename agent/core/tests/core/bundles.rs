//! Bundles that lie in a repository: who must have signed them, and files that stay while tasks find them.

use std::sync::Arc;
use std::time::Duration;

use nesos_agent_core::{BundleKey, CellId, Effect, Event};
use nesos_types::cell::{CellCommand, CellEvent, SandboxVolume};
use nesos_types::executor::ExecutorInfo;
use nesos_types::ids::RunId;
use nesos_types::limits::Metering;
use nesos_types::message::AgentCommand;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason, TaskState};

use crate::rig::{Rig, bundle, config, digest, key, task};

fn stored(id: &str) -> TaskInfo {
    TaskInfo {
        bundle: digest(2),
        repository: Some("ads/hello".parse().expect("a repository")),
        ..task(id)
    }
}

fn stored_key(signers: &[&str]) -> BundleKey {
    BundleKey {
        repository: Some("ads/hello".parse().expect("a repository")),
        signers: signers.iter().map(|key| (*key).to_owned()).collect(),
        ..bundle(2)
    }
}

fn ready_with_files(rig: &mut Rig) -> Vec<Effect> {
    rig.effects(Event::BundleReady {
        bundle: stored_key(&[]),
        compiled: "/cache/2".into(),
        files: Some(files()),
    })
}

fn files() -> SandboxVolume {
    SandboxVolume {
        host: "/files/2".into(),
        guest: "/bundle".to_owned(),
        read_only: true,
        max_bytes: 0,
    }
}

fn launch(signers: &[&str], task: TaskInfo) -> AgentCommand {
    AgentCommand::Launch {
        framework: key("x").framework,
        role: "*".parse().expect("a role"),
        signers: signers.iter().map(|key| (*key).to_owned()).collect(),
        tasks: vec![Arc::new(task)],
    }
}

fn fetched(effects: &[Effect]) -> Vec<&BundleKey> {
    let fetches = effects.iter().filter_map(|effect| match effect {
        Effect::FetchBundle(key) => Some(key),
        _ => None,
    });
    fetches.collect()
}

fn commanded(rig: &mut Rig, command: AgentCommand) -> Vec<Effect> {
    rig.effects(Event::MasterCommand {
        connection: 1,
        command,
    })
}

#[test]
fn a_bundle_is_asked_for_where_it_lies_and_with_whom_it_must_be_signed_by() {
    let mut rig = Rig::warm(config());
    let effects = commanded(&mut rig, launch(&["one"], stored("a")));
    assert_eq!(fetched(&effects), [&stored_key(&["one"])]);
    let effects = commanded(&mut rig, launch(&["two"], stored("b")));
    assert_eq!(
        fetched(&effects),
        [&stored_key(&["two"])],
        "another question"
    );
    let effects = commanded(&mut rig, launch(&["two"], stored("c")));
    assert!(fetched(&effects).is_empty(), "the same question");
}

#[test]
fn a_childs_bundle_comes_from_where_its_executors_does_and_is_signed_as_that_is() {
    let executor = ExecutorInfo {
        repository: Some("ads/hello".parse().expect("a repository")),
        ..ExecutorInfo::new(
            "x".parse().expect("an executor id"),
            digest(2),
            Resources::new(500, 64 << 20),
        )
    };
    let run = TaskInfo::from((RunId(1), &executor));
    let id = run.id.to_string();
    let mut rig = Rig::warm(config());
    commanded(&mut rig, launch(&["one"], run));
    let wanted = |cell, id: &str| Event::CellEvent {
        cell: CellId(cell),
        event: CellEvent::BundleWanted {
            request: 1,
            key: key(id),
            bundle: digest(3),
            metering: Metering::Clock,
        },
    };
    let child = BundleKey {
        digest: digest(3),
        ..stored_key(&["one"])
    };
    assert_eq!(fetched(&rig.effects(wanted(0, &id))), [&child]);
    assert_eq!(rig.event(wanted(7, &id)), "", "another cell's");
    let over = rig.event(wanted(0, "over"));
    assert!(over.contains("the executor is over"), "{over}");
}

#[test]
fn who_must_have_signed_is_not_forgotten_over_a_restart() {
    let mut former = Rig::warm(config());
    commanded(&mut former, launch(&["one"], stored("a")));
    former.commit();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    let effects = rig.effects(Event::Tick);
    assert_eq!(fetched(&effects), [&stored_key(&["one"])]);
}

#[test]
fn an_unsigned_bundle_is_an_error_of_the_task() {
    for reason in [TaskReason::Unsigned, TaskReason::SignatureInvalid] {
        let mut rig = Rig::warm(config());
        commanded(&mut rig, launch(&["one"], stored("a")));
        rig.event(Event::BundleFailed {
            bundle: stored_key(&["one"]),
            reason,
            message: "not signed".to_owned(),
        });
        assert_eq!(rig.state("a"), Some(TaskState::Error));
    }
}

#[test]
fn files_stay_until_the_last_task_that_finds_them_has_ended() {
    let mut rig = Rig::warm(config());
    commanded(&mut rig, launch(&[], stored("a")));
    let effects = ready_with_files(&mut rig);
    let launched = effects.iter().find_map(|effect| match effect {
        Effect::SendCell {
            command: CellCommand::Launch(launch),
            ..
        } => Some(launch),
        _ => None,
    });
    assert_eq!(launched.expect("a launch").volumes, [files()]);
    rig.status(0, "a", TaskState::Running);
    let effects = commanded(&mut rig, launch(&[], stored("b")));
    assert!(fetched(&effects).is_empty(), "it is at hand");
    rig.status(0, "b", TaskState::Running);
    let said = rig.pass(Duration::from_secs(61));
    assert!(!said.contains("release bundle 2"), "{said}");
    rig.status(0, "a", TaskState::Finished);
    let said = rig.pass(Duration::from_secs(61));
    assert!(!said.contains("release bundle 2"), "{said}");
    rig.status(0, "b", TaskState::Finished);
    let said = rig.pass(Duration::from_secs(61));
    assert!(said.contains("release bundle 2"), "{said}");
}

#[test]
fn files_are_held_anew_by_an_agent_that_finds_its_tasks_again() {
    let mut former = Rig::warm(config());
    commanded(&mut former, launch(&[], stored("a")));
    ready_with_files(&mut former);
    former.status(0, "a", TaskState::Running);
    former.commit();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    let effects = rig.effects(Event::Tick);
    assert_eq!(fetched(&effects), [&stored_key(&[])]);
    rig.hello(0, &[("a", TaskState::Running)]);
    ready_with_files(&mut rig);
    let said = rig.pass(Duration::from_secs(61));
    assert!(!said.contains("release bundle 2"), "{said}");
    assert_eq!(rig.state("a"), Some(TaskState::Running));
}

#[test]
fn a_task_that_runs_goes_on_if_its_bundle_cannot_be_had_again() {
    let mut former = Rig::warm(config());
    commanded(&mut former, launch(&[], stored("a")));
    ready_with_files(&mut former);
    former.status(0, "a", TaskState::Running);
    former.commit();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[("a", TaskState::Running)]);
    rig.event(Event::BundleFailed {
        bundle: stored_key(&[]),
        reason: TaskReason::FetchFailed,
        message: "gone".to_owned(),
    });
    assert_eq!(rig.state("a"), Some(TaskState::Running));
    rig.status(0, "a", TaskState::Finished);
}
