//! Groups: all or none, one directory, one fate.

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_types::ids::GroupId;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskGroup, TaskInfo, TaskReason, TaskState};

use crate::rig::{Rig, bundle, config, digest, task};

fn member(id: &str) -> TaskInfo {
    let group = TaskGroup {
        id: GroupId(5),
        size: 2,
        disk_bytes: 7,
    };
    TaskInfo {
        group: Some(group),
        ..task(id)
    }
}

fn running() -> Rig {
    let mut rig = Rig::warm(config());
    rig.launch([member("a"), member("b"), task("other")]);
    for id in ["a", "b", "other"] {
        rig.status(0, id, TaskState::Running);
        rig.ack(id);
    }
    rig
}

#[test]
fn members_share_a_directory_as_long_as_one_of_them_is_there() {
    let mut rig = Rig::warm(config());
    expect![[r#"
        keep volumes [volumes/groups/gr-00000000000000000000000000000005]
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a with volumes/groups/gr-00000000000000000000000000000005 at /group, 7 B
        cell-0 <- launch b from /cache/1 in sandboxes/cell-0/fw/0/b with volumes/groups/gr-00000000000000000000000000000005 at /group, 7 B
    "#]]
    .assert_eq(&rig.launch([member("a"), member("b")]));
    let said = rig.status(0, "a", TaskState::Finished);
    assert!(!said.contains("keep volumes"), "{said}");
    let said = rig.status(0, "b", TaskState::Finished);
    assert!(said.contains("keep volumes []"), "{said}");
}

#[test]
fn one_that_fails_takes_the_others_with_it() {
    let mut rig = running();
    let trap = Some(TaskReason::Trap);
    expect![[r#"
        cell-0 <- kill b within 3s
        master <- b killing/GroupEnded, latest killing "the guest has 3s to end by itself"
        master <- a failed/Trap, latest failed
    "#]]
    .assert_eq(&rig.status_because(0, "a", TaskState::Failed, trap));
    rig.ack("b");
    let killed = Some(TaskReason::KillRequested);
    expect![[r#"
        keep volumes []
        master <- b killed/GroupEnded, latest killed
    "#]]
    .assert_eq(&rig.status_because(0, "b", TaskState::Killed, killed));
    assert_eq!(rig.state("other"), Some(TaskState::Running));
}

#[test]
fn one_that_has_finished_leaves_the_others_alone() {
    let mut rig = running();
    let said = rig.status(0, "a", TaskState::Finished);
    assert!(!said.contains("kill"), "{said}");
    assert_eq!(rig.state("b"), Some(TaskState::Running));
}

#[test]
fn killing_one_that_waits_kills_all() {
    let mut rig = Rig::warm(config());
    let waiting = |id: &str| TaskInfo {
        bundle: digest(2),
        ..member(id)
    };
    rig.launch([waiting("a"), waiting("b")]);
    rig.kill("a", None);
    assert_eq!(rig.state("a"), Some(TaskState::Killed));
    assert_eq!(rig.state("b"), Some(TaskState::Killed));
}

#[test]
fn all_or_none_is_launched() {
    let mut rig = Rig::warm(config());
    let mut large = member("large");
    large.resources = Resources::new(9000, 1 << 20);
    expect![[r#"
        master <- a dropped/ResourcesUnknown, latest dropped "task large of the group: the task wants <9 CPUs, 1 MiB>, but <1 CPU, 128 MiB> of <4 CPUs, 4 GiB> are in use"
        master <- large dropped/ResourcesUnknown, latest dropped "task large of the group: the task wants <9 CPUs, 1 MiB>, but <1 CPU, 128 MiB> of <4 CPUs, 4 GiB> are in use"
    "#]]
    .assert_eq(&rig.launch([member("a"), large]));
    let said = rig.launch([task("four"), task("more"), task("b"), task("c")]);
    assert!(!said.contains("dropped"), "nothing is taken: {said}");
}

#[test]
fn a_bundle_that_fails_ends_each_member_once() {
    let mut rig = Rig::warm(config());
    let waiting = |id: &str| TaskInfo {
        bundle: digest(2),
        ..member(id)
    };
    rig.launch([waiting("a"), waiting("b")]);
    rig.ack("a");
    rig.ack("b");
    let failed = Event::BundleFailed {
        bundle: bundle(2),
        reason: TaskReason::InvalidModule,
        message: "not Wasm".into(),
    };
    let said = rig.event(failed);
    for id in ["a", "b"] {
        let ends = said.matches(&format!("master <- {id} ")).count();
        assert_eq!(ends, 1, "{said}");
    }
}
