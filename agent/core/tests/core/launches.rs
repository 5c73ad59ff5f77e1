//! Launching: order, preparation, refusals, bundles and cells.

use std::time::Duration;

use expect_test::expect;
use nesos_agent_core::{CellId, Event};
use nesos_types::limits::Metering;
use nesos_types::resources::Resources;
use nesos_types::task::{Mount, TaskReason, TaskState};

use crate::rig::{Rig, bundle, config, digest, key, task};

#[test]
fn a_cold_launch_waits_for_bundle_and_cell_and_says_so() {
    let mut rig = Rig::new(config());
    rig.register();
    expect![[r#"
        start cell-0 for *
        fetch bundle 1
        master <- a starting, latest starting
        master <- b starting, latest starting
    "#]]
    .assert_eq(&rig.launch([task("a"), task("b")]));
    expect![[""]].assert_eq(&rig.ready(1));
    expect![[""]].assert_eq(&rig.hello(0, &[]));
    expect![[r#"
        put task a
        put task b
        put cell-0
        put agent
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a
        cell-0 <- launch b from /cache/1 in sandboxes/cell-0/fw/0/b
        put task a
        put task b
    "#]]
    .assert_eq(&rig.commit());
}

#[test]
fn a_warm_launch_passes_straight_through() {
    let mut rig = Rig::warm(config());
    expect![[r#"
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a
    "#]]
    .assert_eq(&rig.launch([task("a")]));
    expect![[r#"
        master <- a running, latest running
    "#]]
    .assert_eq(&rig.status(0, "a", TaskState::Running));
    expect![[""]].assert_eq(&rig.ack("a"));
    expect![[r#"
        master <- a finished, latest finished
    "#]]
    .assert_eq(&rig.status(0, "a", TaskState::Finished));
    expect![[r#"
        cell-0 <- acknowledge a up to 2
    "#]]
    .assert_eq(&rig.ack("a"));
    assert_eq!(rig.state("a"), None);
}

#[test]
fn order_holds_within_a_framework_and_role_only() {
    let mut rig = Rig::warm(config());
    let mut slow = task("slow");
    slow.bundle = digest(2);
    rig.launch([slow, task("behind")]);
    expect![[r#"
        start cell-1 for other
        master <- elsewhere starting, latest starting
    "#]]
    .assert_eq(&rig.launch_in("other", [task("elsewhere")]));
    expect![[r#"
        put task slow
        put task behind
        put task elsewhere
        put cell-1
        put agent
        cell-1 <- launch elsewhere from /cache/1 in sandboxes/cell-1/fw/0/elsewhere
        put task elsewhere
    "#]]
    .assert_eq(&rig.cell_up(1));
    expect![[r#"
        cell-0 <- launch slow from /cache/2 in sandboxes/cell-0/fw/0/slow
        cell-0 <- launch behind from /cache/1 in sandboxes/cell-0/fw/0/behind
    "#]]
    .assert_eq(&rig.ready(2));
}

#[test]
fn tasks_that_cannot_be_enforced_are_errors() {
    let mut poor = config();
    poor.info.fuel_per_cpu_second = 0;
    let mut rig = Rig::warm(poor);
    let mut mounting = task("mounting");
    mounting.mounts.push(Mount {
        host: "/data".into(),
        guest: "/data".into(),
        read_only: true,
    });
    let mut fuelled = task("fuelled");
    fuelled.limits.metering = Metering::Fuel;
    let mut uncounted = task("uncounted");
    uncounted.limits.metering = Metering::Time;
    uncounted.limits.fuel = Some(1);
    let mut nothing = task("nothing");
    nothing.resources = Resources::default();
    expect![[r#"
        master <- mounting error/CapabilityDenied, latest error "this agent allows no host directories (mount of \"/data\"); start it with host mounts allowed"
        master <- fuelled error/CapabilityDenied, latest error "this agent has not measured its fuel rate, so it cannot meter CPU by fuel; use metering \"clock\""
        master <- uncounted error/TaskInvalid, latest error "a fuel limit cannot be kept where fuel is not counted; drop the limit or use metering \"clock\""
        master <- nothing error/TaskInvalid, latest error "a task needs CPU and memory; its resources are <0 CPUs, 0 B>"
    "#]].assert_eq(&rig.launch([mounting, fuelled, uncounted, nothing]));
}

#[test]
fn mounts_have_plain_absolute_paths() {
    let mut config = config();
    config.info.host_mounts = true;
    let mut rig = Rig::warm(config);
    let mount = |host: &str, guest: &str| Mount {
        host: host.into(),
        guest: guest.into(),
        read_only: false,
    };
    let mut good = task("good");
    good.mounts.push(mount("/data", "/in"));
    let mut relative = task("relative");
    relative.mounts.push(mount("data", "/in"));
    let mut escaping = task("escaping");
    escaping.mounts.push(mount("/data", "/in/../etc"));
    expect![[r#"
        cell-0 <- launch good from /cache/1 in sandboxes/cell-0/fw/0/good
        master <- relative error/TaskInvalid, latest error "mount \"data\" is not an absolute path without \"..\""
        master <- escaping error/TaskInvalid, latest error "mount \"/in/../etc\" is not an absolute path without \"..\""
    "#]].assert_eq(&rig.launch([good, relative, escaping]));
}

#[test]
fn what_does_not_fit_is_dropped_and_the_rest_goes_on() {
    let mut rig = Rig::warm(config());
    let mut large = task("large");
    large.resources = Resources::new(3500, 1);
    expect![[r#"
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a
        master <- large dropped/ResourcesUnknown, latest dropped "the task wants <3.5 CPUs, 1 B>, but <1 CPU, 128 MiB> of <4 CPUs, 4 GiB> are in use"
        cell-0 <- launch b from /cache/1 in sandboxes/cell-0/fw/0/b
    "#]].assert_eq(&rig.launch([task("a"), large, task("b")]));
    assert_eq!(rig.agent.snapshot().used.cpu_milli, 2000);
}

#[test]
fn what_is_beyond_the_last_sandbox_is_dropped_until_one_ends() {
    let mut config = config();
    config.info.max_sandboxes = Some(1);
    let mut rig = Rig::warm(config);
    expect![[r#"
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a
        master <- b dropped/ResourcesUnknown, latest dropped "the agent holds 1 sandboxes, which is the most that it may"
    "#]].assert_eq(&rig.launch([task("a"), task("b")]));
    rig.status(0, "a", TaskState::Finished);
    let said = rig.launch([task("c")]);
    assert!(said.contains("launch c"), "{said}");
}

#[test]
fn a_repeated_launch_changes_nothing() {
    let mut rig = Rig::warm(config());
    rig.launch([task("a")]);
    assert_eq!(rig.launch([task("a")]), "");
    assert_eq!(rig.agent.stats().launches_repeated, 1);
}

#[test]
fn a_bundle_that_fails_takes_its_tasks_along_and_no_others() {
    let mut rig = Rig::warm(config());
    let mut bad = task("bad");
    bad.bundle = digest(2);
    rig.launch([bad, task("good")]);
    expect![[r#"
        cell-0 <- launch good from /cache/1 in sandboxes/cell-0/fw/0/good
    "#]]
    .assert_eq(&rig.event(Event::BundleFailed {
        bundle: bundle(2),
        reason: TaskReason::InvalidModule,
        message: "not WebAssembly: it begins with 7f 45".into(),
    }));
    let mut again = task("again");
    again.bundle = digest(2);
    expect![[r#"
        fetch bundle 2
        master <- again starting, latest starting
    "#]]
    .assert_eq(&rig.launch([again]));
}

#[test]
fn an_unused_bundle_is_let_go_and_fetched_again() {
    let idle = Duration::from_secs(10);
    let mut config = config();
    config.bundle_idle = idle;
    let mut rig = Rig::warm(config);
    rig.pass(idle / 2);
    rig.launch([task("a")]);
    assert_eq!(rig.pass(idle / 2), "");
    let released = rig.pass(idle);
    assert!(released.contains("release bundle 1"), "{released}");
    let launched = rig.launch([task("b")]);
    assert!(launched.contains("fetch bundle 1"), "{launched}");
}

#[test]
fn a_cell_that_cannot_be_started_drops_what_waits_for_it() {
    let mut rig = Rig::new(config());
    rig.register();
    rig.launch([task("a")]);
    expect![[r#"
        discard cell-0
    "#]]
    .assert_eq(&rig.event(Event::CellFailed {
        cell: CellId(0),
        message: "no such file".into(),
    }));
    expect![[r#"
        start cell-1 for *
        master <- b starting, latest starting
    "#]]
    .assert_eq(&rig.launch([task("b")]));
}

#[test]
fn a_full_cell_is_joined_by_another() {
    let mut config = config();
    config.sandboxes_per_cell = 2;
    let mut rig = Rig::warm(config);
    expect![[r#"
        cell-0 <- launch a from /cache/1 in sandboxes/cell-0/fw/0/a
        cell-0 <- launch b from /cache/1 in sandboxes/cell-0/fw/0/b
        start cell-1 for *
        master <- c starting, latest starting
    "#]]
    .assert_eq(&rig.launch([task("a"), task("b"), task("c")]));
    rig.cell_up(1);
    rig.status(0, "a", TaskState::Finished);
    expect![[r#"
        cell-0 <- launch d from /cache/1 in sandboxes/cell-0/fw/0/d
    "#]]
    .assert_eq(&rig.launch([task("d")]));
}

#[test]
fn a_dead_cell_fails_its_own_tasks_only() {
    let mut config = config();
    config.sandboxes_per_cell = 1;
    let mut rig = Rig::warm(config);
    rig.launch([task("mine"), task("other")]);
    rig.cell_up(1);
    rig.status(0, "mine", TaskState::Running);
    rig.status(1, "other", TaskState::Running);
    expect![[r#"
        discard cell-0
    "#]]
    .assert_eq(&rig.event(Event::CellFailed {
        cell: CellId(0),
        message: "signal 9".into(),
    }));
    assert_eq!(rig.state("other"), Some(TaskState::Running));
    expect![[r#"
        put task mine
        put task other
        delete cell-0
        cell-1 <- acknowledge other up to 1
    "#]]
    .assert_eq(&rig.commit());
}

#[test]
fn an_idle_cell_retires_and_a_new_one_takes_over() {
    let mut rig = Rig::warm(config());
    let idle = rig.config.cell_idle;
    let retired = rig.pass(idle);
    assert!(retired.contains("cell-0 <- retire"), "{retired}");
    rig.launch([task("a")]);
    expect![[r#"
        discard cell-0
    "#]]
    .assert_eq(&rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "end of stream".into(),
    }));
    let started = rig.cell_up(1) + &rig.ready(1);
    assert!(started.contains("cell-1 <- launch a"), "{started}");
}

#[test]
fn directories_of_ended_tasks_are_collected_by_age_and_number() {
    let mut config = config();
    config.sandbox_keep_count = 2;
    let mut rig = Rig::warm(config);
    for id in ["a", "a", "b"] {
        rig.launch([task(id)]);
        rig.repeat_status(0, id, 1, TaskState::Finished, None);
        rig.ack(id);
    }
    let newest = rig.agent.locate(&key("a")).expect("it is kept");
    assert_eq!(newest.generation, 1);
    let keep = rig.config.sandbox_keep;
    assert_eq!(rig.agent.snapshot().sandboxes_kept, 2);
    rig.pass(keep - Duration::from_secs(1));
    assert_eq!(rig.agent.snapshot().sandboxes_kept, 2);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.agent.snapshot().sandboxes_kept, 0);
    assert_eq!(rig.agent.locate(&key("a")), None);
}
