//! What the master sets apart on an agent: volumes appear in sandboxes, and the agent stays who it is.

use std::time::Duration;

use expect_test::expect;
use nesos_agent_core::Event;
use nesos_types::ids::VolumeId;
use nesos_types::message::AgentCommand;
use nesos_types::reservation::{Claim, Owner, SetApart, Volume};
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskReason, TaskState, VolumeMount};

use crate::rig::{MIB, Rig, config, key, lending, task};

fn id(text: &str) -> VolumeId {
    text.parse().expect("a volume id")
}

fn volume(text: &str, bytes: u64) -> Resources {
    let claim = Claim {
        volume: Some(Volume {
            id: id(text),
            owner: Owner::Operator,
        }),
        ..Claim::reserved_by_agent("ads".parse().expect("a role"))
    };
    Resources::claimed(claim, Resources::default().with_disk(bytes))
}

/// What the master says: all volumes are of the first incarnation.
fn set_apart(resources: Resources) -> AgentCommand {
    set_apart_as(resources, 1)
}

fn set_apart_as(resources: Resources, incarnation: u64) -> AgentCommand {
    let volumes = resources.volumes();
    let incarnations = volumes
        .map(|(volume, _)| (volume.id.clone(), incarnation))
        .collect();
    AgentCommand::SetApart(SetApart {
        resources,
        incarnations,
    })
}

/// A task that finds this volume in `/data`.
fn with_volume(text: &str, held: &Resources) -> TaskInfo {
    let mut info = task("t");
    info.resources = info.resources.checked_add(held).expect("fits");
    info.volumes = vec![VolumeMount {
        volume: id(text),
        guest: "/data".into(),
        read_only: false,
    }];
    info
}

/// An agent with disk, on which a volume was made.
fn with_disk() -> Rig {
    let mut config = config();
    config.info.resources = Resources::new(4000, 4096 * MIB).with_disk(1000);
    Rig::warm(config)
}

#[test]
fn volumes_are_made_and_appear_in_the_sandbox_under_their_own_size() {
    let mut rig = with_disk();
    let both = volume("a", 300)
        .checked_add(&volume("b", 200))
        .expect("two");
    expect![[r#"
        keep volumes [volumes/a/0000000000000001, volumes/b/0000000000000001]
    "#]]
    .assert_eq(&rig.command(set_apart(both)));
    expect![[r#"
        cell-0 <- launch t from /cache/1 in sandboxes/cell-0/fw/0/t with volumes/a/0000000000000001 at /data, 300 B
    "#]]
    .assert_eq(&rig.launch([with_volume("a", &volume("a", 300))]));
}

#[test]
fn a_task_whose_volume_is_not_here_is_dropped() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    expect![[r#"
        master <- t dropped/ResourcesUnknown, latest dropped "this agent has no volume b of 300 bytes"
    "#]]
    .assert_eq(&rig.launch([with_volume("b", &volume("b", 300))]));
    rig.ack("t");
    // Destroyed and made again with another size, it is another one.
    let said = rig.launch([with_volume("a", &volume("a", 301))]);
    assert!(said.contains("no volume a of 301 bytes"), "{said}");
}

#[test]
fn volumes_that_are_no_longer_named_are_removed() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    expect![[r#"
        keep volumes []
    "#]]
    .assert_eq(&rig.command(set_apart(Resources::default())));
}

#[test]
fn a_new_process_knows_its_volumes_before_the_master_says_anything() {
    let mut former = with_disk();
    former.command(set_apart(volume("a", 300)));
    former.commit();
    let mut rig = Rig::recover(former.config.clone(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[]);
    rig.connected();
    rig.registered();
    let launched = rig.launch([with_volume("a", &volume("a", 300))]);
    assert!(!launched.contains("dropped"), "{launched}");
}

#[test]
fn an_agent_that_keeps_something_for_others_stays_who_it_is() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    rig.launch([task("t")]);
    rig.commit();
    let grace = Duration::from_secs(1);
    rig.event(Event::Shutdown { grace });
    rig.ack("t");
    rig.status(0, "t", TaskState::Killed);
    let mut said = rig.ack("t");
    if !said.contains("stop") {
        said += &rig.pass(Duration::from_secs(10));
    }
    assert!(
        said.contains("stop: Left") && !said.contains("unregister"),
        "{said}"
    );
    rig.commit();
    let mut again = Rig::recover(rig.config.clone(), rig.now, rig.disk);
    again.tick();
    let registers = again.connected();
    assert_eq!(registers, "master <- register as known agent with []\n");
}

#[test]
fn an_agent_that_keeps_nothing_leaves_for_good() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    rig.command(set_apart(Resources::default()));
    let grace = Duration::from_secs(1);
    let said = rig.event(Event::Shutdown { grace });
    assert!(said.contains("unregister"), "{said}");
}

#[test]
fn a_task_that_is_preempted_says_so_over_a_restart() {
    let mut former = Rig::warm(config());
    former.launch([task("t")]);
    former.status(0, "t", TaskState::Running);
    former.ack("t");
    former.command(AgentCommand::Kill {
        key: key("t"),
        grace: Some(Duration::from_secs(5)),
        reason: TaskReason::Preempted,
    });
    former.commit();
    let mut rig = Rig::recover(config(), former.now, former.disk);
    rig.tick();
    rig.hello(0, &[("t", TaskState::Running)]);
    rig.connected();
    rig.registered();
    rig.ack("t");
    let said = rig.repeat_status(
        0,
        "t",
        2,
        TaskState::Killed,
        Some(TaskReason::KillRequested),
    );
    assert!(said.contains("t killed/Preempted"), "{said}");
}

#[test]
fn reserved_resources_are_the_agents_all_the_same() {
    let mut rig = Rig::warm(config());
    let mut info = task("t");
    let claim = Claim::reserved_by_agent("ads".parse().expect("a role"));
    info.resources = Resources::claimed(claim.clone(), Resources::new(3000, 128 * MIB));
    rig.launch([info]);
    let mut more = task("more");
    more.resources = Resources::claimed(claim, Resources::new(2000, 128 * MIB));
    let said = rig.launch([more]);
    assert!(said.contains("more dropped/ResourcesUnknown"), "{said}");
}

#[test]
fn revocable_cpu_takes_nothing_of_what_tasks_have_accepted() {
    let mut rig = Rig::warm(lending());
    let mut owner = task("owner");
    owner.resources = Resources::new(4000, 128 * MIB);
    rig.launch([owner]);
    let mut guest = task("guest");
    guest.resources = Resources::claimed(Claim::revocable(), Resources::new(2000, 0))
        .checked_add(&Resources::new(0, 64 * MIB))
        .expect("fits");
    let said = rig.launch([guest]);
    assert!(said.contains("launch guest"), "{said}");
}

#[test]
fn nobody_finds_what_was_in_a_volume_of_the_same_name() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    expect![[r#"
        keep volumes [volumes/a/0000000000000002]
    "#]]
    .assert_eq(&rig.command(set_apart_as(volume("a", 300), 2)));
}

#[test]
fn a_volume_waits_for_the_guest_that_still_has_it() {
    let mut rig = with_disk();
    rig.command(set_apart(volume("a", 300)));
    rig.launch([with_volume("a", &volume("a", 300))]);
    rig.status(0, "t", TaskState::Running);
    rig.ack("t");
    // Its framework is over, and the master has given the volume to the next, who destroys it.
    let mut next = with_volume("a", &volume("a", 300));
    next.id = "next".parse().expect("an id");
    let said = rig.launch([next]);
    assert!(said.contains("volume a is still in use"), "{said}");
    let both = "volumes/a/0000000000000001, volumes/a/0000000000000002";
    let said = rig.command(set_apart_as(volume("a", 300), 2));
    assert_eq!(said, format!("keep volumes [{both}]\n"));
    let said = rig.status(0, "t", TaskState::Finished);
    assert!(
        said.contains("keep volumes [volumes/a/0000000000000002]"),
        "{said}"
    );
}
